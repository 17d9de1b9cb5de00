"""One database of a running pooler: what of it all its pools share."""

from __future__ import annotations

from pgmux.config import Database
from pgmux.pool.limits import Quota
from pgmux.session._relay_cy import Counters
from pgmux.session.prepare import Statements


class DatabaseState:
    """One entry of [databases] at run time, or one that `*` serves."""

    __slots__ = (
        "config",
        "counters",
        "disabled",
        "is_auto",
        "name",
        "paused",
        "quota",
        "statements",
        "unused_since",
    )

    def __init__(
        self,
        name: str,
        config: Database,
        statements: Statements,
        quota: Quota,
        *,
        is_auto: bool,
    ) -> None:
        self.name = name
        self.config = config
        self.statements = statements
        self.is_auto = is_auto
        self.quota = quota
        self.counters: Counters | None = None  # of pools that are no more
        self.paused = False
        self.disabled = False
        self.unused_since: float | None = None  # of one that `*` serves: no client, no server
