"""What the relays of one pool ask for when something is rare: ends, errors, resets, differing
parameters, DDL.

The relay forwards and counts; here it is decided what becomes of the connection. Everything is done
at once, in the call: a transport is written to or closed, a list changed, a log line written; a new
server connection is asked of `pooler.launch`.

Source: PgBouncer's objects.c and server.c in outline; "closing because" texts are PgBouncer's.
"""

from __future__ import annotations

from pgmux.config import PoolMode
from pgmux.errors import (
    SQLSTATE_INTERNAL_ERROR,
    SQLSTATE_PROTOCOL_VIOLATION,
    SQLSTATE_QUERY_CANCELED,
    TlsError,
)
from pgmux.pool.pool import Failure, Pool
from pgmux.pool.states import CL_GONE, CL_WAITING, SV_GONE, SV_TESTED
from pgmux.session import release, slow
from pgmux.session._entry_cy import leave
from pgmux.session._relay_cy import AppCounters, ClientRelay, PoolRelay, ServerRelay
from pgmux.session.apps import PoolApps, clean_name
from pgmux.session.farewell import close_with
from pgmux.session.log import Name
from pgmux.session.prepare import Statements
from pgmux.session.reasons import CLOSE_REQUEST
from pgmux.session.state import StateKeeper, read_error
from pgmux.session.surroundings import Surroundings
from pgmux.session.varcache import VarSpace
from pgmux.wire import codes
from pgmux.wire.build import (
    build_error_response,
    build_ready_for_query,
    build_terminate,
)

STATEMENT_MAX = 4096  # statements of interest are read no further

_MODES = {PoolMode.SESSION: 0, PoolMode.TRANSACTION: 1, PoolMode.STATEMENT: 2}

# SQLSTATEs of a refused login that no waiting heals: wrong password, no such role, no such
# database.
_HOPELESS = frozenset({"28P01", "28000", "3D000"})


