"""What becomes of a server when its transaction or session is over: it is closed, or cleaned by
server_reset_query and checked by server_check_query, and then the next client's, or idle.

Source: PgBouncer's release_server, reset_on_release and life_over in outline; "closing because"
texts are PgBouncer's. Errors: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmux.config import PoolMode
from pgmux.pool.janitor import REASON_SURPLUS
from pgmux.pool.limits import yields_place
from pgmux.pool.states import SV_ACTIVE, SV_BEING_CANCELED, SV_IDLE, SV_TESTED, SV_USED
from pgmux.session import database_ddl
from pgmux.session._relay_cy import ServerRelay
from pgmux.wire.build import build_query

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl


def on_release(control: PoolControl, server: ServerRelay) -> None:
    """A transaction (or session) has ended cleanly and the server is no longer linked."""
    pool = control.pool
    now = control.pooler.clock()
    if pool.is_life_over(now - server.connect_time, now):
        pool.last_lifetime_close_at = now
        control.close_server(server, "server lifetime over")
    elif server.close_needed or (server.owner.has_own_settings and not _discards_all(control)):
        control.close_server(server, "close_needed")
    elif pool.lists.held:
        control.close_server(server, "pause mode")
    elif server.owner.cancels > 0:
        pool.lists.move_server(server, SV_BEING_CANCELED)
    elif server.owner.replication:
        control.close_server(server, "replication client was closed")
    elif pool.surplus_count() > 0:
        control.close_server(server, REASON_SURPLUS)
    elif yields_place(pool, server, now):
        control.close_server(server, "evicted")
    else:
        _clean(control, server)


def _clean(control: PoolControl, server: ServerRelay) -> None:
    """Run the reset query where the mode wants it, the check query where it is wanted each time."""
    settings = control.pooler.config.settings
    if settings.server_reset_query and _is_reset(control):
        control.pool.lists.move_server(server, SV_TESTED)
        server.owner.resetting = True
        server.send_private(build_query(settings.server_reset_query))
    elif settings.server_check_delay == 0 and settings.server_check_query:
        control.pool.lists.move_server(server, SV_USED)
        recheck(control)
    else:
        make_available(control, server)


def _is_reset(control: PoolControl) -> bool:
    """Whether server_reset_query runs in this pool."""
    session = control.pool.limits.pool_mode is PoolMode.SESSION
    return session or control.pooler.config.settings.server_reset_query_always


def _discards_all(control: PoolControl) -> bool:
    """Whether nothing of a session outlives it."""
    query = control.pooler.config.settings.server_reset_query
    return _is_reset(control) and "DISCARD ALL" in query.upper()


def recheck(control: PoolControl) -> None:
    """Clients wait and idle servers need their check query first: send it to as many as there are
    clients, less those that are being tested already.
    """
    lists = control.pool.lists
    for _ in range(lists.waiting_count() - lists.server_count(SV_TESTED)):
        used = lists.servers(SV_USED)
        if not used:
            return
        _test(control, used[-1])


def _test(control: PoolControl, server: ServerRelay) -> None:
    """Send the check query to a server that was idle for long."""
    query = control.pooler.config.settings.server_check_query
    control.pool.lists.move_server(server, SV_TESTED)
    server.send_private(build_query("" if query == "<empty>" else query))


def on_tested(control: PoolControl, server: ServerRelay) -> None:
    """The reset query or the check query is done."""
    if server.state != SV_TESTED:
        return
    if not server.ready:
        control.close_server(server, "reset query failed")
        return
    if server.owner.resetting:
        server.owner.resetting = False
        _after_reset(control, server)
    if server.close_needed or control.pool.lists.held:
        control.close_server(server, "close_needed" if server.close_needed else "pause mode")
    else:
        make_available(control, server)


def _after_reset(control: PoolControl, server: ServerRelay) -> None:
    """server_reset_query may be DISCARD ALL: what we believe of the session must not outlive it."""
    if _discards_all(control):
        server.forget_prepared()
        server.owner.has_own_settings = False
        unreported = server.vars.space.unreported
        server.vars = server.vars.replace(dict.fromkeys(unreported, None))


def make_available(control: PoolControl, server: ServerRelay) -> None:
    """To the longest-waiting client; else idle, or closed where another pool lacks a place."""
    control.refresh_special(server)
    lists = control.pool.lists
    while not lists.held and not server.closed:
        client = lists.next_waiting()
        if client is None:
            break
        if server.state != SV_ACTIVE:
            lists.move_server(server, SV_ACTIVE)
        server.serve(client)
        if server.linked_client is not None or not server.ready:
            return
    if not server.closed:
        _make_idle(control, server)


def _make_idle(control: PoolControl, server: ServerRelay) -> None:
    """Nobody of its pool wants the server now."""
    now = control.pooler.clock()
    if now < control.pool.keeps_none_until:
        control.close_server(server, database_ddl.REASON)
    elif yields_place(control.pool, server, now):
        control.close_server(server, "evicted")
    else:
        control.pool.lists.move_server(server, SV_IDLE)
        if control.pool.is_contended():
            control.pooler.on_server_idle(control)
