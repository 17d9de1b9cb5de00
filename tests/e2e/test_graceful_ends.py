"""How a pooler ends while it is used: what docs/containers.md says of signals, as a test each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.ops.pooler import PGMUX
from pgmux.ops.postgres import EmbeddedPostgres, children_of
from tests.fixtures.pooler import DEFAULTS, MakePooler, Pooler
from tests.fixtures.waiting import wait_until

Connection = psycopg.Connection[Any]
Open = Callable[..., Connection]


@pytest.fixture
def open_client() -> Iterator[Open]:
    """`open_client(pooler)`: a client in autocommit, which ends with the test."""
    with ExitStack() as stack:

        def open_(pooler: Pooler, **parameters: Any) -> Connection:
            client = psycopg.connect(pooler.dsn(**parameters), autocommit=True)
            client.prepare_threshold = None
            return stack.enter_context(closing(client))

        yield open_


def console(pooler: Pooler, sql: str) -> list[dict[str, Any]]:
    """Rows by `pgmux console` over the Unix socket, as somebody in the container asks."""
    where = ("-h", str(pooler.socket_dir), "-p", str(pooler.port), "-U", "postgres")
    command = [sys.executable, "-P", "-m", "pgmux", "console", *where, "--json", sql]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return rows


def is_running(pooler: Pooler) -> bool:
    """Whether the process has not ended; a zombie has."""
    return Path(f"/proc/{pooler.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_the_end(pooler: Pooler) -> None:
    wait_until(lambda: not is_running(pooler))


def begin_to_end(pooler: Pooler, signum: signal.Signals) -> None:
    pooler.send_signal(signum)
    wait_until(lambda: f"got {signum.name}, shutting down, waiting" in pooler.log())


def value(client: Connection, sql: str) -> object:
    row = client.execute(sql.encode()).fetchone()
    return None if row is None else row[0]


# SIGTERM: until the clients have gone


def test_sigterm_serves_who_is_there_idle_or_not_and_refuses_who_comes(
    pooler: MakePooler, open_client: Open
) -> None:
    ending = pooler()
    used, idle = open_client(ending), open_client(ending)
    begin_to_end(ending, signal.SIGTERM)
    for unix_socket in (False, True):
        with pytest.raises(psycopg.OperationalError):
            open_client(ending, unix_socket=unix_socket)
    assert value(used, "SELECT 1") == 1
    users = [row["database"] for row in console(ending, "SHOW CLIENTS")]
    assert sorted(users) == ["pgbouncer", "postgres", "postgres"]
    used.close()
    wait_until(lambda: len(console(ending, "SHOW CLIENTS")) == 2)
    assert is_running(ending)  # an idle client is a client
    assert value(idle, "SELECT 2") == 2
    idle.close()
    wait_for_the_end(ending)
    assert "client connections dropped, exiting" in ending.log()


def test_a_query_that_runs_at_sigterm_is_answered(pooler: MakePooler, open_client: Open) -> None:
    ending = pooler()
    client = open_client(ending)
    with closing(psycopg.connect(ending.server.dsn(), autocommit=True)) as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        client.pgconn.send_query(b"SELECT pg_advisory_xact_lock(1), 'answered'")
        wait_until(lambda: ending.console("SHOW POOLS")[-1]["sv_active"] == 1)
        begin_to_end(ending, signal.SIGTERM)
    result = client.pgconn.get_result()
    assert result is not None
    assert result.get_value(0, 1) == b"answered"
    client.close()
    wait_for_the_end(ending)


# SIGINT: until the servers are free


def test_sigint_lets_transactions_end_and_nobody_else(
    pooler: MakePooler, open_client: Open
) -> None:
    ending = pooler(settings={"default_pool_size": 1})
    busy, idle, waiting = (open_client(ending) for _ in range(3))
    assert value(idle, "SELECT 1") == 1
    busy.execute(b"BEGIN; SELECT 1")
    waiting.pgconn.send_query(b"SELECT 'never'")
    wait_until(lambda: ending.console("SHOW POOLS")[-1]["cl_waiting"] == 1)
    begin_to_end(ending, signal.SIGINT)
    result = waiting.pgconn.get_result()
    assert result is not None
    assert b"FATAL:  server shutting down" in result.error_message
    assert value(busy, "SELECT 'in the transaction'") == "in the transaction"
    assert console(ending, "SHOW SERVERS")[0]["state"] == "active"
    assert is_running(ending)
    busy.execute(b"COMMIT")
    wait_for_the_end(ending)
    assert "server connections dropped, exiting" in ending.log()
    with pytest.raises(psycopg.OperationalError, match="server closed the connection"):
        value(idle, "SELECT 1")


def test_with_nothing_to_wait_for_either_signal_ends_it_at_once(
    pooler: MakePooler, open_client: Open
) -> None:
    unused, idle = pooler(), pooler()
    open_client(idle)
    for ending, signum in ((unused, signal.SIGTERM), (idle, signal.SIGINT)):
        ending.send_signal(signum)
        wait_for_the_end(ending)


# Twice


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGINT, signal.SIGTERM),
        ("SHUTDOWN WAIT_FOR_CLIENTS", signal.SIGTERM),
        ("SHUTDOWN WAIT_FOR_SERVERS", signal.SIGTERM),
        (signal.SIGTERM, "SHUTDOWN WAIT_FOR_SERVERS"),
    ],
    ids=str,
)
def test_whatever_comes_second_ends_it_at_once(
    pooler: MakePooler,
    open_client: Open,
    first: str | signal.Signals,
    second: str | signal.Signals,
) -> None:
    ending = pooler()
    client = open_client(ending)
    client.execute(b"BEGIN; SELECT 1")
    with closing(psycopg.connect(ending.dsn("pgbouncer", unix_socket=True))) as admin:
        for how in (first, second):
            assert is_running(ending)
            if isinstance(how, str):
                admin.pgconn.send_query(how.encode())
                wait_until(lambda text=how: f"{text} command issued" in ending.log())
            else:
                ending.send_signal(how)
                wait_until(lambda name=how.name: f"got {name}" in ending.log())
        wait_for_the_end(ending)
    with pytest.raises(psycopg.OperationalError):
        value(client, "SELECT 1")


def test_a_kill_rolls_back_and_leaves_a_socket_that_a_new_start_replaces(
    pooler: MakePooler, open_client: Open, create_database: Callable[..., str]
) -> None:
    database, killed = create_database(), pooler()
    client = open_client(killed, db=database)
    client.execute(b"CREATE TABLE t (n int)")
    client.execute(b"BEGIN; INSERT INTO t VALUES (1)")
    killed.send_signal(signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError, match="server closed the connection"):
        value(client, "SELECT 1")
    assert (killed.socket_dir / f".s.PGSQL.{killed.port}").exists()
    with ExitStack() as stack:
        again = stack.enter_context(Successor(killed, unix_socket_dir=killed.socket_dir))
        found = open_client(again, db=database, unix_socket=True)
        assert value(found, "SELECT count(*) FROM t") == 0


# One goes, the next comes


class Successor(Pooler):
    """A second pooler on the port of another."""

    def __init__(self, other: Pooler, **settings: object) -> None:
        super().__init__(other.server, {"*": ""}, DEFAULTS | settings, {}, {})
        self.port = other.port
        self._unix_socket_dir = settings.get("unix_socket_dir")

    @property
    def socket_dir(self) -> Path:
        return Path(str(self._unix_socket_dir or self.directory))


def test_a_second_pooler_takes_over_the_port_without_a_refused_client(
    pooler: MakePooler, open_client: Open
) -> None:
    old = pooler(settings={"so_reuseport": 1})
    client = open_client(old)
    with Successor(old, so_reuseport=1) as new:
        begin_to_end(old, signal.SIGTERM)
        clients = [client]

        def is_taken_over() -> bool:
            """Whom the old one still lets in it serves; soon all come to the new one."""
            clients.extend(open_client(old) for _ in range(10))
            return len(console(new, "SHOW CLIENTS")) > 20

        wait_until(is_taken_over)
        for each in clients:
            assert value(each, "SELECT 1") == 1
            each.close()
        wait_for_the_end(old)


# Process 1 of a container

IN_A_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")


needs_namespace = pytest.mark.skipif(
    subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True).returncode != 0,
    reason="no PID namespace allowed here",
)


class InANamespace(Pooler):
    """A pooler that is process 1 of its own PID namespace; `pid` is unshare's."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        super().__init__(server, {"*": ""}, {}, {}, {})
        self._command = (*IN_A_NAMESPACE, *PGMUX)