class PoolControl(StateKeeper):
    """One pool, its relays' `control`."""

    def __init__(self, pooler: Surroundings, pool: Pool, statements: Statements) -> None:
        super().__init__(statements, pooler.log)
        self.pooler = pooler
        self.pool = pool
        self.relay = PoolRelay(pool.lists, self, statements, pooler.clock)
        self.tally = pooler.tallies.find(pool.key.database)
        self.dedicated: PoolRelay | None = None
        self.apps = PoolApps(pooler.apps, pool.key.user)
        self.slow = slow.SlowLog(self)
        self.space: VarSpace | None = None
        self.special = False
        self.has_newcomers = False  # clients wait for the pool's first server to be welcomed
        self.is_behind = False  # the janitor has more to do for its clients, in the next turn
        self.relay.held = pool.lists.held
        self.apply_limits()

    def apply_limits(self) -> None:
        """Take over what the configuration says now, for the pool and all its connections."""
        settings = self.pooler.config.settings
        mode = self.pool.limits.pool_mode
        self._tune(self.relay, mode)
        if self.dedicated is not None:
            self._tune(self.dedicated, PoolMode.SESSION)
        self.pool.lists.most_servers = self.pool.most_servers()
        check_always = settings.server_check_delay == 0 and settings.server_check_query != ""
        self.special = (
            mode is PoolMode.SESSION or settings.server_reset_query_always or check_always
        )
        for server in self.pool.lists.all_servers():
            self.refresh_special(server)

    def _tune(self, relay: PoolRelay, mode: PoolMode) -> None:
        settings = self.pooler.config.settings
        relay.mode = _MODES[mode]
        relay.round_robin = settings.server_round_robin
        relay.max_prepared_statements = settings.max_prepared_statements
        relay.max_packet_size = settings.max_packet_size
        relay.disable_pqexec = settings.disable_pqexec
        slow.tune(relay, self.pooler.config.pgmux)

    def hold(self, held: bool) -> None:
        """Stop giving servers to the pool's clients, or go on."""
        self.pool.lists.held = self.relay.held = held

    def dedicated_relay(self) -> PoolRelay:
        """What the relays of replication connections share: session mode, whatever the pool's mode
        is, and the pool's own counters. Made at its first use.
        """
        if self.dedicated is None:
            own = PoolRelay(self.pool.lists, self, self.statements, self.pooler.clock)
            own.counters = self.relay.counters
            own.waits, own.xacts = self.relay.waits, self.relay.xacts
            own.queries = self.relay.queries
            self._tune(own, PoolMode.SESSION)
            self.dedicated = own
        return self.dedicated

    def refresh_special(self, server: ServerRelay) -> None:
        """Whether `on_release` has to look at the server when its transaction ends."""
        now = self.pooler.clock()
        server.special = (
            self.special
            or bool(server.owner.replication)
            or server.close_needed
            or self.pool.lists.held
            or self.pool.is_contended()
            or self.pool.surplus_count() > 0
            or server.owner.cancels > 0
            or now < self.pool.keeps_none_until
            or now - server.connect_time >= self.pool.limits.server_lifetime
        )

    # ---- applications

    def find_app(self, client: ClientRelay, name: str | None) -> AppCounters:
        """What counts a client that calls itself so."""
        has_host = self.pooler.config.settings.application_name_add_host
        return self.apps.find(client.owner.user, clean_name(name or "", has_host=has_host))

    def on_vars_changed(self, client: ClientRelay) -> None:
        """A client's transaction is over, and its parameters aren't those of its application any
        more: it may call itself something else. Up to now it held its server as what it was.
        """
        if client.owner.is_lookup:
            return  # the pooler's own, whatever the parameters
        app, server = client.app, client.linked_server
        client.count_as(self.find_app(client, client.vars.get("application_name")))
        if server is not None:
            held = server.request_time - client.link_start
            app.server_time += held
            client.app.server_time -= held  # which its release, or SHOW APPS, will add

    # ---- clients

    def welcome(self, client: ClientRelay, server: ServerRelay) -> None:
        """The client, linked at login, has its server with its startup parameters set."""
        self.pooler.welcome_linked(client, server)

    def on_statement(self, client: ClientRelay, statement: bytes) -> None:
        """A linked client is about to send SET or RESET, or to CREATE, ALTER or DROP a DATABASE;
        `statement` begins with that word.
        """
        text = statement[:STATEMENT_MAX].rstrip(b"\0").decode("utf-8", "surrogateescape")
        if text[:1] in "sSrR":
            self.on_set(client, text)
        else:
            self.pooler.on_database_ddl(self, text)

    def on_client_lost(self, client: ClientRelay, error: BaseException | None) -> None:
        """The client's connection has ended."""
        if not client.closed:
            self._log_tls_error(client, error)
            self.close_client(client, "client unexpected eof", tell=False)

    def on_client_terminate(self, client: ClientRelay) -> None:
        """The client said goodbye."""
        if not leave(self, client, CLOSE_REQUEST):
            self.close_client(client, CLOSE_REQUEST, tell=False)

    def on_client_violation(self, client: ClientRelay, message: str) -> None:
        """The client broke the protocol."""
        self.close_client(client, message)

    def on_client_waits(self, client: ClientRelay) -> None:
        """The client has joined the queue: get it a server, or say at once that there is none to be
        had.
        """
        failure = self.pool.failure
        # Who needs the pool's first server may outwait its restart, as with PgBouncer.
        may_wait = self.space is None and not client.owner.welcomed
        if (
            failure is not None
            and (not may_wait or failure.sqlstate in _HOPELESS)
            and self.pool.is_down()
            and not self._may_retry()
        ):
            self.close_client(client, *self._failure_text(failure))
        else:
            self.pooler.launch(self)

    def _may_retry(self) -> bool:
        return self.pool.logins > 0 or (
            self.pooler.clock() - self.pool.last_connect_at
            >= self.pooler.config.settings.server_login_retry
        )

    def _failure_text(self, failure: Failure) -> tuple[str, str]:
        if failure.sqlstate in _HOPELESS:
            return failure.message, failure.sqlstate
        cached = failure.message or failure.reason
        return (
            f"server login has been failing, cached error: {cached} (server_login_retry)",
            SQLSTATE_PROTOCOL_VIOLATION,
        )

    def cancel_waiting(self, client: ClientRelay) -> str:
        """Cancel a query that still waits for a server; returns why the cancel request's connection
        closes.
        """
        since = client.wait_start
        if not client.owner.welcomed or not client.drop_pending():
            return "cancel request for idle client"
        self._on_wait_in_vain(client, since)
        client.app.error_count += 1
        self.pool.lists.stop_waiting(client)
        message = "canceling statement due to user request"
        error = build_error_response("ERROR", SQLSTATE_QUERY_CANCELED, message, with_v=True)
        client.transport.write(error + build_ready_for_query())
        self.tally.on_told(SQLSTATE_QUERY_CANCELED, message, self.pooler.clock())
        return "canceled a waiting client"

    def close_client(
        self,
        client: ClientRelay,
        reason: str,
        sqlstate: str = SQLSTATE_PROTOCOL_VIOLATION,
        *,
        tell: bool = True,
        told: str = "",
    ) -> None:
        """End a client's connection, and tell it why (or what is to be `told`) unless it went by
        itself, or has begun to get a message: whatever it got now would be taken for the rest of
        that.
        """
        if client.closed:
            return
        client.closed = True
        server = client.linked_server
        tell = tell and (server is None or not server.mid_message)
        told = told or reason
        if not client.owner.is_lookup:  # the login that waits for it has its own lines
            # before the client can know, as whoever tests it expects
            self.pooler.on_end(self.name(client), reason, client.connect_time)
            if tell:
                self._on_told(client, sqlstate, told)
        client.app.error_count += tell
        close_with(client.transport, build_error_response("FATAL", sqlstate, told) if tell else b"")
        self._client_gone(client)

    def _on_told(self, client: ClientRelay, sqlstate: str, message: str) -> None:
        """The client is told this; count it, and say so."""
        self.tally.on_told(sqlstate, message, self.pooler.clock())
        if self.pooler.config.settings.log_pooler_errors:
            text = f"pooler error: {message}"
            self.pooler.log.warning(text, self.name(client), limit="pooler error")

    def dismiss(self, client: ClientRelay) -> None:
        """A lookup is over: its server is released where it has answered, else closed."""
        if not client.closed:
            client.closed = True
            self._client_gone(client)

    def on_long_wait(self, client: ClientRelay, seconds: float) -> None:
        """A client has its server, after log_min_wait_duration."""
        self.slow.on_served(client, seconds)

    def on_slow_xact(self, client: ClientRelay, seconds: float) -> None:
        """A client's transaction is over, after log_min_transaction_duration."""
        self.slow.on_slow_xact(client, seconds)

    def _on_wait_in_vain(self, client: ClientRelay, since: float) -> None:
        """A client leaves the queue without a server; SHOW STATS doesn't count that, as with
        PgBouncer.
        """
        client.app.wait_time += self.pooler.clock() - since
        self.slow.on_wait_over(client, since)

    def _client_gone(self, client: ClientRelay) -> None:
        self.slow.on_client_gone(client)
        server = client.linked_server
        app: AppCounters = client.app
        if client.state == CL_WAITING:
            self._on_wait_in_vain(client, client.wait_start)
        elif client.xact_start:
            app.max_xact_time = max(app.max_xact_time, self.pooler.clock() - client.xact_start)
        if server is not None:
            self._part(client, server)
        client.count_out()
        if client.state != CL_GONE:
            self.pool.lists.remove_client(client)
        if not client.owner.is_lookup:
            self.pooler.on_client_gone(client)

    def _part(self, client: ClientRelay, server: ServerRelay) -> None:
        """A linked client has gone: the server is released where it is clean, else it can't be used
        by anybody.
        """
        ready, outstanding = server.ready, server.outstanding_count
        server.unlink()
        if not ready:
            self.close_server(server, "client disconnect while server was not ready")
        elif outstanding:
            self.close_server(server, "client disconnected with query in progress")
        elif client.mid_message:
            reason = "client disconnect before everything was sent to the server"
            self.close_server(server, reason)
        else:
            server.release()

    # ---- servers

    def on_server_lost(self, server: ServerRelay, error: BaseException | None) -> None:
        """The server's connection has ended."""
        if not server.closed:
            self._log_tls_error(server, error)
            self.close_server(server, "server conn crashed?", terminate=False)

    def on_server_violation(self, server: ServerRelay, message: str) -> None:
        """The server broke the protocol, or says what we can't follow."""
        self.close_server(server, message)

    def on_bug(self, relay: ClientRelay | ServerRelay, error: Exception) -> None:
        """Our own mistake: that connection ends, the process goes on."""
        self.pooler.log.exception("internal error", error, self.name(relay))
        if isinstance(relay, ClientRelay):
            self.close_client(relay, "internal error", SQLSTATE_INTERNAL_ERROR)
        else:
            self.close_server(relay, "internal error")

    def close_server(self, server: ServerRelay, reason: str, *, terminate: bool = True) -> None:
        """End a server's connection; a linked client is told the reason, unless the server did so
        itself, and ends too.
        """
        if server.closed:
            return
        server.closed = True
        self.pooler.on_end(self.name(server), reason, server.connect_time)
        client, mid_message = server.linked_client, server.mid_message
        server.unlink()
        close_with(server.transport, build_terminate() if terminate else b"")
        self.pool.lists.move_server(server, SV_GONE)
        if client is not None:
            self.close_client(client, reason, tell=not (mid_message or server.last_words))
        self.pooler.on_server_gone(self)

    def on_release(self, server: ServerRelay) -> None:
        """A transaction (or session) has ended cleanly and the server is no longer linked."""
        release.on_release(self, server)

    # ---- what a server sends

    def on_server_error(self, body: bytes) -> None:
        """An ErrorResponse goes on to the client; `body` may be cut off."""
        self.tally.on_server_error(body, self.pooler.clock())

    def on_last_words(self, server: ServerRelay, body: bytes) -> None:
        """PostgreSQL has said why it ends the connection: else the log knew only that it ended."""
        error = read_error(body)
        text = f"server error: {error.severity} {error.sqlstate} {error.message}"
        self.pooler.log.warning(text, self.name(server), limit="server error")

    def on_private_message(self, server: ServerRelay, kind: int, body: bytes) -> None:
        """An answer to a query of ours, or what an idle server says."""
        if kind == codes.PARAMETER_STATUS:
            self.on_parameter_status(server, None, body)
        elif kind == codes.ERROR_RESPONSE:
            self._on_private_error(server, body)
        elif not server.private and kind not in (
            codes.NOTICE_RESPONSE,
            codes.NOTIFICATION_RESPONSE,
        ):
            self.pooler.log.warning(
                f"got packet '{chr(kind)}' from server when not linked", self.name(server)
            )
            self.close_server(server, "idle server got dirty")

    def _on_private_error(self, server: ServerRelay, body: bytes) -> None:
        self.on_server_error(body)
        self.on_last_words(server, body)
        error = read_error(body)
        client = server.linked_client
        if client is not None and not client.owner.welcomed:
            # as where it had connected to the server itself; the server goes with it
            self.close_client(client, error.message, error.sqlstate)
            return
        if client is not None:
            reason = "invalid server parameter"
        elif server.state == SV_TESTED:
            reason = f"{'reset' if server.owner.resetting else 'test'} query failed"
        elif error.severity in ("FATAL", "PANIC"):
            reason = "server conn crashed?"  # its last words: PostgreSQL stops, or is told to
        else:
            reason = "idle server got dirty"
        self.close_server(server, reason)

    def on_private_ready(self, server: ServerRelay) -> None:
        """The reset query or the check query is done."""
        release.on_tested(self, server)

    # ---- the log

    def _log_tls_error(self, relay: ClientRelay | ServerRelay, error: BaseException | None) -> None:
        if isinstance(error, TlsError):
            self.pooler.log.warning(f"TLS error: {error}", self.name(relay), limit="TLS error")

    def name(self, relay: ClientRelay | ServerRelay) -> Name:
        """What a line about this connection begins with."""
        side = "client" if isinstance(relay, ClientRelay) else "server"
        owner = relay.owner
        return Name(side, owner.id, owner.database, owner.user, owner.addresses.peer)
