"""docs/apps/psycopg-pool.md and asyncpg-pool.md: their programs, and what they say goes wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
from psycopg_pool import ConnectionPool, PoolTimeout

from pgmux.ops.pooler import PoolerProcess
from tests.fixtures.documents import ROOT, environment, write_files
from tests.fixtures.documents import run as run_program
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

PSYCOPG = "docs/apps/psycopg-pool.md"
ASYNCPG = "docs/apps/asyncpg-pool.md"
DONE = "200 orders, by at most 10 connections\n"

# What the pages say of a pooler that tracks no prepared statements and takes no `options`.
FOR_PGBOUNCER = {
    PSYCOPG: {
        '"prepare_threshold": 5': '"prepare_threshold": None',
        '"options": "-c statement_timeout=30s",': "",
    },
    ASYNCPG: {"statement_cache_size=100": "statement_cache_size=0"},
}


def explains(document: str, text: str) -> bool:
    """Whether the page has a section about this message."""
    page = (ROOT / document).read_text(encoding="utf-8")
    return any(text in line for line in page.splitlines() if line.startswith("### "))


def run_orders(
    document: str, directory: Path, url: str, changes: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    write_files(document, directory, changes)
    return run_program((sys.executable, "orders.py"), directory, environment(url))


@pytest.mark.parametrize("document", [PSYCOPG, ASYNCPG])
def test_a_pool_of_ten_does_its_work_on_two_servers(
    document: str, front: Pooler, database: str, tmp_path: Path
) -> None:
    done = run_orders(document, tmp_path, front.dsn(database))
    assert (done.stdout, done.stderr) == (DONE, "")
    (row,) = [row for row in front.console("SHOW DATABASES") if row["name"] == database]
    assert row["current_connections"] <= 2


@pytest.mark.parametrize("document", [PSYCOPG, ASYNCPG])
def test_it_does_so_through_pgbouncer_as_the_page_says(
    document: str, pgbouncer: PoolerProcess, database: str, tmp_path: Path
) -> None:
    url = f"postgresql://postgres@{pgbouncer.host}:{pgbouncer.port}/{database}"
    done = run_orders(document, tmp_path, url, FOR_PGBOUNCER[document])
    assert (done.stdout, done.stderr) == (DONE, "")


def test_statements_that_nobody_tracks_fail_as_the_pages_say(
    pgbouncer: PoolerProcess, database: str
) -> None:
    url = f"postgresql://postgres@{pgbouncer.host}:{pgbouncer.port}/{database}"
    with (
        psycopg.connect(url, autocommit=True) as one,
        psycopg.connect(url, autocommit=True) as two,
        pytest.raises(psycopg.errors.DuplicatePreparedStatement) as refused,
    ):
        for _ in range(7):
            one.execute("SELECT %s::int", (1,))
            two.execute("SELECT %s::int", (1,))
    assert explains(PSYCOPG, str(refused.value).strip())
    with pytest.raises(asyncpg.InvalidSQLStatementNameError) as unknown:
        asyncio.run(_execute_twice_on_two_servers(url))
    name = unknown.value.args[0].split('"')[1]
    assert explains(
        ASYNCPG, unknown.value.args[0].replace(name, "__asyncpg_stmt_1__").splitlines()[0]
    )


async def _execute_twice_on_two_servers(url: str) -> None:
    """A statement that is prepared on one server, then executed while that one is another's."""
    one, two = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await one.fetchval("SELECT 1")
        async with two.transaction():
            await two.fetchval("SELECT 2")
            for _ in range(2):
                await one.fetchval("SELECT 1")
    finally:
        one.terminate()
        two.terminate()


@pytest.fixture(scope="module")
def strict(module_pooler: MakePooler) -> Pooler:
    """One server, four clients, and little patience."""
    return module_pooler(
        settings={
            "default_pool_size": 1,
            "max_client_conn": 4,
            "query_wait_timeout": 1,
            "client_idle_timeout": 1,
        }
    )


