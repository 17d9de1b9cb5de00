"""pgmux_check's answers for people: a table an alias. rich makes it where the project has rich."""

from __future__ import annotations

import io
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from pgmux_apps.django.live.facts import PGMUX, Facts, Pooler, Server
from pgmux_apps.django.live.judge import not_in_force, size_of
from pgmux_apps.django.project import Project

Row = tuple[str, str]
NOT_KNOWN = "not known"


def rows_of(facts: Facts, project: Project) -> list[Row]:
    """What was found out about an alias, and what wasn't."""
    pooled = {True: "yes", False: "no, PostgreSQL itself", None: NOT_KNOWN}[facts.is_pooled]
    if facts.error:
        said = _pooler_rows(facts, project) if facts.pooler else [("console", "not asked")]
        return [("connects", f"no: {facts.error}"), *said]
    return [
        ("a pooler answers", pooled),
        *_pooler_rows(facts, project),
        *(_server_rows(facts.server) if facts.server else ()),
        *_option_rows(facts),
        ("a login, a query", _times(facts)),
    ]


def as_text(title: str, rows: Sequence[Row], *, color: bool) -> str:
    """A table; aligned columns where rich isn't installed."""
    width = max(40, shutil.get_terminal_size().columns)
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return _plain(title, rows, width)
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    out = io.StringIO()
    system: Any = "standard" if color else None
    Console(file=out, width=width, color_system=system, force_terminal=color).print(table)
    return out.getvalue()


def _plain(title: str, rows: Sequence[Row], width: int) -> str:
    column = max(len(name) for name, _ in rows) + 2
    lines = [title]
    for name, value in rows:
        wrapped = textwrap.wrap(value, max(20, width - column - 2)) or [""]
        lines.append(f"  {name:<{column}}{wrapped[0]}")
        lines += [" " * (column + 2) + more for more in wrapped[1:]]
    return "\n".join(lines) + "\n"


def _pooler_rows(facts: Facts, project: Project) -> Iterator[Row]:
    pooler = facts.pooler
    if pooler is None:
        if facts.is_pooled is not False:
            yield "console", f"not read: {'; '.join(facts.unknown)}"
        return
    yield "pooler", f"pgmux, as {pooler.version}" if pooler.kind == PGMUX else pooler.version
    yield "pool_mode", pooler.pool_mode or NOT_KNOWN
    tracked = pooler.prepared_statements
    yield "prepared statements", f"{tracked} tracked a client" if tracked else "not tracked"
    yield "ignore_startup_parameters", pooler.config.get("ignore_startup_parameters") or "none"
    yield "clients", _clients(pooler, facts, project)
    yield "servers", _servers(pooler, facts)
    yield "client_idle_timeout", _seconds(pooler, "client_idle_timeout", "never")
    yield "server_lifetime", f"{_seconds(pooler, 'server_lifetime', 'no end')}, unseen by clients"
    yield "query_wait_timeout", _seconds(pooler, "query_wait_timeout", "waits without end")


def _server_rows(server: Server) -> Iterator[Row]:
    yield "PostgreSQL", server.version
    yield "max_connections", f"{server.max_connections}, {server.reserved} of them reserved"
    superuser = ", a superuser" if server.is_superuser else ""
    role = f", with the rights of {server.role}" if server.role != server.user else ""
    yield "user", f"{server.user}{superuser}{role}"


def _option_rows(facts: Facts) -> Iterator[Row]:
    wrong = not_in_force(facts)
    for name, (asked, in_force) in facts.options.items():
        yield (
            f"options: {name}",
            f"{in_force}, not {asked}" if name in wrong else f"{in_force}, in force",
        )


def _clients(pooler: Pooler, facts: Facts, project: Project) -> str:
    size = size_of(facts, project)
    ours = f"{size.clients} by {size.how}" if size.clients is not None else size.how
    return f"max_client_conn {pooler.number('max_client_conn')}; of this application: {ours}"


def _servers(pooler: Pooler, facts: Facts) -> str:
    if not pooler.database:
        return NOT_KNOWN
    size = pooler.database.get("pool_size")
    return f"pool_size {size}; {pooler.servers} at that PostgreSQL, with one user a database"


def _seconds(pooler: Pooler, name: str, zero: str) -> str:
    value = pooler.config.get(name, "")
    return zero if value in ("", "0") else f"{value} s"


def _times(facts: Facts) -> str:
    if facts.login is None or facts.query is None:
        return NOT_KNOWN
    return f"{facts.login * 1000:.1f} ms, {facts.query * 1000:.2f} ms (medians, just now)"
