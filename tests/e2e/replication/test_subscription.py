"""A subscription whose publisher is behind the pooler."""

from __future__ import annotations

from collections.abc import Callable

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until


def test_a_subscription_copies_follows_and_leaves(
    pgmux: Pooler,
    primary: EmbeddedPostgres,
    postgres: EmbeddedPostgres,
    create_database: Callable[..., str],
) -> None:
    database = create_database()
    primary.psql("CREATE TABLE published (n int); INSERT INTO published VALUES (1)")
    primary.psql("CREATE PUBLICATION everything FOR TABLE published")

    def subscriber(sql: str) -> str:
        return postgres.psql(sql, database)

    def has(*rows: int) -> None:
        found = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM published"
        wait_until(lambda: subscriber(found) == " ".join(map(str, rows)))

    subscriber("CREATE TABLE published (n int)")
    publisher = f"host={pgmux.host} port={pgmux.port} user=postgres dbname=postgres"
    subscriber(f"CREATE SUBSCRIPTION sub CONNECTION '{publisher}' PUBLICATION everything")
    has(1)
    primary.psql("INSERT INTO published VALUES (2)")
    has(1, 2)
    kinds = [row["replication"] for row in pgmux.console("SHOW CLIENTS")]
    assert "logical" in kinds and "physical" not in kinds

    # A second table is copied by a walsender of its own, in a transaction.
    for run in (primary.psql, subscriber):
        run("CREATE TABLE late (n int)")
    primary.psql("INSERT INTO late VALUES (7); ALTER PUBLICATION everything ADD TABLE late")
    subscriber("ALTER SUBSCRIPTION sub REFRESH PUBLICATION")
    wait_until(lambda: subscriber("SELECT n FROM late") == "7")

    subscriber("ALTER SUBSCRIPTION sub DISABLE")
    primary.psql("INSERT INTO published VALUES (3)")
    subscriber("ALTER SUBSCRIPTION sub ENABLE")
    has(1, 2, 3)
    subscriber("DROP SUBSCRIPTION sub")
    assert primary.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'sub'") == "0"
