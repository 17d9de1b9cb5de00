"""Session parameters that follow their client: what a server carries, what a client wants, and how
the difference is set.

A `VarSpace` names the parameters that one pool tracks: those that its server reports and lets be
set, and those unreported ones that `startup_parameters` names. A `Vars` is one set of values for
them, interned: two equal sets are one object, so that the relay compares by identity. None is the
connection's startup value, whatever it is.

Differences are set with `set_config($1, $2, false)`, values bound as parameters: no quoting,
whatever the client encoding is, and a list (search_path) stays a list. A NULL value returns a
parameter to its startup value.
Source: PostgreSQL's GUC_REPORT parameters; PgBouncer's varcache.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from weakref import WeakValueDictionary

from pgmux.wire.build import (
    build_bind,
    build_execute,
    build_parameter_status,
    build_parse,
    build_sync,
)

# Reported, but not to be SET by a client: shown to clients as the server tells them.
NOT_SETTABLE = frozenset(
    {
        "server_version",
        "server_encoding",
        "is_superuser",
        "in_hot_standby",
        "integer_datetimes",
        "session_authorization",
    }
)

# Reported and settable in some PostgreSQL from 13 to 18, lower case -> as the server spells it.
REPORTED = {
    name.lower(): name
    for name in (
        "application_name",
        "client_encoding",
        "DateStyle",
        "default_transaction_read_only",
        "IntervalStyle",
        "scram_iterations",
        "search_path",
        "standard_conforming_strings",
        "TimeZone",
    )
}


def accepted(*named: str) -> dict[str, str]:
    """What a StartupMessage may set, lower case -> as it is spelled: `named`, and what servers
    report.
    """
    return REPORTED | {name.lower(): name for name in named}


# Of these the server makes one spelling of all: "utf8" is "UTF8". Elsewhere case is part of the
# value: search_path "Acme" is another schema than "acme".
_CASELESS = frozenset(
    {
        "client_encoding",
        "datestyle",
        "default_transaction_read_only",
        "intervalstyle",
        "standard_conforming_strings",
        "timezone",
    }
)

UNKNOWN = "\0"  # a value that no parameter can have: set it anew, whatever it is now
_OID_TEXT = 25
_SET = "set_config(${0}, ${1}, false)"
_SET_UNLESS_SET = (
    "CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_settings"
    " WHERE lower(name) = lower(${0}) AND source = 'session')"
    f" THEN NULL ELSE {_SET} END"
)
_GREETINGS_MAX = 256
_GREETED_MAX = 1024  # characters of values: a client may send 64 kB of them
_WRITTEN_MAX = 256  # longer spellings are not remembered, for the same reason


class Vars:
    """Values of a space's parameters, in the order of `space.names`; equal ones of a space are the
    same object.
    """

    __slots__ = ("__weakref__", "space", "values")

    def __init__(self, space: VarSpace, values: tuple[str | None, ...]) -> None:
        self.space = space
        self.values = values

    def get(self, name: str) -> str | None:
        """The value of a parameter, None where it is unset or not tracked."""
        index = self.space.index.get(name.lower())
        return None if index is None else self.values[index]

    def replace(self, changes: Mapping[str, str | None]) -> Vars:
        """These values with some changed; names that the space doesn't have are ignored."""
        values = list(self.values)
        for name, value in changes.items():
            index = self.space.index.get(name.lower())
            if index is not None:
                values[index] = value
        return self.space.intern(tuple(values))


