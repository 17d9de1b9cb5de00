"""PostgreSQL, asked: every server of [databases], each on its own and all at the same time.

Few small questions to each, whose answers don't grow with its connections. A server that can't be
asked, and what a role may not see, is an `Unread`; the others are gathered all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from pgmux.config.model import ADMIN_DATABASE, Config
from pgmux.ops.activity import read_activity
from pgmux.ops.capacity import Place
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.console import ConsoleFacts
from pgmux.ops.check.facts.server import LookupFacts, Override, ServerFacts, Setting
from pgmux.ops.check.gather import lookups, roles
from pgmux.ops.check.gather.targets import Target, entries_of, find_same, find_targets, name_of
from pgmux.ops.server_connection import ServerConnection, ServerError

MOST_SERVERS = 32  # of one configuration
MOST_LOOKUPS = 20  # databases of one server that are asked for the function of auth_query
_READ_ALL_STATS = "pg_read_all_stats"

_WATCHED = (
    *("max_connections", "superuser_reserved_connections", "reserved_connections"),
    *("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"),
    *("lock_timeout", "transaction_timeout", "tcp_keepalives_idle", "tcp_keepalives_interval"),
    *("tcp_keepalives_count", "tcp_user_timeout", "client_connection_check_interval"),
    *("work_mem", "hash_mem_multiplier", "shared_buffers", "effective_cache_size"),
    *("password_encryption", "ssl", "server_version", "listen_addresses"),
)
_SETTINGS = """
SELECT name, setting, coalesce(unit, '') AS unit, source FROM pg_catalog.pg_settings
WHERE name = ANY (%s)
"""
_OVERRIDES = """
SELECT coalesce(d.datname, '') AS database, coalesce(r.rolname, '') AS role,
       pg_catalog.split_part(each, '=', 1) AS name,
       pg_catalog.substr(each, pg_catalog.strpos(each, '=') + 1) AS value
FROM pg_catalog.pg_db_role_setting s
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS each
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
WHERE pg_catalog.split_part(each, '=', 1) = ANY (%s) LIMIT 1000
"""
_LIMITS = """
SELECT datname, datconnlimit FROM pg_catalog.pg_database
WHERE datconnlimit >= 0 AND NOT datistemplate LIMIT 1000
"""
_ADDRESS = "SELECT pg_catalog.host(pg_catalog.inet_server_addr())"
_LOOPBACK = ("127.0.0.1", "::1")

Answer = tuple[ServerFacts | None, list[Unread]]
Opened = tuple[ServerConnection, frozenset[Place]]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the servers are asked for."""

    config: Config | None
    console: ConsoleFacts | None

    @property
    def in_force(self) -> Config:
        """What the file says, else what the console does."""
        if self.config is not None:
            return self.config
        return self.console.config() if self.console else Config()

    def role_names(self) -> frozenset[str]:
        """Everybody that pools and lookups log in as, and all of auth_file."""
        config = self.in_force
        names = set(config.userlist)
        for entry in entries_of(config):
            names |= {user for user in (entry.user, config.auth_user(entry)) if user}
        if self.console:
            pools = self.console.sample.pools
            names |= {pool.user for pool in pools if pool.database != ADMIN_DATABASE}
        return frozenset(names)


def gather(
    wanted: Wanted, named: ServerConnection | None = None
) -> tuple[tuple[ServerFacts, ...], list[Unread]]:
    """`named` is the server that the user has connected to, the others are found in [databases]."""
    targets = find_targets(wanted.in_force)
    unread: list[Unread] = []
    same: frozenset[Place] = frozenset()
    if named is not None:
        reached = _place_of(named)
        same = find_same(reached, reached, [target.place for target in targets])
        targets = [target for target in targets if target.place not in same]
    if len(targets) > MOST_SERVERS:
        reason = f"only the first {MOST_SERVERS} of {len(targets)} servers were asked"
        unread.append(Unread("servers", reason))
    targets = targets[:MOST_SERVERS]
    with ExitStack() as stack:
        opened = [(named, same or frozenset((_place_of(named),)))] if named is not None else []
        for target, found in zip(targets, side_by_side(targets, _connect), strict=True):
            if isinstance(found, Unread):
                unread.append(found)
            else:
                opened.append((stack.enter_context(found), frozenset((target.place,))))
        answers = side_by_side(_once_each(opened, unread), lambda each: _ask(*each, wanted))
    facts: list[ServerFacts] = []
    for answer in answers:
        told, besides = (None, [answer]) if isinstance(answer, Unread) else answer
        unread += besides
        facts += [told] if told else []
    return tuple(facts), unread


def _place_of(server: ServerConnection) -> Place:
    host, _, port = server.place.rpartition(":")
    return host, int(port)


