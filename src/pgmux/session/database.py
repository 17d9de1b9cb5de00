"""One database of a running pooler: what of it all its pools share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgmux.auth.credentials import Credentials, ServerLogin
from pgmux.config import Database
from pgmux.pool.limits import Quota
from pgmux.session._relay_cy import Counters
from pgmux.session.prepare import Statements

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl


@dataclass(slots=True)
class Entrance:
    """Where clients of one database and name come in: found once, and looked at by each of them.

    `known` is what the last of them has logged in with, whether its SCRAM keys are among it, and
    what the pool's servers log in with since.
    """

    control: PoolControl
    quotas: tuple[Quota, Quota]
    known: tuple[Credentials, bool, ServerLogin] | None = None


class DatabaseState:
    """One entry of [databases] at run time, or one that `*` serves."""

    __slots__ = (
        "config",
        "counters",
        "disabled",
        "entrances",
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
        # by user, till the configuration changes or a pool goes
        self.entrances: dict[str, Entrance] = {}
        self.unused_since: float | None = None  # of one that `*` serves: no client, no server
