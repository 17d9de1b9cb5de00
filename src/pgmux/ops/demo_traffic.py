"""What three applications do while the demo stays up, so that the dashboard and `pgmux top` have
something to show: one asks often and little, one works in batches, and one leaves its transactions
open while it thinks, for which the others wait now and then.

Errors: a connection that fails ends; the others go on.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
import uvloop

_ACCOUNTS = 10_000
_READ = "SELECT balance FROM account WHERE id = $1"
_WRITE = "UPDATE account SET balance = balance + 1 WHERE id = $1"
_SUM = "SELECT sum(balance) FROM account"


@dataclass(frozen=True, slots=True)
class Application:
    """`statements` a transaction, each followed by `thinks` seconds within it; `pause` between two
    transactions, on average.
    """

    name: str
    clients: int
    statements: tuple[str, ...]
    thinks: float
    pause: float


APPLICATIONS = (
    Application("web", 40, (_READ, _READ, _WRITE), 0.0, 0.4),
    Application("worker", 10, (_WRITE,) * 20, 0.005, 0.5),
    Application("nightly-report", 16, (_SUM,), 2.0, 1.5),
)


def run_traffic(dsn: str) -> None:
    """Goes on until KeyboardInterrupt."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_all(dsn))


async def _run_all(dsn: str) -> None:
    clients = [_run_client(dsn, app) for app in APPLICATIONS for _ in range(app.clients)]
    await asyncio.gather(*clients)
    await asyncio.Event().wait()  # all have failed: the demo stays up as well


async def _run_client(dsn: str, app: Application) -> None:
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await asyncio.sleep(random.uniform(0, app.pause))
        connection = await asyncpg.connect(dsn, server_settings={"application_name": app.name})
        try:
            while True:
                await _run_transaction(connection, app)
                await asyncio.sleep(random.uniform(0, 2 * app.pause))
        finally:
            connection.terminate()


async def _run_transaction(connection: asyncpg.Connection, app: Application) -> None:
    async with connection.transaction():
        for statement in app.statements:
            arguments = () if statement is _SUM else (random.randint(1, _ACCOUNTS),)
            await connection.fetch(statement, *arguments)
            if app.thinks:
                await asyncio.sleep(app.thinks)
