"""A console that answers by a table of rows, and the rows of a small pooler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgmux.monitor.console import ConsoleGone, ConsoleRefused, Row

POOL: Row = {
    "database": "db",
    "user": "app",
    "cl_active": "3",
    "cl_waiting": "1",
    "cl_active_cancel_req": "0",
    "cl_waiting_cancel_req": "0",
    "sv_active": "2",
    "sv_active_cancel": "0",
    "sv_being_canceled": "0",
    "sv_idle": "4",
    "sv_used": "0",
    "sv_tested": "0",
    "sv_login": "1",
    "maxwait": "2",
    "maxwait_us": "500000",
    "pool_mode": "transaction",
}
DATABASE: Row = {
    "name": "db",
    "host": None,
    "port": "5432",
    "database": "postgres",
    "force_user": None,
    "pool_size": "20",
    "reserve_pool_size": "5",
    "pool_mode": None,
    "max_connections": "30",
    "current_connections": "7",
    "paused": "0",
    "disabled": "1",
}
STATS: Row = {
    "database": "db",
    "xact_count": "10",
    "query_count": "20",
    "bytes_received": "300",
    "bytes_sent": "400",
    "xact_time": "5000000",
    "query_time": "2500000",
    "wait_time": "1",
}
TABLES: dict[str, Sequence[Row]] = {
    "VERSION": [{"version": "PgBouncer 1.25.2"}],
    "LISTS": [{"list": "databases", "items": "2"}, {"list": "new_list", "items": "9"}],
    "CONFIG": [{"key": "max_client_conn", "value": "77"}, {"key": "logfile", "value": "/x"}],
    "DATABASES": [DATABASE],
    "POOLS": [POOL],
    "STATS_TOTALS": [STATS],
    "STATE": [{"key": "suspended", "value": "no"}],
}


class FakeConsole:
    """Answers SHOW from `tables`, and counts what it was asked."""

    place = "db1:6432"

    def __init__(self, tables: Mapping[str, Sequence[Row]], *, is_gone: bool = False) -> None:
        self.tables = dict(tables)
        self.is_gone = is_gone
        self.asked: list[str] = []

    async def query(self, sql: str) -> list[Row]:
        self.asked.append(sql)
        name = sql.removeprefix("SHOW ")
        if self.is_gone:
            raise ConsoleGone("no connection to the console at db1:6432")
        if name not in self.tables:
            raise ConsoleRefused(f"invalid command '{sql}'", "42601")
        return [dict(row) for row in self.tables[name]]

    async def query_optional(self, sql: str) -> list[Row] | None:
        try:
            return await self.query(sql)
        except ConsoleRefused:
            return None

    async def execute(self, sql: str, *, token: str | None = None) -> None:
        await self.query(sql)

    async def close(self) -> None:
        pass