def test_a_connection_that_the_pooler_closed_is_found_by_check_alone(strict: Pooler) -> None:
    url = strict.dsn()
    with (
        ConnectionPool(url, min_size=1, name="careless", open=True) as careless,
        ConnectionPool(
            url, min_size=1, name="careful", check=ConnectionPool.check_connection, open=True
        ) as careful,
    ):
        careless.wait()
        careful.wait()
        wait_until(lambda: clients_of(strict) == 0)
        with pytest.raises(psycopg.errors.ProtocolViolation) as closed:
            use(careless)
        assert explains(PSYCOPG, str(closed.value))
        assert use(careful) == (1,)


def use(pool: ConnectionPool) -> tuple[int, ...] | None:
    with pool.connection() as connection:
        return connection.execute("SELECT 1").fetchone()


def clients_of(front: Pooler) -> int:
    rows = front.console("SHOW CLIENTS")
    return sum(row["database"] != "pgbouncer" for row in rows)


def test_asyncpgs_pool_sees_by_itself_that_a_connection_was_closed(strict: Pooler) -> None:
    async def work() -> int:
        async with asyncpg.create_pool(strict.dsn(), min_size=0, max_size=1) as pool:
            await pool.execute("SELECT 1")
            async with asyncio.timeout(10):
                while pool.get_size():
                    await asyncio.sleep(0.01)
            value: int = await pool.fetchval("SELECT 1")
            return value

    assert asyncio.run(work()) == 1


def test_too_many_clients_are_said_as_the_pages_have_it(
    strict: Pooler, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        ConnectionPool(strict.dsn(), min_size=5, open=True) as pool,
        pytest.raises(PoolTimeout, match="pool initialization incomplete"),
    ):
        pool.wait(timeout=0.5)
    words = "no more connections allowed (max_client_conn)"
    assert words in caplog.text and explains(PSYCOPG, words)

    async def work() -> None:
        await asyncpg.create_pool(strict.dsn(), min_size=5)

    wait_until(lambda: clients_of(strict) == 0)
    with pytest.raises(asyncpg.ProtocolViolationError) as refused:
        asyncio.run(work())
    assert str(refused.value) == words and explains(ASYNCPG, words)


