"""The applications that clients say they are, and what each of them has done: who fills the pool.

An application is what the clients of one pool and login name have in common that send the same
application_name. A name is a stranger's text: it is cut and made printable, and how many are
counted is bounded (`max_applications`). Beyond that those that have gone and came longest ago make
room: their numbers go to their pools' `other`. While all are there, who is new is `other` at once.
Errors: none.
"""

from __future__ import annotations

from heapq import nsmallest
from operator import attrgetter

from pgmux.session._relay_cy import AppCounters, ClientRelay

OTHER = "other"
NAME_MAX = 63  # as PostgreSQL cuts it

SHARE = 10  # of all: so many are forgotten when there is no room

_entered_at = attrgetter("entered_at")

AppKey = tuple[str, str]  # login name, application name


def clean_name(name: str, *, has_host: bool = False) -> str:
    """The name as it is counted: printable, 63 characters at most; `has_host`: without the address
    that application_name_add_host has put behind it, which makes each connection's another.
    """
    if has_host:
        name = name.rpartition(" - ")[0] or name
    name = name[:NAME_MAX]
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)


def application_name(client: ClientRelay) -> str:
    """What the client calls itself now, clean; "" where it doesn't. The pooler's own look-ups are
    `auth_query`.
    """
    if client.owner.is_lookup:
        return "auth_query"
    told = client.owner.startup if client.vars is None else client.vars  # none before its welcome
    return clean_name(told.get("application_name") or "")


class Apps:
    """All that are counted by themselves, in all pools: `max_count` at most, but for those whose
    clients are there when that is lowered.
    """

    def __init__(self, max_count: int) -> None:
        self.max_count = max_count
        self.places: dict[AppCounters, PoolApps] = {}

    def use_limit(self, max_count: int) -> None:
        """From now on so many at most."""
        self.max_count = max_count
        self._forget(len(self.places) - max_count)

    def has_room(self) -> bool:
        """Whether one more can be counted by itself; those that have gone first make room."""
        if len(self.places) >= self.max_count:
            # Some at a time: a stranger who makes up names pays for looking at all once in a while.
            self._forget(max(1, self.max_count // SHARE))
        return len(self.places) < self.max_count

    def _forget(self, count: int) -> None:
        gone = [app for app in self.places if app.client_count == 0]
        for app in nsmallest(count, gone, key=_entered_at):
            self.places.pop(app).forget(app)


class PoolApps:
    """Those of one pool, by login name and name. `user` is the pool's."""

    __slots__ = ("_all", "_user", "by_key", "other")

    def __init__(self, all_apps: Apps, user: str) -> None:
        self._all = all_apps
        self._user = user
        self.by_key: dict[AppKey, AppCounters] = {}
        self.other: AppCounters | None = None  # those that there was no room for

    def all(self) -> list[AppCounters]:
        """Those that are counted by themselves, by login name and name; then the others."""
        named = [self.by_key[key] for key in sorted(self.by_key)]
        return named if self.other is None else [*named, self.other]

    def find(self, user: str, name: str) -> AppCounters:
        """What counts clients of that login name who call themselves so; `name` is clean."""
        app = self.by_key.get((user, name))
        if app is not None:
            return app
        if name == OTHER or not self._all.has_room():
            return self._find_other()
        app = self.by_key[user, name] = AppCounters(user, name)
        app.is_known = True
        self._all.places[app] = self
        return app

    def _find_other(self) -> AppCounters:
        if self.other is None:
            self.other = AppCounters(self._user, OTHER)
        return self.other

    def forget(self, app: AppCounters) -> None:
        """There is no room for it any more."""
        app.is_known = False
        del self.by_key[app.user, app.name]
        self._find_other().add(app)

    def clear(self) -> None:
        """The pool is no more."""
        for app in self.by_key.values():
            app.is_known = False
            del self._all.places[app]
        self.by_key.clear()
