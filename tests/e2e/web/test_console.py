"""A console read by its connection string: pgmux's, and a PgBouncer's."""

from __future__ import annotations

import asyncio

import pytest

from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused, open_console
from pgmux.ops.pooler import PGMUX, PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.pooler import MakePooler
from tests.fixtures.tools import require_pgbouncer
from tests.fixtures.waiting import wait_until


def pgbouncer() -> str:
    return require_pgbouncer()


@pytest.mark.parametrize("which", ["pgmux", "PgBouncer"])
def test_a_console_answers_refuses_and_is_found_again_after_a_restart(
    postgres: EmbeddedPostgres, which: str
) -> None:
    pooler = PoolerProcess(
        port=find_free_port(),
        databases={"db": f"host={postgres.host} port={postgres.port}"},
        users={"looker": "p w"},
        settings={"auth_type": "scram-sha-256", "stats_users": "looker"},
        command=PGMUX if which == "pgmux" else (pgbouncer(),),
    )
    conninfo = f"host={pooler.host} port={pooler.port} user=looker password='p w'"

    async def first(console: Console) -> None:
        (row,) = await console.query("SHOW VERSION")
        assert (row["version"] or "").startswith("PgBouncer 1.")
        assert {"db", "pgbouncer"} == {r["name"] for r in await console.query("SHOW DATABASES")}
        with pytest.raises(ConsoleRefused, match="NOTHING"):
            await console.query("SHOW NOTHING")
        assert await console.query_optional("SHOW NOTHING") is None
        with pytest.raises(ConsoleRefused, match="admin"):
            await console.execute("PAUSE")
        both = await asyncio.gather(console.query("SHOW LISTS"), console.query("SHOW USERS"))
        assert all(both)

    async def gone(console: Console) -> None:
        with pytest.raises(ConsoleGone, match=f"{pooler.host}:{pooler.port}"):
            await console.query("SHOW VERSION")

    async def again(console: Console) -> bool:
        try:
            return bool(await console.query("SHOW VERSION"))
        except ConsoleGone:
            return False

    with asyncio.Runner() as runner:
        console = open_console(conninfo)
        with pooler:
            runner.run(first(console))
        runner.run(gone(console))
        with pooler:
            wait_until(lambda: runner.run(again(console)))
            pooler.close()
            pooler.start()
            assert runner.run(again(console)), "a connection that has ended is made anew"
        runner.run(console.close())


def test_a_server_is_no_console(pooler: MakePooler) -> None:
    running = pooler()

    async def run() -> None:
        with pytest.raises(ConsoleGone, match=r'"postgres" at .* is no console'):
            await open_console(running.dsn("postgres")).query("SHOW VERSION")

    asyncio.run(run())
