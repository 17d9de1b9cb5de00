"""A console whose coming and going is said on stderr, each failure once."""

from __future__ import annotations

import asyncio
import logging

from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused, Row

log = logging.getLogger("pgmux.web")

RETRY = 5.0  # seconds


class ReportedConsole:
    """Passes everything on; see `Console`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: str | None = None  # the failure that was said last, None where all is well
        self._is_known = False

    @property
    def place(self) -> str:
        return self._console.place

    async def watch(self) -> None:
        """Asks until there is an answer, so that a wrong address is said before anybody asks."""
        while not self._is_known:
            try:
                await self.query("SHOW VERSION")
            except (ConsoleGone, ConsoleRefused):
                await asyncio.sleep(RETRY)

    async def query(self, sql: str) -> list[Row]:
        try:
            rows = await self._console.query(sql)
        except ConsoleGone as error:
            self._on_gone(error)
            raise
        self._on_answer()
        return rows

    async def query_optional(self, sql: str) -> list[Row] | None:
        try:
            rows = await self._console.query_optional(sql)
        except ConsoleGone as error:
            self._on_gone(error)
            raise
        self._on_answer()
        return rows

    async def execute(self, sql: str, *, token: str | None = None) -> None:
        await self._console.execute(sql, token=token)

    async def close(self) -> None:
        await self._console.close()

    def _on_gone(self, error: ConsoleGone) -> None:
        text = str(error)
        if text != self._said:
            log.error("%s; trying again", text)
        self._said = text

    def _on_answer(self) -> None:
        if self._said is not None or not self._is_known:
            log.info("reading the console of %s", self.place)
        self._is_known, self._said = True, None
