"""Every timeout: who is closed by it, who is not, and the reason that client and log are told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import (
    Connect,
    answer,
    is_answered,
    pid,
    pool_of,
    send,
    server_count,
    value,
    wait_for_log,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

Set = Callable[..., None]
CACHED = "server login has been failing, cached error: connect failed (server_login_retry)"
NOTICE = "No server connection available in postgres backend, client being queued"
USERS = """\
[users]
slow_query = query_timeout=1
slow_transaction = transaction_timeout=1
slow_idle = idle_transaction_timeout=1
slow_client = client_idle_timeout=1
slow_wait = query_wait_timeout=1
"""
ROLES = ("slow_query", "slow_transaction", "slow_idle", "slow_client", "slow_wait")


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler, postgres: EmbeddedPostgres) -> Pooler:
    """One pooler for all settings that SET changes."""
    for role in ROLES:
        postgres.psql(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    made = module_pooler(
        databases={
            "*": "",
            "one": "dbname=postgres pool_size=1",
            "patient": "dbname=postgres pool_size=1 query_wait_timeout=60",
            "session": "dbname=postgres pool_mode=session",
        },
        users=dict.fromkeys(ROLES, "secret"),
    )
    path = made.directory / "users.ini"
    path.write_text(USERS)
    path.chmod(0o644)
    (made.directory / "pgbouncer.ini").open("a").write(f"%include {path}\n")
    made.console("RELOAD")
    return made


@pytest.fixture
def set_(shared: Pooler) -> Iterator[Set]:
    """`set_(query_timeout=0.2)`, until the end of the test."""

    def change(**settings: object) -> None:
        for name, text in settings.items():
            shared.console(f"SET {name} = '{text}'")

    yield change
    shared.console("RELOAD")
    shared.console("RECONNECT")


def closing(text: str) -> str:
    return f"closing because: {text} (age="


@pytest.mark.parametrize("of_the_user", [False, True], ids=["global", "of the user"])
@pytest.mark.parametrize(
    ("name", "user", "reason", "first", "last"),
    [
        ("query_timeout", "slow_query", "query timeout", "", "SELECT pg_sleep(10)"),
        ("transaction_timeout", "slow_transaction", "transaction timeout", "BEGIN", "SELECT 1"),
        ("idle_transaction_timeout", "slow_idle", "idle transaction timeout", "BEGIN", "SELECT 1"),
    ],
)
def test_a_server_that_takes_too_long_is_closed_with_its_client(
    shared: Pooler,
    set_: Set,
    connect: Connect,
    name: str,
    user: str,
    reason: str,
    first: str,
    last: str,
    of_the_user: bool,
) -> None:
    if not of_the_user:
        set_(**{name: 0.2})
    seen = shared.log().count(closing(reason))
    client = connect(shared, "postgres", user if of_the_user else "postgres")
    bystander = connect(shared, "postgres", "slow_wait" if of_the_user else "postgres")
    if first:
        value(client, first)
    send(client, last)
    if first:
        answer(client)
        wait_for_log(shared, closing(reason), seen + 2)
        send(client, "SELECT 1")
    error = answer(client)
    assert f"FATAL:  {reason}" in error
    lines = shared.log().splitlines()
    assert [line.split()[5][0] for line in lines if closing(reason) in line][-2:] == ["S", "C"]
    assert any(line.endswith(f"pooler error: {reason}") for line in lines)
    assert pid(bystander) > 0


def test_a_transaction_that_moves_is_not_idle(shared: Pooler, set_: Set, connect: Connect) -> None:
    set_(idle_transaction_timeout=0.5)
    client = connect(shared)
    value(client, "BEGIN")
    for _ in range(6):
        assert value(client, "SELECT pg_sleep(0.2)") == ""
    assert value(client, "COMMIT") == ""


def test_transaction_timeout_counts_from_begin_and_ends_with_commit(
    shared: Pooler, set_: Set, connect: Connect
) -> None:
    set_(transaction_timeout=0.7)
    client = connect(shared)
    for _ in range(4):
        assert value(client, "BEGIN; SELECT pg_sleep(0.3); COMMIT") == ""


def test_query_timeout_does_not_count_an_idle_transaction(
    shared: Pooler, set_: Set, connect: Connect
) -> None:
    set_(query_timeout=0.4, idle_transaction_timeout=1.1)
    client = connect(shared)
    seen = shared.log().count(closing("idle transaction timeout"))
    value(client, "BEGIN")
    wait_for_log(shared, closing("idle transaction timeout"), seen + 2)
    assert "idle transaction timeout" in value(client, "SELECT 1")


def test_a_client_that_waits_too_long_is_told(shared: Pooler, set_: Set, connect: Connect) -> None:
    set_(query_wait_timeout=0.2)
    holder, client, patient = connect(shared, "one"), connect(shared, "one"), None
    value(holder, "BEGIN")
    other_holder, patient = connect(shared, "patient"), connect(shared, "patient")
    value(other_holder, "BEGIN")
    send(patient, "SELECT 'served'")
    send(client, "SELECT 1")
    assert "FATAL:  query_wait_timeout" in answer(client)
    assert closing("query_wait_timeout") in shared.log()
    value(other_holder, "COMMIT")
    assert answer(patient) == "served"  # its database allows a minute
    assert value(holder, "COMMIT") == ""
    assert pool_of(shared, "one")["cl_waiting"] == 0


def test_a_user_may_have_a_query_wait_timeout_of_its_own(shared: Pooler, connect: Connect) -> None:
    shared.console("SET default_pool_size = 1")
    holder, client = connect(shared, user="slow_wait"), connect(shared, user="slow_wait")
    value(holder, "BEGIN")
    send(client, "SELECT 1")
    assert "query_wait_timeout" in answer(client)
    shared.console("RELOAD")


def test_query_timeout_ends_a_client_that_still_waits(
    shared: Pooler, set_: Set, connect: Connect
) -> None:
    holder, client = connect(shared, "one"), connect(shared, "one")
    value(holder, "BEGIN")
    set_(query_timeout=0.2)
    send(client, "SELECT 1")
    assert "FATAL:  query_timeout" in answer(client)
    assert closing("query_timeout") in shared.log()
    assert value(holder, "COMMIT") == ""


def test_a_client_is_told_once_a_wait_that_it_is_queued(
    shared: Pooler, set_: Set, connect: Connect
) -> None:
    set_(query_wait_notify=1)
    holder, client = connect(shared, "one"), connect(shared, "one")
    notices: list[tuple[str | None, str | None]] = []
    client.add_notice_handler(lambda d: notices.append((d.sqlstate, d.message_primary)))
    for expected in ([("00000", NOTICE)], [("00000", NOTICE)] * 2):
        value(holder, "BEGIN")
        send(client, "SELECT 'served'")
        wait_until(lambda: not is_answered(client) and len(notices) == len(expected))  # noqa: B023
        value(holder, "COMMIT")
        assert answer(client) == "served"
        assert notices == expected


def test_a_client_that_does_nothing_is_closed(shared: Pooler, set_: Set, connect: Connect) -> None:
    busy, idle = connect(shared), connect(shared)
    value(busy, "BEGIN")
    seen = shared.log().count(closing("client_idle_timeout"))
    set_(client_idle_timeout=0.3)
    wait_for_log(shared, closing("client_idle_timeout"), seen + 1)
    assert "FATAL:  client_idle_timeout" in value(idle, "SELECT 1")
    assert value(busy, "COMMIT") == ""  # it was linked


def test_a_user_may_have_a_client_idle_timeout_of_its_own(shared: Pooler, connect: Connect) -> None:
    idle, other = connect(shared, user="slow_client"), connect(shared)
    seen = shared.log().count(closing("client_idle_timeout"))
    wait_for_log(shared, closing("client_idle_timeout"), seen + 1)
    assert "client_idle_timeout" in value(idle, "SELECT 1")
    assert value(other, "SELECT 'here'") == "here"


def test_a_login_that_does_not_end_is_closed(shared: Pooler, set_: Set) -> None:
    set_(client_login_timeout=0.3, tcp_defer_accept=0)
    with socket.create_connection((shared.host, shared.port)) as silent:
        silent.settimeout(5)
        assert b"client_login_timeout" in silent.recv(1000)
    wait_for_log(shared, closing("client_login_timeout"))
    assert "(nodb)/(nouser)@127.0.0.1:" in shared.log()


def test_a_server_lives_no_longer_than_its_lifetime(
    shared: Pooler, set_: Set, connect: Connect
) -> None:
    client = connect(shared)
    first = pid(client)
    set_(server_lifetime=1)
    wait_until(lambda: pid(client) != first)
    assert closing("server lifetime over") in shared.log()


def test_a_lifetime_of_zero_is_one_use(shared: Pooler, set_: Set, connect: Connect) -> None:
    set_(server_lifetime=0)
    client = connect(shared)
    assert len({pid(client) for _ in range(3)}) == 3


def test_lifetimes_do_not_end_all_at_once(shared: Pooler, connect: Connect, set_: Set) -> None:
    clients = [connect(shared) for _ in range(4)]
    for client in clients:
        value(client, "BEGIN")
    for client in clients:
        value(client, "COMMIT")
    before = shared.log().count(closing("server lifetime over"))
    set_(default_pool_size=2, server_lifetime=1)  # so one goes every half second
    wait_for_log(shared, closing("server lifetime over"), before + 1)
    assert shared.log().count(closing("server lifetime over")) <= before + 2
    wait_for_log(shared, closing("server lifetime over"), before + 2)


def test_an_idle_server_is_closed(shared: Pooler, set_: Set, connect: Connect) -> None:
    client = connect(shared)
    pid(client)
    set_(server_idle_timeout=0.3)
    wait_until(lambda: server_count(shared, "postgres") == 0)
    assert closing("server idle timeout") in shared.log()
    assert pid(client) > 0


@contextlib.contextmanager
def mute_server() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in accepted:
            each.close()


def test_a_connect_that_does_not_end_is_given_up(pooler: MakePooler) -> None:
    with mute_server() as port:
        slow = pooler(
            databases={"mute": f"host=127.0.0.1 port={port}"},
            settings={
                "server_connect_timeout": 0.2,
                "server_login_retry": 60,
                "client_login_timeout": 1.5,
                "query_wait_timeout": 0,
            },
        )
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(slow.dsn("mute"))
        assert "client_login_timeout (server down)" in str(refused.value)
        log = slow.log()
        assert f"mute/postgres@127.0.0.1:{port} {closing('connect timeout')}" in log
        assert closing("client_login_timeout (server down)") in log


def test_a_login_that_failed_is_not_repeated_before_its_time(
    pooler: MakePooler, postgres: EmbeddedPostgres, connect: Connect
) -> None:
    retry = pooler(
        databases={"db": "dbname=postgres"},
        settings={"server_login_retry": 1, "query_wait_timeout": 30},
    )
    client, other = connect(retry, "db"), connect(retry, "db")
    assert value(client, "SELECT 1") == "1"
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        closed = int(nobody.getsockname()[1])
    retry.databases["db"] = f"host=127.0.0.1 port={closed} dbname=postgres"
    retry.reload()
    send(client, "SELECT 'served'")
    wait_for_log(retry, f"@127.0.0.1:{closed} {closing('connect failed')}")
    assert f"FATAL:  {CACHED}" in value(other, "SELECT 1")
    assert closing(CACHED) in retry.log()
    wait_for_log(retry, closing("connect failed"), 2)  # a second later
    retry.databases["db"] = retry.entry("dbname=postgres")
    retry.reload()
    assert answer(client) == "served"
