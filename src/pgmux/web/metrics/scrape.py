"""What a scrape asks the console, and what of it the console may lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused, Row

REQUIRED = ("VERSION", "LISTS", "CONFIG", "DATABASES", "POOLS", "STATS_TOTALS")
# pgmux's own: PgBouncer has none of them.
OPTIONAL = ("APPS", "HISTOGRAMS", "ERRORS", "CONNECTS", "READINESS", "HOSTS", "WEB")
# Every client is a row of it: asked only where nothing else counts the applications.
INSTEAD_OF_APPS = "CLIENTS"

Tables = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The rows by the name of their SHOW. `is_up`: what every pooler has was answered."""

    is_up: bool
    tables: Tables = field(default_factory=dict)

    def rows(self, name: str) -> Sequence[Row]:
        """The rows of a SHOW, none where the console lacks it."""
        return self.tables.get(name, ())


async def read(console: Console) -> Scrape:
    """One reading; of a console that has gone, an empty one."""
    tables: dict[str, Sequence[Row]] = {}
    is_up = True
    try:
        for name in REQUIRED:
            try:
                tables[name] = await console.query(f"SHOW {name}")
            except ConsoleRefused:
                is_up = False
        for name in OPTIONAL:
            rows = await console.query_optional(f"SHOW {name}")
            if rows is not None:
                tables[name] = rows
        if "APPS" not in tables:
            tables[INSTEAD_OF_APPS] = await console.query_optional("SHOW CLIENTS") or ()
    except ConsoleGone:
        return Scrape(is_up=False)
    return Scrape(is_up, tables)
