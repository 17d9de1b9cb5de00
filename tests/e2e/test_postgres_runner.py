"""The embedded PostgreSQL: real servers, and nothing left of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.installation import PostgresError, find_bindir
from pgmux.ops.postgres import EmbeddedPostgres

SCRIPT = """
import sys
from pgmux.ops.postgres import EmbeddedPostgres
import signal
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
with EmbeddedPostgres() as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def shared_memory_of(pid: int) -> set[str]:
    """Ids of the segments that a process has made; other tests' servers have theirs."""
    table = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    maker = table[0].index("cpid")
    return {row[table[0].index("shmid")] for row in table[1:] if row[maker] == str(pid)}


def test_it_answers_over_tcp_and_unix_socket(postgres: EmbeddedPostgres) -> None:
    for unix_socket in (False, True):
        with psycopg.connect(postgres.dsn(unix_socket=unix_socket)) as connection:
            assert connection.execute("show max_connections").fetchone() == ("200",)


def test_the_path_of_its_socket_is_short(postgres: EmbeddedPostgres) -> None:
    assert len(str(postgres.socket_dir / f".s.PGSQL.{postgres.port}")) <= 80


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody else to become")
def test_root_does_not_run_it(postgres: EmbeddedPostgres) -> None:
    assert os.stat(f"/proc/{postgres.pid}").st_uid != 0


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn("postgres", "postgres", "wrong"))


def test_roles_and_databases_are_made_for_a_test(
    postgres: EmbeddedPostgres,
    create_role: Callable[..., tuple[str, str]],
    create_database: Callable[..., str],
) -> None:
    user, password = create_role(encryption="md5")
    dbname = create_database(owner=user)
    with psycopg.connect(postgres.dsn(dbname, user, password)) as connection:
        answer = connection.execute("select current_user, current_database()").fetchone()
    assert answer == (user, dbname)


def test_an_error_of_psql_is_raised(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresError, match="division by zero"):
        postgres.psql("select 1/0")


def test_data_outlive_restart_and_kill_and_the_port_stays() -> None:
    with EmbeddedPostgres() as server:
        port = server.port
        server.psql("create table t as select 42 as x")
        server.restart("immediate")
        server.kill()
        assert not server.is_running()
        server.start()
        assert (server.psql("select x from t"), server.port) == ("42", port)


def test_a_kill_closes_the_connections_without_a_word() -> None:
    with EmbeddedPostgres() as server, psycopg.connect(server.dsn()) as connection:
        server.kill()
        with pytest.raises(psycopg.OperationalError, match="server closed the connection"):
            connection.execute("select 1")


def test_settings_and_hba_apply_at_reload() -> None:
    with EmbeddedPostgres(settings={"work_mem": "5MB"}) as server:
        assert server.psql("show work_mem") == "5MB"
        server.settings["log_line_prefix"] = "it's %p"
        server.restart()
        assert server.psql("show log_line_prefix") == "it's %p"
        server.hba = ["host all all all trust"]
        server.restart()
        psycopg.connect(server.dsn("postgres", "postgres")).close()


def test_close_leaves_no_process_no_file_and_no_shared_memory() -> None:
    with EmbeddedPostgres() as server:
        pid, directory = server.pid, server.directory
        server.kill()
        server.start()
        server.kill()
    assert not directory.exists()
    assert not is_alive(pid)
    with EmbeddedPostgres() as server:
        pid = server.pid
        assert shared_memory_of(pid)
        server.kill()
        assert not shared_memory_of(pid)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_owner_leaves_nothing(signum: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        owner.send_signal(signum)
        assert owner.wait(30) != 0
    assert not is_alive(int(pid))
    assert not Path(directory).exists()


def test_a_refused_setting_shows_the_servers_own_words() -> None:
    server = EmbeddedPostgres(settings={"no_such_setting": 1})
    with (
        pytest.raises(PostgresError, match='unrecognized configuration parameter "no_such'),
        server,
    ):
        pass
    with pytest.raises(PostgresError, match="has not been started"):
        _ = server.directory


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that its PostgreSQL can't read")
def test_programs_that_only_root_can_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, package = find_bindir().parents[:2]
    if not (installation / "share").is_dir():
        pytest.skip(f"{installation} is part of the system, and open to all")
    copy = tmp_path / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, tmp_path / libraries.name)
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PGMUX_PG_BINDIR", str(copy / "bin"))
    with EmbeddedPostgres() as server:
        assert server.psql("select 1") == "1"
        assert (server.directory / package.name / installation.name / "bin" / "initdb").exists()
