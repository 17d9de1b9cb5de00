"""The console, of pgmux or any PgBouncer from 1.18 on: one sample, who is connected, SHOW CONFIG.

10,000 clients are one answer of as many rows, counted by application here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pgmux.config.model import Config
from pgmux.monitor.console import ConsoleGone, ConsoleRefused, Row, open_console
from pgmux.monitor.reading import UnreadableAnswer, read_pairs
from pgmux.monitor.sample import take_sample
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.console import ClientGroup, ConsoleFacts
from pgmux.ops.check.gather.targets import plain_password
from pgmux.ops.console.place import Place

_ADVICE = "name the console by --console 'host=… port=… user=…'"
_MORE = re.compile(
    r" Is the server running [^?]*\?(?: (?:-.* )?Multiple connection attempts failed.*(?= \())?"
)


def gather(place: Place, config: Config | None = None) -> ConsoleFacts | Unread:
    """What the console at `place` tells. A password that nobody has given is auth_file's."""
    try:
        return asyncio.run(_ask(place.conninfo))
    except ConsoleGone as error:
        known = _known_password(place.parameters, config)
        if known is None:
            return _gone(error)
    try:
        return asyncio.run(_ask(place.with_password(known).conninfo))
    except ConsoleGone as error:
        return _gone(error)


def wants_password(unread: Unread) -> bool:
    """Whether the reason is that none was given, or a wrong one."""
    texts = ("no password supplied", "authentication failed", "Wrong password")
    return any(text in unread.reason for text in texts)


def _gone(error: ConsoleGone) -> Unread:
    """Without libpq's hint, and what it says of each of several attempts."""
    return Unread("console", _MORE.sub("", str(error)), _ADVICE)


async def _ask(conninfo: str) -> ConsoleFacts | Unread:
    """Raises: ConsoleGone."""
    console = open_console(conninfo)
    try:
        sample = await take_sample(console, time.time())
        settings = read_pairs("CONFIG", await console.query("SHOW CONFIG"), "key", "value")
        clients = await console.query("SHOW CLIENTS")
        servers = await console.query("SHOW SERVERS")
        return ConsoleFacts(
            console.place, sample.version, sample, settings, _groups(clients), _pids(servers)
        )
    except (ConsoleRefused, UnreadableAnswer) as error:
        return Unread("console", f"{console.place}: {error}", "is that a pooler's console?")
    finally:
        await console.close()


def _known_password(parameters: Mapping[str, str], config: Config | None) -> str | None:
    """What auth_file has of the console's user, where the connection string has none."""
    if config is None or "password" in parameters:
        return None
    return plain_password(config.userlist.get(parameters.get("user", "")))


def _groups(clients: Sequence[Row]) -> tuple[ClientGroup, ...]:
    """PgBouncer names an application from 1.19 on; before that nobody's is known."""
    counts = Counter(
        (row.get("database") or "", row.get("user") or "", row.get("application_name") or "")
        for row in clients
        if row.get("database") != "pgbouncer"
    )
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return tuple(ClientGroup(*names, count) for names, count in ordered)


def _pids(servers: Sequence[Row]) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for row in servers:
        pid = row.get("remote_pid") or ""
        if pid.isdecimal():
            found[row.get("database") or ""].add(int(pid))
    return {database: frozenset(pids) for database, pids in found.items()}