def test_who_waits_too_long_for_a_server_is_told_so(strict: Pooler) -> None:
    wait_until(lambda: clients_of(strict) == 0)
    with psycopg.connect(strict.dsn()) as holder:
        holder.execute("SELECT 1")  # and leaves its transaction open
        answers: list[BaseException] = []
        threads = [
            threading.Thread(target=lambda w=wait: answers.append(failure_of(w)))
            for wait in (
                lambda: psycopg.connect(strict.dsn()).execute("SELECT 1"),
                lambda: ask(strict),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_type = {type(answer): str(answer) for answer in answers}
    assert explains(PSYCOPG, by_type[psycopg.errors.ProtocolViolation])
    assert explains(ASYNCPG, by_type[asyncpg.ConnectionDoesNotExistError])


def ask(front: Pooler) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(front.dsn())
        await connection.fetchval("SELECT 1")

    asyncio.run(work())


def failure_of(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("it went well")


def test_a_pool_that_was_open_at_a_fork_is_two_processes_on_one_connection(
    front: Pooler, database: str, tmp_path: Path
) -> None:
    code = (
        "import os\n"
        "from psycopg_pool import ConnectionPool\n"
        "pool = ConnectionPool(os.environ['DATABASE_URL'], min_size=1, max_size=1, open=True)\n"
        "pool.wait()\n"
        "if os.fork() == 0:\n"
        "    with pool.connection() as connection:\n"
        "        print(connection.info.backend_pid, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "with pool.connection() as connection:\n"
        "    print(connection.info.backend_pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = run_program((sys.executable, "-c", code), tmp_path, environment(front.dsn(database)))
    child, parent = done.stdout.split()
    assert child == parent, done.stderr
    assert explains(PSYCOPG, "the last operation didn't produce records")


def test_asyncpgs_reset_is_a_transaction_of_its_own(front: Pooler, database: str) -> None:
    async def nothing(connection: object) -> None: ...

    async def use_ten_times(**settings: object) -> None:
        async with asyncpg.create_pool(front.dsn(database), min_size=1, **settings) as pool:
            for _ in range(10):
                await pool.fetchval("SELECT 1")

    def transactions() -> int:
        rows = front.console("SHOW STATS_TOTALS")
        return sum(row["xact_count"] for row in rows if row["database"] == database)

    asyncio.run(use_ten_times(reset=nothing))
    without = transactions()
    asyncio.run(use_ten_times())
    assert transactions() - without >= without + 10


def test_asyncpg_rolls_back_what_was_left_open_though_reset_does_nothing(
    front: Pooler, database: str
) -> None:
    async def nothing(connection: object) -> None: ...

    async def work() -> bool:
        url = front.dsn(database)
        async with asyncpg.create_pool(url, min_size=1, max_size=1, reset=nothing) as pool:
            connection = await pool.acquire()
            await connection.transaction().start()
            await connection.execute("SELECT 1")
            await pool.release(connection)
            async with pool.acquire() as connection:
                left: bool = connection.is_in_transaction()
                return left

    assert asyncio.run(work()) is False


def test_options_of_a_psycopg_pool_hold_for_its_connections_alone(
    front: Pooler, database: str
) -> None:
    ask_for = "SELECT current_setting('statement_timeout')"
    kwargs = {"options": "-c statement_timeout=30s", "autocommit": True}
    with ConnectionPool(front.dsn(database), kwargs=kwargs, min_size=3, open=True) as pool:
        found = {one(pool, ask_for) for _ in range(6)}
    assert found == {"30s"}
    with psycopg.connect(front.dsn(database)) as other:
        assert other.execute(ask_for).fetchone() == ("0",)


def one(pool: ConnectionPool, sql: str) -> str:
    with pool.connection() as connection:
        row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return str(row[0])


def test_settings_of_asyncpg_that_pgbouncer_refuses_follow_the_client_through_pgmux(
    pgbouncer: PoolerProcess, front: Pooler, database: str
) -> None:
    async def timeout_of(url: str) -> str:
        connection = await asyncpg.connect(url, server_settings={"statement_timeout": "7s"})
        value: str = await connection.fetchval("SELECT current_setting('statement_timeout')")
        await connection.close()
        return value

    with pytest.raises(asyncpg.ProtocolViolationError) as refused:
        url = f"postgresql://postgres@{pgbouncer.host}:{pgbouncer.port}/{database}"
        asyncio.run(timeout_of(url))
    assert explains(ASYNCPG, str(refused.value))
    assert asyncio.run(timeout_of(front.dsn(database))) == "7s"


def test_what_one_client_sets_another_has(front: Pooler, database: str) -> None:
    ask_for = "SELECT current_setting('statement_timeout')"
    with (
        psycopg.connect(front.dsn(database), autocommit=True) as one,
        psycopg.connect(front.dsn(database), autocommit=True) as other,
    ):
        one.execute("SET statement_timeout = '7s'")
        with other.transaction():  # on the server that was given back last
            assert other.execute(ask_for).fetchone() == ("7s",)
            assert one.execute(ask_for).fetchone() == ("0",)
    assert explains(PSYCOPG, "A setting of another client")


def test_notifications_do_not_come_to_who_listens_in_a_transaction_pool(
    front: Pooler, database: str
) -> None:
    with (
        psycopg.connect(front.dsn(database), autocommit=True) as listener,
        psycopg.connect(front.dsn(database), autocommit=True) as other,
    ):
        listener.execute("LISTEN orders")
        other.execute("NOTIFY orders")
        assert list(listener.notifies(timeout=0.2)) == []
    assert explains(PSYCOPG, "Notifications that never come")
    assert explains(ASYNCPG, "Notifications that never come")
