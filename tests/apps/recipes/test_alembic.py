"""docs/apps/alembic.md: its migrations, direct and through pgmux, and what it says goes wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.documents import ROOT, environment, run, write_files
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

PAGE = "docs/apps/alembic.md"
COLUMN = """
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN note text")
"""


def explains(text: str) -> bool:
    """Whether the page has a section about this message."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    return any(text in line for line in page.splitlines() if line.startswith("### "))


@pytest.fixture(params=["direct", "through pgmux"])
def url(
    request: pytest.FixtureRequest, front: Pooler, postgres: EmbeddedPostgres, database: str
) -> str:
    """Where the migrations are run."""
    if request.param == "direct":
        return postgres.dsn(database)
    return front.dsn(database)


def upgrade(directory: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "alembic", "upgrade", "head")
    return run(command, directory, environment(url))


def test_of_two_deployments_at_a_time_one_migrates_and_the_other_finds_it_done(
    url: str, tmp_path: Path
) -> None:
    write_files(PAGE, tmp_path)
    with ThreadPoolExecutor() as threads:
        done = list(threads.map(lambda _: upgrade(tmp_path, url), range(2)))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    with psycopg.connect(url) as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_by_amount'::regclass"
        assert connection.execute(valid).fetchone() == (True,)


def test_a_migration_that_cannot_have_its_lock_gives_up_and_those_before_it_stay(
    front: Pooler, database: str, tmp_path: Path
) -> None:
    write_files(PAGE, tmp_path, {"lock_timeout=5s": "lock_timeout=100ms"})
    assert upgrade(tmp_path, front.dsn(database)).returncode == 0
    (tmp_path / "migrations/versions/0003_note.py").write_text(COLUMN)
    with psycopg.connect(front.server.dsn(database)) as reader:
        reader.execute("SELECT count(*) FROM orders")  # and leaves its transaction open
        failed = upgrade(tmp_path, front.dsn(database))
    assert failed.returncode == 1
    assert "canceling statement due to lock timeout" in failed.stderr
    assert explains("canceling statement due to lock timeout")
    with psycopg.connect(front.dsn(database)) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row == ("0002",)


@pytest.fixture
def direct(postgres: EmbeddedPostgres, database: str) -> Iterator[str]:
    """Where a table `orders` is, and deadlocks are found at once."""
    postgres.psql(f"ALTER DATABASE {database} SET deadlock_timeout = '10ms'")
    url = postgres.dsn(database)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE orders (amount integer)")
    yield url


def test_a_lock_that_is_waited_for_in_a_statement_deadlocks_with_create_index_concurrently(
    direct: str,
) -> None:
    failures: list[str] = []

    def execute(connection: psycopg.Connection, sql: str) -> None:
        try:
            connection.execute(sql.encode())
        except psycopg.errors.DeadlockDetected as error:
            failures.append(str(error).splitlines()[0])
            connection.close()  # and so gives its lock back

    with (
        psycopg.connect(direct, autocommit=True) as first,
        psycopg.connect(direct, autocommit=True) as second,
    ):
        first.execute("SELECT pg_advisory_lock(1)")
        waiting = threading.Thread(target=execute, args=(second, "SELECT pg_advisory_lock(1)"))
        waiting.start()
        with psycopg.connect(direct, autocommit=True) as watcher:
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: watcher.execute(waits).fetchone() == (1,))
        execute(first, "CREATE INDEX CONCURRENTLY orders_by_amount ON orders (amount)")
        if not first.closed:
            first.execute("SELECT pg_advisory_unlock(1)")
        waiting.join()
    assert len(failures) == 1 and explains(failures[0])


def test_a_sessions_lock_is_given_back_on_another_server(front: Pooler, database: str) -> None:
    notices: list[str] = []
    with (
        psycopg.connect(front.dsn(database), autocommit=True) as one,
        psycopg.connect(front.dsn(database), autocommit=True) as other,
    ):
        one.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        one.execute("SELECT pg_advisory_lock(2)")
        with other.transaction():
            other.execute("SELECT 1")  # takes the server that was given back last
            assert one.execute("SELECT pg_advisory_unlock(2)").fetchone() == (False,)
    assert notices and explains(notices[0])


def test_concurrently_is_refused_in_a_transaction(direct: str) -> None:
    with (
        psycopg.connect(direct) as connection,
        pytest.raises(psycopg.errors.ActiveSqlTransaction) as refused,
    ):
        connection.execute("CREATE INDEX CONCURRENTLY orders_by_amount ON orders (amount)")
    assert explains(str(refused.value))


def test_a_turn_is_lost_where_idle_transactions_are_ended_unless_the_connection_says_otherwise(
    front: Pooler, postgres: EmbeddedPostgres, database: str
) -> None:
    postgres.psql(f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '50ms'")
    own = "-c idle_in_transaction_session_timeout=0"
    with psycopg.connect(front.dsn(database, options=own)) as patient:
        patient.execute("SELECT 1")
        with psycopg.connect(front.dsn(database)) as other:
            other.execute("SELECT 1")
            wait_until(lambda: _is_over(other))
        assert patient.execute("SELECT 1").fetchone() == (1,)


def _is_over(connection: psycopg.Connection) -> bool:
    """Whether the server has ended it, in the page's words."""
    try:
        connection.execute("SELECT pg_sleep(0.1)")
    except psycopg.Error as error:
        assert explains(str(error).splitlines()[0]), error
        return True
    threading.Event().wait(0.1)
    return False
