"""`pgmux top` at a running pgmux and a running PgBouncer under load, on a real terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pexpect
import pyte
import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.load import Application, running_load
from tests.fixtures.operator import without_libpq
from tests.fixtures.tools import command_of
from tests.fixtures.waiting import wait_until

TOP = (sys.executable, "-P", "-m", "pgmux", "top")
TIMEOUT = 20.0  # seconds
SECRET = "top secret"
# More of them than servers, so that somebody waits; and a name that would like to be markup.
LOAD = (
    Application("worker", 4, "SELECT pg_sleep(0.01)", away=0.01),
    Application("[red]eve\x1b[31m", 1, idle_in_xact=0.05),
)


def start_pooler(postgres: EmbeddedPostgres, kind: str) -> PoolerProcess:
    where = f"host={postgres.host} port={postgres.port} dbname=postgres"
    return PoolerProcess(
        port=find_free_port(),
        databases={"app": f"{where} user=postgres password={postgres.password}"},
        users={"looker": SECRET, "web": SECRET},
        settings={
            "auth_type": "scram-sha-256",
            "stats_users": "looker",
            "pool_mode": "transaction",
            "default_pool_size": 2,
        },
        command=command_of(kind),
    )


@pytest.fixture(scope="module", params=["pgmux", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pooler(postgres: EmbeddedPostgres, kind: str) -> Iterator[PoolerProcess]:
    with start_pooler(postgres, kind) as started:
        dsn = f"host={started.host} port={started.port} dbname=app user=web password='{SECRET}'"
        with running_load(dsn, LOAD):
            yield started


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nobody's environment: no PG… but the password, and an own home."""
    return without_libpq(HOME=str(tmp_path), PGPASSWORD=SECRET, TERM="xterm-256color")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    """`run(pooler, "--once")`: the command to its end, without a terminal."""

    def run(at: PoolerProcess, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TOP, *place_of(at), "--interval", "0.3", *arguments],
            cwd=tmp_path,
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            start_new_session=True,
        )

    return run


def place_of(pooler: PoolerProcess) -> tuple[str, ...]:
    return ("-h", pooler.host, "-p", str(pooler.port), "-U", "looker")


# Once


def test_once_prints_the_pools_under_load(pooler: PoolerProcess, kind: str, run: Run) -> None:
    done = run(pooler, "--once")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.match(rf"PgBouncer [\d.]+ at {pooler.host}:{pooler.port}$", lines[0])
    assert float(lines[1].split()[0]) > 0  # transactions per second
    row = next(line for line in lines if line.startswith("app "))
    assert row.split()[:2] == ["app", "postgres"]
    assert ("doesn't tell: applications" in done.stdout) == (kind == "pgbouncer")


def test_json_has_numbers_that_move(pooler: PoolerProcess, kind: str, run: Run) -> None:
    done = run(pooler, "--json")
    content = json.loads(done.stdout)
    [database] = [row for row in content["rates"]["databases"] if row["database"] == "app"]
    assert database["xact_rate"] > 0
    assert ("APPS" in content["not_told"]) == (kind == "pgbouncer")
    if kind == "pgmux":
        worker = content["rates"]["apps"][0]
        assert worker["application_name"] == "worker"
        assert 0 < worker["servers_held"] <= 2.5
        assert content["rates"]["all_pools"]["xact"]["p50"] > 0


