"""The applications that clients say they are, and what each of them has done: who fills the pool.

An application is what the clients of one pool and login name have in common that send the same
application_name. A name is a stranger's text: it is cut and made printable, and what has been
counted is bounded (`max_applications`). Beyond that the application that has gone first makes room,
its numbers go to the pool's `other`; while all are there, who is new is `other` at once.
Errors: none.
"""

from __future__ import annotations

from collections import OrderedDict

from pgmux.session._relay_cy import AppCounters

OTHER = "other"
NAME_MAX = 63  # as PostgreSQL cuts it

AppKey = tuple[str, str]  # login name, application name


def clean_name(name: str, *, has_host: bool = False) -> str:
    """The name as it is counted: printable, 63 characters at most; `has_host`: without the address
    that application_name_add_host has put behind it, which makes each connection's another.
    """
    if has_host:
        name = name.rpartition(" - ")[0] or name
    name = name[:NAME_MAX]
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)


class Apps:
    """All that is counted, in all pools: how many there are, and which of them nobody is any more,
    longest so first.
    """

    def __init__(self, max_count: int) -> None:
        self.max_count = max_count
        self.count = 0
        self.idle: OrderedDict[AppCounters, PoolApps] = OrderedDict()

    def use_limit(self, max_count: int) -> None:
        """From now on so many at most, but for those who are there."""
        self.max_count = max_count
        while self.count > max_count and self.idle:
            self.make_room()

    def make_room(self) -> None:
        """Forget the one that has gone first; its pool's `other` has its numbers."""
        app, apps = self.idle.popitem(last=False)
        apps.forget(app)
        self.count -= 1


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

    def enter(self, user: str, name: str) -> AppCounters:
        """What counts a client that comes; `name` is clean."""
        app = self.by_key.get((user, name)) or self._make(user, name)
        if app.client_count == 0:
            self._all.idle.pop(app, None)
        app.client_count += 1
        return app

    def leave(self, app: AppCounters) -> None:
        """A client of it has gone."""
        app.client_count -= 1
        if app.client_count == 0 and app is not self.other:
            self._all.idle[app] = self

    def _make(self, user: str, name: str) -> AppCounters:
        if self._all.count >= self._all.max_count:
            if not self._all.idle:
                return self._find_other()
            self._all.make_room()
        self._all.count += 1
        app = self.by_key[user, name] = AppCounters(user, name)
        return app

    def _find_other(self) -> AppCounters:
        if self.other is None:
            self.other = AppCounters(self._user, OTHER)
        return self.other

    def forget(self, app: AppCounters) -> None:
        """There is no room for it any more."""
        del self.by_key[app.user, app.name]
        self._find_other().add(app)

    def clear(self) -> None:
        """The pool is no more."""
        for app in self.by_key.values():
            self._all.idle.pop(app, None)
        self._all.count -= len(self.by_key)
        self.by_key.clear()
