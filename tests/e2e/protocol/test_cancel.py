"""Cancel requests: they reach the query that was meant, waiting or running, and no other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest
from psycopg import errors

from pgmux.wire import build, codes
from pgmux.wire.parse import BackendKeyData, parse_backend_key_data
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of, letters, values
from tests.fixtures.waiting import wait_until

SLEEP = build.build_query("SELECT pg_sleep(20)")


@pytest.fixture(scope="module")
def single(module_pooler: MakePooler) -> Pooler:
    return module_pooler(settings={"default_pool_size": 1})


class Client(RawClient):
    """A raw client that knows its cancel key."""

    key: BackendKeyData

    def login(self, minor: int = 0) -> Client:
        start = {"user": "postgres", "database": "postgres"}
        answer = self.exchange(build.build_startup_message(start, codes.PROTOCOL_3_0 + minor))
        self.key = parse_backend_key_data(next(body for kind, body in answer if kind == "K"))
        return self


def cancel(pooler: Pooler, key: BackendKeyData) -> None:
    """Returns when the pooler has closed the request's connection, without a word."""
    with socket.create_connection((pooler.host, pooler.port), 10) as connection:
        connection.sendall(build.build_cancel_request(key.pid, key.key))
        assert connection.recv(1) == b""


@pytest.fixture
def client(single: Pooler) -> Iterator[Client]:
    with Client(single) as client:
        yield client.login()


def pool(pooler: Pooler) -> dict[str, int]:
    return next(row for row in pooler.console("SHOW POOLS") if row["database"] == "postgres")


def wait_until_running(pooler: Pooler) -> None:
    """Until the pool's one server sleeps for its client."""
    with psycopg.connect(pooler.server.dsn(), autocommit=True) as monitor:
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_until(lambda: monitor.execute(sql).fetchone())


@pytest.mark.parametrize("minor", [0, 2])
def test_a_running_query_is_cancelled(single: Pooler, minor: int) -> None:
    with Client(single).login(minor) as client:
        for _ in range(3):
            client.send(SLEEP)
            wait_until_running(single)
            cancel(single, client.key)
            assert error_of(client.read_until()).sqlstate == "57014"
            assert client.value("SELECT 1") == "1"


def test_a_cancelled_transaction_is_aborted(single: Pooler, client: Client) -> None:
    client.exchange(build.build_query("BEGIN"))
    client.send(SLEEP)
    wait_until_running(single)
    cancel(single, client.key)
    assert client.read_until()[-1] == ("Z", b"E")
    assert client.exchange(build.build_query("ROLLBACK"))[-1] == ("Z", b"I")


def test_a_client_that_waits_for_a_server_is_cancelled(single: Pooler, client: Client) -> None:
    with Client(single).login() as blocker:
        blocker.exchange(build.build_query("BEGIN"))
        for request in (
            build.build_query("SELECT 1"),
            build.build_parse("", "") + build.build_sync(),
        ):
            client.send(request)
            wait_until(lambda: pool(single)["cl_waiting"] == 1)
            cancel(single, client.key)
            answer = client.read_until()
            assert letters(answer) == "EZ"
            assert error_of(answer).sqlstate == "57014"
            assert error_of(answer).message == "canceling statement due to user request"
        blocker.exchange(build.build_query("COMMIT"))
    assert client.value("SELECT 2") == "2"


def test_a_cancelled_waiting_client_leaves_the_queue_to_the_others(single: Pooler) -> None:
    blocker, first, second = clients = [Client(single).login() for _ in range(3)]
    blocker.exchange(build.build_query("BEGIN"))
    for waiting in (first, second):
        waiting.send(build.build_query("SELECT 'served'"))
    wait_until(lambda: pool(single)["cl_waiting"] == 2)
    cancel(single, first.key)
    assert letters(first.read_until()) == "EZ"
    blocker.exchange(build.build_query("COMMIT"))
    assert values(second.read_until()) == ["served"]
    for client in clients:
        client.socket.close()


def test_a_wrong_key_does_nothing(single: Pooler, client: Client) -> None:
    key = client.key
    wrong = [
        BackendKeyData(key.pid, bytes(byte ^ 1 for byte in key.key)),
        BackendKeyData(key.pid ^ 1, key.key),
        BackendKeyData(key.pid, key.key + b"\0"),
        BackendKeyData(0, b"\0\0\0\0"),
    ]
    client.send(build.build_query("SELECT 'done' FROM pg_sleep(0.3)"))
    wait_until_running(single)
    for guess in wrong:
        cancel(single, guess)
    assert values(client.read_until()) == ["done"]


def test_an_idle_client_s_next_query_is_not_cancelled(single: Pooler, client: Client) -> None:
    for _ in range(5):
        cancel(single, client.key)
        assert client.value("SELECT 1") == "1"


def test_an_idle_client_s_key_does_not_cancel_the_server_s_next_client(
    single: Pooler, client: Client
) -> None:
    assert client.value("SELECT 1") == "1"
    with Client(single).login() as other:
        other.send(build.build_query("SELECT 'done' FROM pg_sleep(0.3)"))
        wait_until_running(single)
        cancel(single, client.key)
        assert values(other.read_until()) == ["done"]


def test_drivers_cancel(single: Pooler) -> None:
    with psycopg.connect(single.dsn(), autocommit=True) as connection:
        for stop in (connection.cancel, connection.cancel_safe):
            timer = threading.Timer(0.05, stop)
            timer.start()
            with pytest.raises(errors.QueryCanceled):
                connection.execute("SELECT pg_sleep(20)")
            timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)

    async def talk() -> None:
        connection = await asyncpg.connect(single.dsn())
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await connection.fetchval("SELECT pg_sleep(20)", timeout=0.05)
            assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    asyncio.run(talk())


def test_a_storm_of_cancels_hits_nobody_but_its_victim(pooler: MakePooler) -> None:
    small = pooler(settings={"default_pool_size": 2, "max_client_conn": 300})
    bystanders = [Client(small).login() for _ in range(4)]
    victim = Client(small).login()
    failures: list[str] = []
    hits: list[int] = []
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            cancel(small, victim.key)

    def work(client: Client, *, may_fail: bool) -> None:
        for i in range(150):
            answer = client.exchange(build.build_query(f"SELECT {i} FROM pg_sleep(0.001)"))
            if may_fail and "E" in letters(answer):
                hits.append(i)
            elif values(answer) != [str(i)]:
                failures.append(f"{i}: {answer}")

    workers = [threading.Thread(target=work, args=(victim,), kwargs={"may_fail": True})]
    workers += [
        threading.Thread(target=work, args=(client,), kwargs={"may_fail": False})
        for client in bystanders
    ]
    storms = [threading.Thread(target=storm) for _ in range(2)]
    for thread in storms + workers:
        thread.start()
    for thread in workers:
        thread.join()
    over.set()
    for thread in storms:
        thread.join()
    for client in (*bystanders, victim):
        assert client.value("SELECT 'still here'") == "still here"
        client.socket.close()
    assert failures == []
    assert hits
    wait_until(lambda: pool(small)["sv_active"] + pool(small)["sv_being_canceled"] == 0)


def test_cancel_requests_of_wrong_length_are_closed(single: Pooler, client: Client) -> None:
    for key in (b"", b"abc", b"x" * 300):
        cancel(single, BackendKeyData(client.key.pid, key))
    assert client.value("SELECT 1") == "1"
