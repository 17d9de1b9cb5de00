"""A pooler's console, read by whichever driver there is: pgmux, PgBouncer, and what is neither."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux_apps.console import ConsoleAddress, ConsoleError, read_console
from tests.fixtures.blackhole import blackhole
from tests.fixtures.pooler import MakePooler
from tests.fixtures.tools import require_tool

HOST = "127.0.0.1"
SECRET = "hunter2 is'long"
USERS = {"stats": SECRET}
SETTINGS = {"auth_type": "scram-sha-256", "stats_users": "stats"}


@pytest.fixture(scope="module")
def pgmux(module_pooler: MakePooler) -> PoolerProcess:
    return module_pooler(
        databases={"app": "dbname=postgres pool_size=7"}, users=USERS, settings=SETTINGS
    )


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    with PoolerProcess(
        port=find_free_port(),
        databases={"app": f"host={postgres.host} port={postgres.port} pool_size=7"},
        users=USERS,
        settings=SETTINGS,
        command=(str(require_tool("pgbouncer")),),
    ) as pooler:
        yield pooler


@pytest.fixture(params=["psycopg", "psycopg2"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "psycopg2":
        monkeypatch.setitem(sys.modules, "psycopg", None)
    return str(request.param)


def address(port: int, password: str | None = SECRET, user: str = "stats") -> ConsoleAddress:
    return ConsoleAddress(HOST, port, user, password)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("which", ["pgmux", "pgbouncer"])
def test_answers_are_rows_of_text_by_column(which: str, request: pytest.FixtureRequest) -> None:
    pooler: PoolerProcess = request.getfixturevalue(which)
    pools, databases = read_console(address(pooler.port), ["SHOW POOLS", "SHOW DATABASES"])
    assert {"database", "cl_active", "maxwait"} <= pools[0].keys()
    (app,) = (row for row in databases if row["name"] == "app")
    assert (app["pool_size"], app["force_user"]) == ("7", None)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("which", ["pgmux", "pgbouncer"])
@pytest.mark.parametrize(
    ("password", "user"), [("wrong", "stats"), (None, "stats"), (SECRET, "nobody")]
)
def test_a_login_that_is_refused_says_so_without_the_password(
    which: str, password: str | None, user: str, request: pytest.FixtureRequest
) -> None:
    pooler: PoolerProcess = request.getfixturevalue(which)
    with pytest.raises(ConsoleError) as caught:
        read_console(address(pooler.port, password, user), ["SHOW POOLS"])
    assert f"the console pgbouncer at {HOST}:{pooler.port} as {user} isn't read" in str(
        caught.value
    )
    assert SECRET not in repr(caught.value) + str(caught.value)


@pytest.mark.usefixtures("driver")
def test_a_command_that_there_is_not_is_refused(pgmux: PoolerProcess) -> None:
    with pytest.raises(ConsoleError, match="invalid command") as caught:
        read_console(address(pgmux.port), ["SHOW POOLS", "SHOW NONSENSE"])
    assert caught.value.is_refused


@pytest.mark.usefixtures("driver")
def test_a_port_where_nobody_is_isnt_a_refusal() -> None:
    with pytest.raises(ConsoleError, match="refused") as caught:
        read_console(address(find_free_port()), ["SHOW POOLS"])
    assert not caught.value.is_refused


@pytest.mark.usefixtures("driver")
def test_a_postgresql_is_no_pooler_and_says_so(postgres: EmbeddedPostgres) -> None:
    place = ConsoleAddress(
        postgres.host, postgres.port, postgres.superuser, postgres.password, dbname="postgres"
    )
    with pytest.raises(ConsoleError, match="pools") as caught:
        read_console(place, ["SHOW POOLS"])
    assert caught.value.is_refused


@pytest.mark.usefixtures("driver")
def test_something_that_speaks_another_protocol_is_an_error() -> None:
    with socket.create_server((HOST, 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConsoleError) as caught:
            read_console(address(server.getsockname()[1]), ["SHOW POOLS"], timeout=2)
        thread.join()
    assert not caught.value.is_refused
    assert "\n" not in str(caught.value)


def test_a_host_that_swallows_everything_is_given_up() -> None:
    with blackhole() as port, pytest.raises(ConsoleError) as caught:
        read_console(address(port), ["SHOW POOLS"], timeout=0.5)
    assert not caught.value.is_refused


@pytest.mark.usefixtures("driver")
def test_a_console_that_never_answers_a_query_is_cut(postgres: EmbeddedPostgres) -> None:
    place = ConsoleAddress(
        postgres.host, postgres.port, postgres.superuser, postgres.password, dbname="postgres"
    )
    with pytest.raises(ConsoleError, match=r"no answer within 0\.2 s") as caught:
        read_console(place, ["SELECT pg_sleep(20)"], timeout=0.2)
    assert not caught.value.is_refused


def test_nobody_waits_for_the_timers_thread(
    pgmux: PoolerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gevent that patches after the import, as in gunicorn --preload, never says that it ended."""

    def wait_for_ever(timer: threading.Timer) -> None:
        raise AssertionError("it would never end")

    monkeypatch.setattr(threading.Timer, "join", wait_for_ever)
    assert read_console(address(pgmux.port), ["SHOW POOLS"]) != [[]]


def test_without_a_driver_it_says_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(ConsoleError, match="takes psycopg or psycopg2; neither is installed"):
        read_console(address(1), ["SHOW POOLS"])


def test_an_address_never_shows_its_password() -> None:
    place = address(6432)
    assert SECRET not in repr(place) + str(place)
