"""Makes top.svg and top-pool.svg here: `pgmux top` at a pgmux with a real PostgreSQL and clients.

`python -m docs.images.make_top`, from the repository's root, with the test dependencies.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from pgmux.monitor.console import open_console
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.ops.top.app import TopApp
from pgmux.ops.top.watch import Watch
from tests.fixtures.load import running_load

HERE = Path(__file__).parent
SIZE = (108, 26)
SECONDS = 45.0  # until the picture is taken
_FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # they would be asked of a server elsewhere


def main() -> None:
    with EmbeddedPostgres() as postgres, start_pooler(postgres) as pooler:
        shop, reports = (f"{place(pooler)} dbname={name} user=app" for name in ("shop", "reports"))
        with running_load(shop), running_load(reports):
            images = asyncio.run(take_images(f"{place(pooler)} dbname=pgbouncer user=stats"))
    for name, svg in images.items():
        (HERE / name).write_text(svg)
        print(f"{name}: {len(svg):,} characters")


def place(pooler: PoolerProcess) -> str:
    return f"host={pooler.host} port={pooler.port}"


def start_pooler(postgres: EmbeddedPostgres) -> PoolerProcess:
    where = f"host={postgres.host} port={postgres.port} dbname=postgres"
    login = f"user={postgres.superuser} password={postgres.password}"
    return PoolerProcess(
        port=find_free_port(),
        databases={
            "shop": f"{where} {login} pool_size=5",
            "reports": f"{where} {login} pool_size=20",
        },
        users={"app": "", "stats": ""},
        settings={"auth_type": "trust", "stats_users": "stats", "pool_mode": "transaction"},
    )


async def take_images(conninfo: str) -> dict[str, str]:
    """By file name, the applications and an opened pool."""
    app = TopApp(Watch(open_console(conninfo)), 2.0)

    def take() -> str:
        return _FONTS.sub("", app.export_screenshot(title="pgmux top"))

    async with app.run_test(size=SIZE) as pilot:
        await asyncio.sleep(SECONDS)
        await pilot.press("3")
        await asyncio.sleep(2.5)
        images = {"top.svg": take()}
        await pilot.press("1", "home", "enter")
        await asyncio.sleep(2.5)
        images["top-pool.svg"] = take()
    return images


if __name__ == "__main__":
    main()
