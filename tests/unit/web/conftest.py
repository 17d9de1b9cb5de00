"""The application over a scripted console, asked without a browser."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pgmux.monitor.console import ConsoleRefused
from pgmux.web.app import make_app
from pgmux.web.options import Address, Options
from tests.fixtures.scripted_console import NEW, ScriptedConsole

TOKEN = "0123456789abcdef-the-token"
Browser = TestClient[Any, Any]
Visit = Callable[[Browser], Awaitable[None]]


class CommandedConsole(ScriptedConsole):
    """Takes commands too: `told` has them. `pooler_token` is what a command needs, if anything;
    `error` is what comes of each.
    """

    def __init__(self) -> None:
        super().__init__(NEW)
        self.told: list[str] = []
        self.pooler_token: str | None = None
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def execute(self, sql: str, *, token: str | None = None) -> None:
        if token != self.pooler_token:
            raise ConsoleRefused("wrong token", "28P01")
        self.told.append(sql)
        await self.may_end.wait()
        if self.error is not None:
            raise self.error


def visit(console: ScriptedConsole, visit: Visit, **options: Any) -> None:
    """Runs `visit` at an application with these options."""

    async def run() -> None:
        app = make_app(console, Options(listen=Address(None, 0), **options))
        async with TestClient(TestServer(app)) as browser:
            await visit(browser)

    asyncio.run(run())


@pytest.fixture
def console() -> CommandedConsole:
    return CommandedConsole()


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}