@needs_namespace
def test_as_process_1_it_takes_its_signals(postgres: EmbeddedPostgres, open_client: Open) -> None:
    with InANamespace(postgres) as process_1:
        (pid,) = children_of(process_1.pid)
        client = open_client(process_1)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "got SIGTERM, shutting down, waiting" in process_1.log())
        assert value(client, "SELECT 1") == 1
        client.close()
        wait_for_the_end(process_1)


def ends_while_it_reads(fifo: Path, *command: str, **environ: str) -> bool:
    """Whether SIGTERM ends that process 1 while it waits for what nobody writes."""
    os.mkfifo(fifo, 0o644)
    starting = subprocess.Popen([*IN_A_NAMESPACE, *command], env=os.environ | environ)
    try:
        writer = wait_until(lambda: open_for_writing(fifo))
        (pid,) = children_of(starting.pid)
        os.kill(pid, signal.SIGTERM)
        has_ended = starting.wait(10) == 128 + signal.SIGTERM
        os.close(writer)
        return has_ended
    finally:
        starting.kill()
        starting.wait()


@needs_namespace
def test_as_process_1_it_ends_at_a_signal_that_comes_while_it_starts() -> None:
    with tempfile.TemporaryDirectory(prefix="pgmux-") as name:
        os.chmod(name, 0o755)
        config = Path(name, "slow.ini")
        become = ("-u", "nobody") if os.getuid() == 0 else ()
        assert ends_while_it_reads(config, *PGMUX, *become, str(config))


@needs_namespace
def test_as_process_1_an_images_entry_point_ends_at_a_signal(tmp_path: Path) -> None:
    secret, ini = tmp_path / "password", tmp_path / "pgbouncer.ini"
    command = (*PGMUX[:-1], "container", "--directory", str(tmp_path), "true", str(ini))
    environ = {"DB_HOST": "db", "DB_PASSWORD_FILE": str(secret)}
    assert ends_while_it_reads(secret, *command, **environ)


def open_for_writing(fifo: Path) -> int | None:
    """The FIFO, once somebody reads from it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