def test_without_a_connection_it_says_where_it_looked(run: Run, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*TOP, "--once", "-h", "127.0.0.1", "-p", str(find_free_port()), "-U", "looker"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 2
    assert "Is the pooler running there?" in done.stderr


def test_a_wrong_password_is_not_repeated(pooler: PoolerProcess, run: Run) -> None:
    done = run(pooler, "--once", "-w", PGPASSWORD="not the secret")
    assert done.returncode == 2
    assert "not the secret" not in done.stderr + done.stdout


def test_the_local_pooler_is_found_by_its_ini_file(pooler: PoolerProcess, run: Run) -> None:
    done = subprocess.run(
        [*TOP, "--once", "--interval", "0.1", "--config", str(pooler.directory / "pgbouncer.ini")],
        env={**os.environ, "PGUSER": "looker", "PGPASSWORD": SECRET},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "app " in done.stdout


# On a terminal


class Screen:
    """The command on a terminal of 80 by 24, and what stands there."""

    def __init__(self, child: pexpect.spawn) -> None:
        self.child = child
        self.bytes = b""
        self._screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)

    def read(self) -> str:
        """What stands there now."""
        with suppress(pexpect.TIMEOUT, pexpect.EOF):
            while True:
                chunk = self.child.read_nonblocking(1 << 16, timeout=0.02)
                self.bytes += chunk
                self._stream.feed(chunk)
        return "\n".join(self._screen.display)

    def wait_for(self, pattern: str) -> str:
        """The screen once it has that. Raises: AssertionError after a while."""
        try:
            return wait_until(lambda: self._find(pattern), TIMEOUT)
        except AssertionError:
            raise AssertionError(f"no {pattern} in:\n{self.read()}") from None

    def _find(self, pattern: str) -> str:
        text = self.read()
        return text if re.search(pattern, text) else ""

    def send(self, keys: str) -> None:
        self.child.send(keys)


@contextmanager
def on_terminal(pooler: PoolerProcess, environ: dict[str, str]) -> Iterator[Screen]:
    """The command, asking five times a second; ended at the end."""
    command, *arguments = [*TOP, *place_of(pooler), "--interval", "0.2"]
    child = pexpect.spawn(command, arguments, env=environ, timeout=TIMEOUT, dimensions=(24, 80))
    with closing(child):
        yield Screen(child)


def test_a_terminal_shows_pools_opens_one_and_is_left_as_it_was(
    pooler: PoolerProcess, kind: str, environ: dict[str, str]
) -> None:
    with on_terminal(pooler, environ) as screen:
        screen.wait_for(r"[1-9]\d* tx/s")
        text = screen.wait_for("tx/s [▁-█]{3}")
        assert f"at {pooler.host}:{pooler.port}" in text
        assert re.search(r"^ app +postgres +\d", text, re.MULTILINE)
        assert ("3 Applications" in text) == (kind == "pgmux")
        screen.send("\r")
        text = screen.wait_for("worker")
        assert "app as postgres" in text
        assert ("█" in text) == (kind == "pgmux")
        screen.send("2")
        screen.wait_for("active +[1-9]")  # a server's pid
        screen.send("\x1b")
        screen.wait_for("1 Pools")
        screen.send("?")
        screen.wait_for("SHOW is all that it sends")
        screen.send("q")
        screen.wait_for("1 Pools +2 Databases")
        screen.send("q")
        screen.child.expect(pexpect.EOF)
        screen.bytes += screen.child.before
        assert b"\x1b[?1049l" in screen.bytes  # the screen of before
        assert screen.child.wait() == 0


def test_hostile_names_send_nothing_to_the_terminal(
    pooler: PoolerProcess, environ: dict[str, str]
) -> None:
    with on_terminal(pooler, environ) as screen:
        screen.wait_for("app +postgres")
        screen.send("\r")
        screen.wait_for(r"\[red\]eve")
        assert b"eve\x1b[31m" not in screen.bytes


def test_without_colours_there_are_none(pooler: PoolerProcess, environ: dict[str, str]) -> None:
    with on_terminal(pooler, environ | {"NO_COLOR": "1"}) as screen:
        screen.wait_for("app +postgres")
        screen.wait_for("tx/s [▁-█]")
    colours = re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", screen.bytes)
    assert all(red == green == blue for red, green, blue in colours)


def test_a_pooler_that_restarts_is_found_again(
    postgres: EmbeddedPostgres, environ: dict[str, str]
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(start_pooler(postgres, "pgmux"))
        screen = stack.enter_context(on_terminal(first, environ))
        screen.wait_for("tx/s")  # it has a sample that can go stale
        first.close()
        screen.wait_for(r"stale .*no connection")
        second = start_pooler(postgres, "pgmux")
        second.port = first.port
        stack.enter_context(second)
        screen.wait_for(r"\n every 0.2 s")
        screen.send("\x03")
        screen.child.expect(pexpect.EOF)
        assert screen.child.wait() == 0
