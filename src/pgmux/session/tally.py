"""What has been counted by reason since the start: clients and servers that came and went, and
errors that clients were told. SHOW CONNECTS and SHOW ERRORS tell it.

There is a `Tally` for each database, the console's included, and one more, named "", for who has
named none that there is, and for databases that are no more. So the number of counts is bounded by
the databases, the reasons (`session.reasons`) and the conditions (`wire.sqlstate`), whatever
clients and servers send; no text of theirs is kept.
Errors: none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pgmux.config.model import ADMIN_DATABASE
from pgmux.session import reasons
from pgmux.session.reasons import find_reason
from pgmux.wire.sqlstate import find_condition, read_sqlstate

CLIENT: Final = "client"
SERVER: Final = "server"
POOLER: Final = "pooler"
CONNECT: Final = "connect"
DISCONNECT: Final = "disconnect"

_OTHERWISE: Final = {CLIENT: reasons.SERVER_REFUSED, SERVER: reasons.LOGIN_FAILED}


@dataclass(slots=True)
class ErrorCount:
    """How often, and when last, by the pooler's clock."""

    count: int = 0
    last_at: float = 0.0


ErrorKey = tuple[str, str, str]  # source (POOLER or SERVER), SQLSTATE, error


class Tally:
    """The counts of one database. `client_ends` are `ends[CLIENT]`."""

    __slots__ = ("client_ends", "connects", "ends", "errors")

    def __init__(self) -> None:
        self.connects: dict[str, defaultdict[str, int]] = {
            side: defaultdict(int) for side in (CLIENT, SERVER)
        }
        self.ends: dict[str, defaultdict[str, int]] = {
            side: defaultdict(int) for side in (CLIENT, SERVER)
        }
        self.client_ends = self.ends[CLIENT]
        self.errors: dict[ErrorKey, ErrorCount] = {}

    def on_connect(self, side: str, reason: str) -> None:
        """A connection has come in, or tried to; `reason` is one of `reasons`."""
        self.connects[side][reason] += 1

    def on_end(self, side: str, text: str) -> None:
        """A connection ends; `text` is what the log has as its reason."""
        self.ends[side][find_reason(text, _OTHERWISE[side])] += 1

    def on_told(
        self, sqlstate: str, message: str, now: float, otherwise: str = reasons.SERVER_REFUSED
    ) -> None:
        """A client is told this by the pooler; `otherwise` is what it is if it's no known text."""
        error = find_reason(message, otherwise)
        self._count((POOLER, find_condition(sqlstate).sqlstate, error), now)

    def on_server_error(self, body: bytes, now: float) -> None:
        """A server has sent this ErrorResponse, which may be cut off."""
        self.on_condition(read_sqlstate(body), now)

    def on_condition(self, sqlstate: str, now: float) -> None:
        """A server has sent an error of this SQLSTATE."""
        self._count((SERVER, *find_condition(sqlstate)), now)

    def _count(self, key: ErrorKey, now: float) -> None:
        found = self.errors.get(key)
        if found is None:
            found = self.errors[key] = ErrorCount()
        found.count += 1
        found.last_at = now

    def events(self, logins: int) -> Iterator[tuple[str, str, str, int]]:
        """Side, event, reason and count of all that has happened; with the clients' `logins`, which
        the pools count for SHOW STATS already.
        """
        logins += self.connects[CLIENT].get(reasons.LOGIN, 0)  # of databases that are no more
        if logins:
            yield CLIENT, CONNECT, reasons.LOGIN, logins
        for event, counts in ((CONNECT, self.connects), (DISCONNECT, self.ends)):
            for side, by_reason in counts.items():
                for reason, count in by_reason.items():
                    if (side, event, reason) != (CLIENT, CONNECT, reasons.LOGIN):
                        yield side, event, reason, count

    def join(self, other: Tally) -> None:
        """Add all this to another's counts, and count there from now on."""
        for counts, others in ((self.connects, other.connects), (self.ends, other.ends)):
            for side, by_reason in counts.items():
                for reason, count in by_reason.items():
                    others[side][reason] += count
        for key, found in self.errors.items():
            joined = other.errors.setdefault(key, ErrorCount())
            joined.count += found.count
            joined.last_at = max(joined.last_at, found.last_at)
        self.connects, self.ends, self.errors = other.connects, other.ends, other.errors
        self.client_ends = other.client_ends


class Tallies:
    """All of them; see the module."""

    def __init__(self) -> None:
        self._nobodys = Tally()
        self._by_name = {ADMIN_DATABASE: Tally()}

    def add(self, name: str) -> Tally:
        """A database that there is from now on."""
        return self._by_name.setdefault(name, Tally())

    def drop(self, name: str, logins: int) -> None:
        """A database is no more, to which so many clients had logged in: its counts, and what ends
        of it yet, are nobody's.
        """
        tally = self._by_name.pop(name, Tally())
        tally.connects[CLIENT][reasons.LOGIN] += logins
        tally.join(self._nobodys)

    def find(self, name: str) -> Tally:
        """The tally for what a client of that database, which may not exist, has brought about."""
        return self._by_name.get(name, self._nobodys)

    def items(self) -> list[tuple[str, Tally]]:
        """All, by the databases' names."""
        return sorted([("", self._nobodys), *self._by_name.items()], key=lambda item: item[0])