class VarSpace:
    """The tracked parameters of one pool, and what its newest server reported at its login."""

    def __init__(self, reported: Mapping[str, str], unreported: Iterable[str]) -> None:
        self.reported = dict(reported)
        settable = [name for name in reported if name.lower() not in NOT_SETTABLE]
        known = {name.lower() for name in settable}
        extra = {name.lower(): name for name in unreported if name.lower() not in known}.values()
        self.names = (*settable, *extra)
        self.unreported = frozenset(extra)
        self.index = {name.lower(): i for i, name in enumerate(self.names)}
        self._interned: WeakValueDictionary[tuple[str | None, ...], Vars] = WeakValueDictionary()
        # What a client wrote -> what the server made of it ("utf-8" -> "UTF8"); bounded, as clients
        # fill it.
        self.canonical: dict[tuple[str, str], str] = {}
        self.version = 0  # of what `greet` returns
        self._greetings: dict[tuple[tuple[str, str], ...], tuple[Vars, bytes]] = {}
        self._tell(self.reported)

    def _tell(self, reported: dict[str, str]) -> None:
        """What clients that come from now on are told, and want unless they say otherwise."""
        self.reported = reported
        self._outdate_greetings()
        self.defaults = self.from_reported(reported)
        # (index in `names`, -1 if it can't be set; the server's value; name; its ParameterStatus)
        self._statuses = [
            (self.index.get(name.lower(), -1), value, name, build_parameter_status(name, value))
            for name, value in reported.items()
        ]

    def refresh(self, reported: Mapping[str, str]) -> None:
        """Another server has logged in: what it reports is what new clients are told."""
        if any(self.reported.get(name) != value for name, value in reported.items()):
            self._tell({**self.reported, **reported})

    def intern(self, values: tuple[str | None, ...]) -> Vars:
        """The one `Vars` with these values."""
        found = self._interned.get(values)
        if found is None:
            found = self._interned[values] = Vars(self, values)
        return found

    def follows(self, names: Iterable[str]) -> bool:
        """Whether all of these are tracked."""
        return all(name.lower() in self.index for name in names)

    def adopt(self, values: Vars) -> Vars:
        """The same values, of another space, in this one."""
        return self.intern(tuple(values.get(name) for name in self.names))

    def from_reported(self, reported: Mapping[str, str]) -> Vars:
        """What a server carries that has just logged in."""
        return self.intern(
            tuple(None if name in self.unreported else reported.get(name) for name in self.names)
        )

    def for_client(self, startup: Mapping[str, str]) -> Vars:
        """What a client wants that began with these parameters: else the server's own values."""
        return self.defaults.replace(self.spelled(startup))

    def greet(self, startup: Mapping[str, str]) -> tuple[Vars, bytes]:
        """`for_client`, and its `statuses`: the same for most, so they are kept."""
        key = tuple(startup.items())
        greeting = self._greetings.get(key)
        if greeting is None:
            wanted = self.for_client(startup)
            greeting = wanted, self.statuses(wanted)
            if len(self._greetings) >= _GREETINGS_MAX:
                self._greetings.clear()
            if sum(map(len, startup.values())) <= _GREETED_MAX:
                self._greetings[key] = greeting
        return greeting

    def spelled(self, startup: Mapping[str, str]) -> dict[str, str]:
        """Startup parameters with their values as the server spells them, where that is known."""
        known = self.canonical
        return {name: known.get((name.lower(), value), value) for name, value in startup.items()}

    def for_lookup(self) -> Vars:
        """The connection's startup values. search_path is set anew where the server would not have
        reported a change: what an earlier client did with it is not to decide who gets in.
        """
        is_unseen = any(name.lower() == "search_path" for name in self.unreported)
        return self.defaults.replace({"search_path": UNKNOWN} if is_unseen else {})

    def statuses(self, wanted: Vars) -> bytes:
        """A ParameterStatus for all that the server reports, with the values of `wanted` of those
        that can be set; built anew only where these differ.
        """
        return b"".join(
            [
                status
                if index < 0 or (own := wanted.values[index]) is None or own == value
                else build_parameter_status(name, own)
                for index, value, name, status in self._statuses
            ]
        )

    def learn(self, name: str, written: str, value: str) -> None:
        """Remember how the server spells what a client wrote."""
        if len(written) > _WRITTEN_MAX:
            return
        if len(self.canonical) >= 1000:
            self.canonical.clear()
        self.canonical[name.lower(), written] = value
        self._outdate_greetings()

    def _outdate_greetings(self) -> None:
        self.version += 1
        self._greetings.clear()


def differences(have: Vars, want: Vars) -> dict[str, str | None]:
    """What is to be set on a server that has the first for a client that wants the second.

    Where case has no meaning the server's spelling counts.
    """
    return {
        name: wanted
        for name, had, wanted in zip(have.space.names, have.values, want.values, strict=True)
        if had != wanted and not _is_spelling(name, had, wanted)
    }


def _is_spelling(name: str, one: str | None, other: str | None) -> bool:
    """Whether two values differ in their spelling only."""
    if one is None or other is None or name.lower() not in _CASELESS:
        return False
    return one.lower() == other.lower()


def build_set(changes: Mapping[str, str | None], unless_set: Container[str] = ()) -> bytes:
    """Parse, Bind, Execute and Sync that set all of `changes`, or none of them; those of
    `unless_set` only where the session has not set them already.
    """
    calls = ", ".join(
        (_SET_UNLESS_SET if name in unless_set else _SET).format(2 * i + 1, 2 * i + 2)
        for i, name in enumerate(changes)
    )
    parameters = [text for name, value in changes.items() for text in (_text(name), _text(value))]
    return (
        build_parse("", f"SELECT {calls}", [_OID_TEXT] * len(parameters))
        + build_bind("", "", parameters)
        + build_execute()
        + build_sync()
    )


def _text(value: str | None) -> bytes | None:
    return None if value is None or value == UNKNOWN else value.encode("utf-8", "surrogateescape")
