"""PostgreSQL's settings as numbers in one unit, and what ALTER ROLE and ALTER DATABASE make of
them. No rules here.
"""

from __future__ import annotations

import re

from pgmux.ops.check.facts.server import ServerFacts

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 1 << 10, "8kB": 1 << 13, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_DURATION = re.compile(r"\s*'?(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?'?\s*")


def seconds(server: ServerFacts, name: str) -> float | None:
    """A setting that is a time; None where this server doesn't have it."""
    number = server.number(name)
    unit = _UNITS.get(server.settings[name].unit or "ms") if number is not None else None
    return None if number is None or unit is None else number * unit


def size(server: ServerFacts, name: str) -> int | None:
    """A setting that is an amount of memory, in bytes."""
    number = server.number(name)
    return None if number is None else number * _BYTES.get(server.settings[name].unit or "B", 1)


def seconds_for(server: ServerFacts, name: str, user: str) -> float | None:
    """A time as it is for that user: ALTER ROLE's before ALTER DATABASE's before the server's."""
    own = [each for each in server.overrides if each.name == name and each.role in ("", user)]
    for each in sorted(own, key=lambda each: (not each.role, not each.database)):
        value = _seconds_of(each.value)
        if value is not None:
            return value
    return seconds(server, name)


def _seconds_of(text: str) -> float | None:
    """A value of ALTER ROLE … SET, as `30s` or `30000`; None of what is no time."""
    found = _DURATION.fullmatch(text)
    return float(found[1]) * _UNITS[found[2] or "ms"] if found else None
