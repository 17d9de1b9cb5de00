"""Values that PgBouncer takes without a word, and that can't be meant: a warning each, with its
place and what to write.

Nothing is refused here: a file that PgBouncer starts with is one that we start with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgmux.config.ini import Entry
from pgmux.config.model import MAX_PEER_ID
from pgmux.config.params import SYSLOG_FACILITIES
from pgmux.config.problems import Problems, clip

MAX_SCRAM_ITERATIONS = 10_000_000
_LEAST_PACKET_SIZE = 1024  # a StartupMessage with a few parameters, or a short query


@dataclass(frozen=True, slots=True)
class _Advice:
    """`is_bad` of a value; what it leads to; what to write."""

    is_bad: Callable[[Any], bool]
    effect: str
    hint: str


_NO_LIMIT = _Advice(lambda value: value < 0, "there is no limit", "write 0 for no limit")
_NEVER = _Advice(lambda value: value < 0, "it is taken for 0", "write 0")

_ADVICE = {
    "default_pool_size": _NO_LIMIT,
    "max_db_connections": _NO_LIMIT,
    "max_user_connections": _NO_LIMIT,
    "max_db_client_connections": _NO_LIMIT,
    "max_user_client_connections": _NO_LIMIT,
    "min_pool_size": _NEVER,
    "reserve_pool_size": _NEVER,
    "query_wait_notify": _NEVER,
    "max_client_conn": _Advice(
        lambda value: value <= 0, "nobody but the console's users is let in", "write 1 or more"
    ),
    "max_packet_size": _Advice(
        lambda value: value < _LEAST_PACKET_SIZE,
        "no query fits into it",
        f"write {_LEAST_PACKET_SIZE} or more, or leave it away",
    ),
    "scram_iterations": _Advice(
        lambda value: not 0 < value <= MAX_SCRAM_ITERATIONS,
        "with a password in clear in auth_file nobody can log in by SCRAM",
        f"write a number from 1 to {MAX_SCRAM_ITERATIONS}; 4096 is usual",
    ),
    "stats_period": _Advice(lambda value: value < 1, "it is taken for 1", "write 1 or more"),
    "peer_id": _Advice(
        lambda value: not 0 <= value <= MAX_PEER_ID,
        "there is no peering",
        f"write a number from 1 to {MAX_PEER_ID}, or 0 for no peering",
    ),
    "syslog_facility": _Advice(
        lambda value: value not in SYSLOG_FACILITIES,
        "it is taken for daemon",
        "one of these is expected: " + ", ".join(SYSLOG_FACILITIES),
    ),
}


def warn_of_nonsense(name: str, value: Any, entry: Entry, problems: Problems) -> None:
    """Says so where the value of the setting `name` can't be meant."""
    advice = _ADVICE.get(name)
    if advice is not None and advice.is_bad(value):
        message = f"{name} = {clip(entry.value)}: {advice.effect}"
        problems.warn(message, entry.file, entry.line, advice.hint)
