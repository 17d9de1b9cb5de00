"""deploy/docker's entry point as a program: environment in, a pooler out. No image is built."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import yaml

from pgmux.ops.account import unprivileged_account
from pgmux.ops.installation import give_to, make_directory
from pgmux.ops.pooler import end, is_listening
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.waiting import wait_until

DOCKER = Path(__file__).parents[3] / "deploy/docker"
PASSWORD = 'pa:ss/w@rd%41 "and" more'
Role = tuple[str, str]


class Container:
    """The entry point with variables of its own, in a directory in /etc/pgbouncer's place."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.port = find_free_port()
        self._stack = stack
        bin_directory = directory / "usr-bin"
        shim = [sys.executable, "-m", "pgmux", "shim", str(bin_directory)]
        subprocess.run(shim, check=True, capture_output=True)
        # Root's tests become somebody, as Airflow's chart has it.
        account = unprivileged_account()
        become = ("-u", account.pw_name) if account else ()
        self.command = [str(bin_directory / "pgbouncer"), *become, str(directory / "pgbouncer.ini")]
        entry_point = directory / "pgmux"
        entry_point.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m pgmux "$@"\n')
        entry_point.chmod(0o755)

    def run(self, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        """The process, its output in the file `output`."""
        arguments = ["--directory", str(self.directory), *(command or self.command)]
        output = (self.directory / "output").open("w")
        process = subprocess.Popen(
            [str(DOCKER / "entrypoint.sh"), *arguments],
            env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}", **environ},
            stdout=self._stack.enter_context(output),
            stderr=subprocess.STDOUT,
        )
        self._stack.callback(end, process)
        return process

    def output(self) -> str:
        return (self.directory / "output").read_text()

    def wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: process.poll() is not None or is_listening("127.0.0.1", self.port))
        assert process.poll() is None, self.output()

    def dsn(self, db: str, user: str, password: str) -> str:
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{db}"


@pytest.fixture
def container() -> Iterator[Container]:
    with ExitStack() as stack:
        directory = stack.enter_context(make_directory(unprivileged_account()))
        give_to(unprivileged_account(), Path(directory))
        yield Container(Path(directory), stack)


def one(dsn: str, sql: str) -> Any:
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        row = connection.execute(sql.encode()).fetchone()
        assert row is not None
        return row[0]


def test_a_compose_files_variables_make_a_pooler_that_serves(
    container: Container, postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    compose = yaml.safe_load((DOCKER / "compose/mt5-trading/compose.yaml").read_text())
    environ = {k: str(v) for k, v in compose["services"]["pgbouncer"]["environment"].items()}
    user, _ = create_role(password=PASSWORD, encryption="scram-sha-256")
    url = container.directory / "database_url"
    place = f"{postgres.host}:{postgres.port}/postgres"
    url.write_text(f"postgres://{user}:{quote(PASSWORD, safe='')}@{place}\n")
    process = container.run(
        **environ
        | {
            "DATABASE_URL_FILE": str(url),
            "LISTEN_PORT": str(container.port),
            "ADMIN_USERS": user,
        }
    )
    container.wait_until_up(process)
    assert one(container.dsn("postgres", user, PASSWORD), "SELECT current_user") == user
    config = container.dsn("pgbouncer", user, PASSWORD)
    with closing(psycopg.connect(config, autocommit=True)) as console:
        settings = {row[0]: row[1] for row in console.execute("SHOW CONFIG")}
    assert settings["pool_mode"] == "transaction"
    assert (settings["max_client_conn"], settings["min_pool_size"]) == ("1000", "10")
    assert PASSWORD not in container.output()
    # What Airflow's preStop hook, `killall -INT pgbouncer`, looks for is this very process.
    assert Path(f"/proc/{process.pid}/comm").read_text() == "pgbouncer\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_a_wrong_variable_ends_it_before_it_begins(container: Container) -> None:
    process = container.run(DB_HOST="db", POOL_MODE="fast")
    assert process.wait(20) == 1
    assert container.output().startswith("ERROR POOL_MODE: not a value of pool_mode")


def test_it_becomes_any_other_command(container: Container) -> None:
    process = container.run("sh", "-c", "echo $$ is $0", "it")
    assert process.wait(20) == 0
    assert container.output() == f"{process.pid} is it\n"
    assert container.run("no-such-command").wait(20) == 127
    assert "ERROR cannot run no-such-command: No such file" in container.output()


def test_the_lookup_of_the_timescale_stack_finds_login_roles_and_no_superuser(
    container: Container,
    postgres: EmbeddedPostgres,
    create_database: Callable[..., str],
    create_role: Callable[..., Role],
) -> None:
    example = DOCKER / "compose/timescale-stack"
    database = create_database()
    script = subprocess.run(
        [str(example / "02-user-lookup.sh")],
        env={
            "PATH": f"{postgres.tool('psql').parent}:{os.environ['PATH']}",
            "PGHOST": postgres.host,
            "PGPORT": str(postgres.port),
            "PGPASSWORD": postgres.password,
            "POSTGRES_USER": postgres.superuser,
            "POSTGRES_DB": database,
            "PGBOUNCER_AUTH_PASSWORD": PASSWORD,
        },
        capture_output=True,
        text=True,
    )
    try:
        assert script.returncode == 0, script.stderr
        text = (example / "bouncer/pgbouncer.ini").read_text()
        text = text.replace(
            "host=timescale_db port=5432", f"host={postgres.host} port={postgres.port}"
        )
        text = text.replace("dbname=tracksolid_db", f"dbname={database}")
        text = text.replace("/etc/pgbouncer", str(container.directory))
        text = text.replace("listen_port = 6432", f"listen_port = {container.port}")
        text += f"unix_socket_dir = {container.directory}\n"
        (container.directory / "pgbouncer.ini").write_text(text)
        process = container.run(
            DB_HOST="timescale_db", DB_USER="pgbouncer_auth", DB_PASSWORD=PASSWORD
        )
        container.wait_until_up(process)
        user, password = create_role()
        for alias in ("tracksolid_db", "tracksolid_db_session"):
            assert one(container.dsn(alias, user, password), "SELECT current_user") == user
        with pytest.raises(psycopg.OperationalError):
            one(container.dsn("tracksolid_db", "postgres", postgres.password), "SELECT 1")
        end(process)
    finally:
        postgres.psql(f"DROP DATABASE {database} WITH (FORCE)")
        postgres.psql("DROP ROLE IF EXISTS pgbouncer_auth")
