"""What can go wrong before a load, how one is ended, and where its results go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import psycopg
import pytest

from pgmux.ops.loadtest.plan import Side
from pgmux.ops.loadtest.target import find_target
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.ops.server_connection import ServerConnection
from tests.e2e.ops.loadtest.conftest import COMMAND, PATIENT, Run, at, environment, results
from tests.fixtures.browser import OpenPage
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgmux loadtest'"


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (("--pooler", f"host=127.0.0.1 port={find_free_port()}"), {}, "refused"),
        (
            ("--direct", "user=nobody_at_all", "-w"),
            {"PGPASSWORD": "wrong"},
            "authentication failed",
        ),
        (("--direct", "password=secret"), {}, "a password on a command line can be read"),
        (("--query-type", "none.sql"), {}, "none.sql: No such file or directory"),
        (("--num-workers", "70000", "--num-queries", "70000"), {}, "net.ipv4.ip_local_port_range"),
        (("--num-workers", "300"), {}, "300 connections, but PostgreSQL"),
        (("--num-workers", "300"), {}, "that needs --yes"),
        (("--html", "nowhere/x.html"), {}, "cannot write nowhere/x.html: no directory"),
        (("--test-type", "steady"), {}, "'steady' is not one of"),
    ],
)
def test_what_can_not_work_is_said_before_the_load_begins(
    arguments: tuple[str, ...], env: dict[str, str], said: str, run: Run
) -> None:
    done = run(*arguments, **env)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_the_console_is_no_place_for_a_load(run: Run, pgmux: Pooler) -> None:
    done = run("--pooler", f"{at(pgmux)} dbname=pgbouncer")
    assert done.returncode == 2
    assert "is a pooler's console" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-- nothing;\n", "own.sql has no statement"),
        ("SELECT 'a", "own.sql, line 1: ' is never closed"),
        ("BEGIN; SELECT 1; COMMIT", "own.sql has BEGIN"),
        ("SELECT nothing_like_it", 'column "nothing_like_it" does not exist (42703)'),
        ("SELECT $1::int", "the server expects … argument"),
    ],
)
def test_a_file_that_can_not_be_a_load_is_refused(
    text: str, said: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "own.sql").write_text(text)
    done = run("--query-type=own.sql")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_variable_puts_no_load_on_a_side_that_was_not_asked_for(run: Run, pgmux: Pooler) -> None:
    load = ("--num-queries=5", "--num-workers=1", "--json", *PATIENT)
    variables = {"PGMUX_POSTGRES": "dbname=postgres", "PGMUX_POOLER": at(pgmux)}
    assert results(run(*load, **variables))["sides"].keys() == {"direct", "pooler"}
    assert results(run("--pooler", at(pgmux), *load, **variables))["sides"].keys() == {"pooler"}


def test_an_option_that_means_nothing_to_the_test_is_said(run: Run) -> None:
    done = run("--num-queries=5", "--num-workers=1", "--burst-size=5", *PATIENT)
    assert done.returncode == 0
    assert "--burst-size isn't used by this test" in done.stderr


def test_an_interrupt_shows_the_results_so_far_and_ends_what_was_asked(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    (tmp_path / "slow.sql").write_text("SELECT pg_sleep(0.05)")
    command = [*COMMAND, "--query-type=slow.sql", "--num-queries=100000", "--num-workers=3"]
    with (
        psycopg.connect(postgres.dsn(), autocommit=True) as watch,
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment(postgres),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):

        def count() -> int:
            row = watch.execute(OURS.encode()).fetchone()
            assert row is not None
            return int(row[0])

        # Every worker's connection has asked more than the one query that isn't counted.
        asked = f"{OURS} AND query_start > backend_start + interval '0.5 s'"
        wait_until(lambda: watch.execute(asked.encode()).fetchone() == (3,))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in stderr
        assert stdout.splitlines()[-1].startswith("interrupted: these are the results so far")
        assert "queries/s" in stdout
        wait_until(lambda: count() == 0)


@pytest.mark.parametrize("library", ["asyncpg", "sqlalchemy"])
def test_a_library_that_is_missing_is_named_with_the_extra_that_has_it(
    library: str, run: Run, tmp_path: Path
) -> None:
    missing = f"raise ModuleNotFoundError('no {library}', name='{library}')"
    (tmp_path / f"{library}.py").write_text(missing)
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    done = run("--driver", library, PYTHONPATH=path)
    assert done.returncode == 2
    assert f"the load test needs {library}: pip install 'pgmux[loadtest]'" in done.stderr


@pytest.mark.parametrize(("typed", "code"), [("n\n", 2), ("\x03", 130)])
def test_a_load_that_is_not_agreed_to_does_not_begin(
    typed: str, code: int, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "pgmux", "loadtest", "--num-workers=300"],
        env=environment(postgres),
        cwd=tmp_path,
        timeout=30,
    )
    terminal.expect("Go on")
    terminal.send(typed)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == code


def test_results_that_nobody_reads_are_no_traceback(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    line = f"{' '.join(COMMAND)} --num-queries=5 --num-workers=1 --json | head -c 1"
    done = subprocess.run(
        ["sh", "-c", line],
        env=environment(postgres),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_can_be_read_on_a_desk_and_on_a_phone(
    width: int, scheme: str, run: Run, pgmux: Pooler, open_page: OpenPage, tmp_path: Path
) -> None:
    load = ("--test-type=ramp", "--num-queries=60", "--num-workers=4", *PATIENT)
    page_file = tmp_path / "load.html"
    done = run("--direct=", f"--pooler={at(pgmux)}", *load, "--html", str(page_file))
    assert done.returncode == 0, done.stderr
    page = open_page(page_file.as_uri(), width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("figure svg[role=img]").count() == 3
    assert page.locator(".verdict.passed").is_visible()
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('figure text')]"
        ".map(text => text.getBoundingClientRect().height))"
    )
    assert smallest >= 9


def test_a_role_without_rights_sees_as_few_places_left_as_there_are(
    postgres: EmbeddedPostgres,
) -> None:
    all_rights = {
        "host": postgres.host,
        "port": str(postgres.port),
        "user": postgres.superuser,
        "password": postgres.password,
        "dbname": "postgres",
    }
    with ServerConnection(all_rights) as server:
        server.rows("DROP ROLE IF EXISTS loadtest_plain")
        server.rows("CREATE ROLE loadtest_plain LOGIN PASSWORD 'plain'")
        plain = {**all_rights, "user": "loadtest_plain", "password": "plain"}
        with ServerConnection(plain) as other:
            # Both see the other one's connection, and not their own.
            wait_until(
                lambda: (
                    find_target(Side.DIRECT, other).free_places
                    == find_target(Side.DIRECT, server).free_places
                )
            )
        server.rows("DROP ROLE loadtest_plain")