def _connect(target: Target) -> ServerConnection | Unread:
    """With the first login that is let in."""
    advice = "ask it by --postgres 'host=… port=… user=… dbname=…'"
    if not target.logins:
        reason = "nothing says as whom to log in: [databases] has neither auth_user nor user"
        return Unread("servers", f"{target.name}: {reason}", advice)
    reason = ""
    for login in target.logins:
        try:
            return ServerConnection(login)
        except ServerError as error:
            reason = reason or str(error)
            if not error.needs_password and not error.sqlstate:
                break  # no login helps where nobody answers
    return Unread("servers", reason, advice)


def _once_each(opened: Sequence[Opened], unread: list[Unread]) -> list[Opened]:
    """A server that has two names here, as localhost and 127.0.0.1, is one: told by its start."""
    by_start: dict[object, Opened] = {}
    for server, places in opened:
        try:
            start = server.one("SELECT pg_catalog.pg_postmaster_start_time()")
        except ServerError as error:
            unread.append(Unread("servers", str(error)))
            continue
        first, others = by_start.get(start, (server, frozenset()))
        by_start[start] = first, others | places
        if first is not server:
            server.close()  # it would be counted as somebody who is connected
    return list(by_start.values())


def _ask(server: ServerConnection, places: frozenset[Place], wanted: Wanted) -> Answer:
    """All that there is to ask of one server. What fails as a whole is one `Unread`."""
    unread: list[Unread] = []
    try:
        facts = _facts(server, places, wanted, unread)
    except ServerError as error:
        return None, [*unread, Unread("servers", str(error))]
    return facts, unread


def _facts(
    server: ServerConnection, places: frozenset[Place], wanted: Wanted, unread: list[Unread]
) -> ServerFacts:
    """Raises: ServerError."""
    address = server.one(_ADDRESS)
    is_here = address is None or address in _LOOPBACK
    names = wanted.role_names()
    pids = wanted.console.pids_at(places) if wanted.console else frozenset()
    activity = read_activity(server, pids)
    if activity.is_partial:
        unread.append(_partial(server))
    found, besides = roles.gather(server, names, wanted.in_force.userlist)
    unread += besides
    return ServerFacts(
        name_of(_place_of(server)) if address else f"local socket:{_place_of(server)[1]}",
        places,
        version=server.version,
        user=server.user,
        is_by_socket=address is None,
        memory=_memory() if is_here else None,
        settings=_settings(server),
        overrides=tuple(Override(**row) for row in server.rows(_OVERRIDES, [list(_WATCHED)])),
        limits={row["datname"]: row["datconnlimit"] for row in server.rows(_LIMITS)},
        activity=activity,
        asked_roles=names,
        roles=found,
        lookups=tuple(_lookups(server, lookups.calls_at(wanted.in_force, places), unread)),
    )


def _partial(server: ServerConnection) -> Unread:
    return Unread(
        "servers",
        f"{server.place}: {server.user} sees of others' connections neither state nor address",
        f'GRANT {_READ_ALL_STATS} TO "{server.user}"',
    )


def _settings(server: ServerConnection) -> dict[str, Setting]:
    return {
        row["name"]: Setting(row["setting"], row["unit"], row["source"])
        for row in server.rows(_SETTINGS, [list(_WATCHED)])
    }


def _memory() -> int | None:
    """Bytes of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _lookups(
    server: ServerConnection, calls: Sequence[lookups.Call], unread: list[Unread]
) -> list[LookupFacts]:
    """Each in its database, over a connection of the same login."""
    found = []
    if len(calls) > MOST_LOOKUPS:
        reason = f"auth_query looked at in {MOST_LOOKUPS} of {len(calls)} databases"
        unread.append(Unread("servers", f"{server.place}: {reason}"))
    for call in calls[:MOST_LOOKUPS]:
        try:
            with ExitStack() as stack:
                is_here = call.database == server.dbname
                asked = (
                    server if is_here else stack.enter_context(server.again(dbname=call.database))
                )
                found.append(lookups.gather(asked, call))
        except ServerError as error:
            unread.append(Unread("servers", f"function {call.called} of auth_query: {error}"))
    return found


def side_by_side(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result | Unread]:
    """The results, in order, each found by a thread that doesn't keep the program from ending."""
    queue: SimpleQueue[tuple[int, Result | Unread]] = SimpleQueue()

    def run(number: int, item: Item) -> None:
        try:
            queue.put((number, work(item)))
        except Exception as error:  # a thread's traceback would say nothing to the user
            queue.put((number, Unread("servers", f"{type(error).__name__}: {error}")))

    for number, item in enumerate(items):
        Thread(target=run, args=(number, item), daemon=True).start()
    found = dict(queue.get() for _ in items)
    return [found[number] for number in range(len(items))]
