"""auth_query: whose secret isn't in auth_file is looked up on the server, at each login.

A lookup is a client of the pool of auth_dbname (or the client's own database) and auth_user: it
queues, waits and fails as any other, so PAUSE, RECONNECT, timeouts and failing logins hold for it.
It has no startup parameters: its server has the connection's own values when the query runs.
What comes before authentication is hostile, so lookups take at most half of their pool; the others
wait in order. Equal ones share one query, but never one that had begun before they came: that may
have read a secret that has been changed since.

Source: PgBouncer's client.c (prepare_auth_database, start_auth_query); bounds and sharing are ours.
Errors: PoolerError for the client; the log has what an operator needs to know, once a query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NamedTuple

from pgmux.auth.credentials import Credentials
from pgmux.auth.steps import AuthenticationFailed
from pgmux.config import Database
from pgmux.config.model import ADMIN_DATABASE
from pgmux.errors import PoolerError
from pgmux.pool.pool import PoolKey
from pgmux.pool.states import CL_WAITING
from pgmux.session import logins, operator
from pgmux.session.auth_query import (
    MAX_MESSAGE_LEN,
    AuthQueryAnswer,
    AuthQueryFailed,
    Found,
    build_auth_query,
)
from pgmux.session.control import PoolControl
from pgmux.session.database import DatabaseState
from pgmux.session.identity import LookupInfo
from pgmux.session.own_client import OwnClient
from pgmux.session.pooler import Pooler
from pgmux.wire import codes, parse
from pgmux.wire.messages import MessageReader

LOOKUP_NAME = "auth_query"  # the application that lookups are counted as
CONFIG_ERROR = "bouncer config error"
# Lookups at a time in a pool without pool_size, twice over.
UNLIMITED_POOL = 20
# Databases that only `*` serves and whose lookup failed: anybody can name any number.
MAX_FAILED_DATABASES = 100

Outcome = Found | PoolerError | None  # None: there is no such user
OnDone = Callable[[Credentials | PoolerError | None], None]


class QueryKey(NamedTuple):
    """Lookups with the same key may share a query."""

    pool: PoolKey
    query: str
    user: str


class Lookup:
    """One login's wish to know a user's secret."""

    __slots__ = ("_lookups", "database", "key", "on_done")

    def __init__(self, lookups: Lookups, database: str, key: QueryKey, on_done: OnDone) -> None:
        self._lookups = lookups
        self.database = database
        self.key = key
        self.on_done = on_done

    def cancel(self) -> None:
        """The login has ended: nobody is called back."""
        self._lookups.forget(self)


Lot = dict[Lookup, None]  # in the order in which they came


class Lookups:
    """All lookups, under way and waiting. `soon(f)` calls `f()` in a turn of its own: an answer
    comes in the middle of a server's work, which must be over before anything follows from it.
    """

    def __init__(self, pooler: Pooler, soon: Callable[[Callable[[], None]], object]) -> None:
        self.pooler = pooler
        self.soon = soon
        self._serial = count(1)
        self._running: dict[QueryKey, Run] = {}
        self._waiting: dict[PoolKey, dict[QueryKey, Lot]] = {}
        self._failed: dict[str, None] = {}

    def begin(self, database: str, user: str, on_done: OnDone) -> Lookup:
        """Look up a user who logs in to `database`; `on_done` never comes before this returns.

        It gets the credentials, None where there is no such user, or the error for the client.
        Raises: PoolerError where the configuration doesn't lead to a database.
        """
        config = self.pooler.config
        entry = config.find_database(database) or Database(database, database)
        state = self._auth_database(config.auth_dbname(entry) or database)
        pool = PoolKey(state.name, config.auth_user(entry) or "")
        lookup = Lookup(self, database, QueryKey(pool, config.auth_query(entry), user), on_done)
        self._waiting.setdefault(pool, {}).setdefault(lookup.key, {})[lookup] = None
        self._start(pool)
        return lookup

    def forget(self, lookup: Lookup) -> None:
        """The login has ended. A query that runs goes on, as its server is worth more than it; one
        that has no server yet is over.
        """
        pool = lookup.key.pool
        waiting = self._waiting.get(pool, {})
        lookups = waiting.get(lookup.key, {})
        if lookups.pop(lookup, lookup) is None and not lookups:
            del waiting[lookup.key]
            self._note_failure(pool.database)
        run = self._running.get(lookup.key)
        if run is not None and run.lookups.pop(lookup, lookup) is None:
            run.on_left()

    def end_slow(self, timeout: float, now: float) -> None:
        """End queries that have run for longer than `timeout` and that nobody waits for."""
        for run in list(self._running.values()):
            if not run.lookups and now - run.relay.connect_time > timeout:
                run.give_up()

    # ---- inside

    def _auth_database(self, name: str) -> DatabaseState:
        if name == ADMIN_DATABASE:
            reason = f'cannot use the reserved "{name}" database as an auth_dbname'
            raise AuthenticationFailed(CONFIG_ERROR, f"{reason}: set auth_dbname")
        state = self.pooler.find_database(name)
        if state is None:
            reason = f'authentication database "{name}" is not configured.'
            raise AuthenticationFailed(CONFIG_ERROR, reason)
        if state.disabled:
            raise PoolerError(f'authentication database "{name}" is disabled')
        return state

    def _start(self, pool: PoolKey) -> None:
        """Run what waits for this pool, within its share."""
        waiting = self._waiting.get(pool, {})
        while key := self._next(pool, waiting):
            lookups = waiting.pop(key)
            try:
                control = self.pooler.open_pool(self._auth_database(pool.database), pool.user)
            except PoolerError as error:
                self.soon(partial(_tell, lookups, error))
                continue
            self._running[key] = run = Run(self, control, key, lookups, next(self._serial))
            run.start()
        if not waiting:
            self._waiting.pop(pool, None)

    def _next(self, pool: PoolKey, waiting: dict[QueryKey, Lot]) -> QueryKey | None:
        """The longest-waiting query that may run now."""
        running = sum(key.pool == pool for key in self._running)
        if not waiting or running >= self._share(pool):
            return None
        return next((key for key in waiting if key not in self._running), None)

    def _share(self, pool: PoolKey) -> int:
        control = self.pooler.pools.get(pool)
        size = 0 if control is None else control.pool.limits.pool_size
        return max(1, (size or UNLIMITED_POOL) // 2)

    def on_done(self, run: Run, outcome: Outcome) -> None:
        """A query is over: tell who waits for it, and go on."""
        del self._running[run.key]
        if not isinstance(outcome, Found):
            self._note_failure(run.key.pool.database)
        result: Credentials | PoolerError | None
        if isinstance(outcome, Found):
            result = Credentials(outcome.user, outcome.secret, run.serial)
            for database in {lookup.database for lookup in run.lookups}:
                logins.learn(self.pooler, database, result)
        else:
            result = outcome
        self._start(run.key.pool)
        _tell(run.lookups, result)

    def _note_failure(self, name: str) -> None:
        """Keep the newest of the databases that somebody has named in vain."""
        state = self.pooler.databases.get(name)
        if state is None or not state.is_auto:
            return
        self._failed.pop(name, None)
        self._failed[name] = None
        while len(self._failed) > MAX_FAILED_DATABASES:
            oldest = next(iter(self._failed))
            del self._failed[oldest]
            if self._is_unused(oldest):
                operator.drop_database(self.pooler, oldest)

    def _is_unused(self, name: str) -> bool:
        state = self.pooler.databases.get(name)
        return (
            state is not None
            and state.is_auto
            and not (state.paused or state.disabled)
            and not any(
                control.pool.lists.client_count() or control.pool.server_count()
                for control in self.pooler.pools_of(name)
            )
        )


def _tell(lookups: Lot, result: Credentials | PoolerError | None) -> None:
    while lookups:  # one of them may end another meanwhile
        lookup = next(iter(lookups))
        del lookups[lookup]
        lookup.on_done(result)


class Run(OwnClient):
    """One auth_query that runs."""

    __slots__ = ("_answer", "_lookups", "_outcome", "key", "lookups", "serial")

    def __init__(
        self,
        lookups: Lookups,
        control: PoolControl,
        key: QueryKey,
        waiting: Lot,
        serial: int,
    ) -> None:
        """`waiting` are told; `serial` is higher than that of any query that began before."""
        info = LookupInfo(next(lookups.pooler.ids), key.pool.database, key.pool.user)
        super().__init__(control, info, lookups.soon)
        self._lookups = lookups
        self._answer = AuthQueryAnswer()
        self._outcome: Outcome = None
        self.key = key
        self.lookups = waiting
        self.serial = serial

    def start(self) -> None:
        """Send the query, or queue for a server."""
        self._ask(LOOKUP_NAME, build_auth_query(self.key.query, self.key.user))

    def on_left(self) -> None:
        """A login that waited has ended; was it the last, a query without server ends, too."""
        if not self.lookups and self.relay.state == CL_WAITING:
            self.end(None)

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._stop_server(self._lookups.pooler)
        self.end(None)

    def end(self, outcome: Outcome) -> None:
        """What comes from now on doesn't count."""
        if not self._is_over:
            self._outcome = outcome
            self._be_over()

    def _finished(self) -> None:
        self._lookups.on_done(self, self._outcome)

    # ---- as a transport

    def write(self, data: bytes) -> None:
        """From the server; or the pooler's last words."""
        if self._is_over:
            return
        if self.relay.closed:
            self._on_last_words(data)
            return
        try:
            self._answer.feed(data)
            if self._answer.is_complete:
                self.end(self._answer.result())
                self._warn_of_rows()
        except AuthQueryFailed as error:
            self._fail(str(error))

    def close(self) -> None:
        """The pooler has closed the client, or its server is gone."""
        self._fail("no answer: the server connection has ended")

    # ---- inside

    def _on_last_words(self, data: bytes) -> None:
        """Who waits for a server fails as PgBouncer's clients do then; later it is our affair."""
        message = next(MessageReader(MAX_MESSAGE_LEN, "server").feed(data), None)
        if message is None or message[0] != codes.ERROR_RESPONSE:
            return
        error = parse.parse_error_response(message[1])
        if self.relay.state == CL_WAITING:
            self._fail(error.message, PoolerError(error.message, sqlstate=error.sqlstate))
        else:
            self._fail(error.message)

    def _fail(self, why: str, error: PoolerError | None = None) -> None:
        if not self._is_over:
            self._lookups.pooler.log.error(f"{why} ({self})", limit="auth_query")
            self.end(error or AuthenticationFailed(CONFIG_ERROR, f"auth_query failed: {why}"))

    def _warn_of_rows(self) -> None:
        rows = self._answer.row_count
        if rows > 1:
            text = f"auth_query returned {rows} rows for one user, the last one counts ({self})"
            self._lookups.pooler.log.warning(text, limit="auth_query")

    def __str__(self) -> str:
        return f'auth_query as "{self.key.pool.user}" in database "{self.key.pool.database}"'
