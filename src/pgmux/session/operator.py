"""What an operator does to a running pooler: RELOAD, KILL, RECONNECT, PAUSE and RESUME.

`database` is None for all of them. Whether what was begun is done, `busy_count` and
`close_needed_count` say. Source: PgBouncer's admin.c and loader.c in outline.
"""

from __future__ import annotations

from functools import partial

from pgmux.config import Config, Database
from pgmux.config.diff import Reload, diff_config
from pgmux.pool.states import SV_IDLE, SV_USED
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.database import DatabaseState
from pgmux.session.pooler import Pooler
from pgmux.session.release import make_available
from pgmux.session.turns import in_turns

CLIENT_KILLED = "admin forced disconnect"


def reload(pooler: Pooler, new: Config) -> Reload:
    """Go over to a new configuration, whole. Raises: ConfigError; nothing has changed then."""
    change = diff_config(pooler.config, new)
    pooler.config = change.config
    for name in change.databases_added:
        if name not in pooler.databases:
            pooler.add_database(name, pooler.config.databases[name], is_auto=False)
    dirty = []
    for state in list(pooler.databases.values()):
        database = pooler.config.find_database(state.name)
        if database is None:
            drop_database(pooler, state.name)
        elif _take_config(pooler, state, database, change):
            dirty.append(state.name)
    pooler.use_config(pooler.config)
    for control in [c for k, c in pooler.pools.items() if k.user in change.users_changed]:
        pooler.logins.pop(control.pool.key, None)
        control.pool.failure = None  # the new password may be the right one
        pooler.connects.drop_all(control, "password changed")
    for name in dirty:
        reconnect(pooler, name)
    pooler.launch_all()
    return change


def drop_database(pooler: Pooler, name: str) -> None:
    """Close all that belongs to a database, and keep nothing of it."""
    pooler.log.warning(
        f"dropping database '{name}' as it does not exist anymore or inactive auto-database",
        limit="dropping database",
    )
    for control in pooler.pools_of(name):
        control.hold(True)  # who is still there till its turn comes gets nothing
    kill(pooler, name, "database removed")
    for control in pooler.pools_of(name):
        pooler.drop_pool(control)
    for key in [key for key in pooler.logins if key.database == name]:
        del pooler.logins[key]
    pooler.forget_database(name)


def _take_config(pooler: Pooler, state: DatabaseState, new: Database, change: Reload) -> bool:
    """Go over to what the configuration says now of a database that stays; True where its servers
    are no longer those that it should have.
    """
    old, was_auto = state.config, state.is_auto
    state.config, state.is_auto = new, state.name not in pooler.config.databases
    if (old.user, old.password) != (new.user, new.password):
        for key, login in list(pooler.logins.items()):
            # What auth_query found isn't the file's, unless this is now the forced user.
            if key.database == state.name and (login.as_of == 0 or key.user == new.user):
                del pooler.logins[key]
    moved = state.is_auto != was_auto and old != new
    return moved or state.name in change.databases_dirty or (was_auto and change.autodb_dirty)


def kill(pooler: Pooler, database: str | None, reason: str) -> None:
    """Close the clients and servers of a database, which is held; thousands of them in some turns
    of the loop.
    """
    controls = list(pooler.pools_of(database))
    doomed = [
        *((c, c.pool.lists.waiting_clients() + c.pool.lists.active_clients()) for c in controls),
        *((c, c.pool.lists.all_servers()) for c in controls),
    ]
    for control in controls:
        pooler.connects.drop_all(control, reason)
    each = ((control, relay) for control, relays in doomed for relay in relays)
    in_turns(pooler.outside.later, each, partial(_close, reason))


def _close(reason: str, doomed: tuple[PoolControl, ClientRelay | ServerRelay]) -> None:
    control, relay = doomed
    if isinstance(relay, ClientRelay):
        control.close_client(relay, reason)
    else:
        control.close_server(relay, reason)


def kill_client(pooler: Pooler, client_id: int) -> bool:
    """Close the client of that id; False where there is none."""
    for control in pooler.pools.values():
        for client in control.pool.lists.active_clients() + control.pool.lists.waiting_clients():
            if client.owner.id == client_id:
                control.close_client(client, CLIENT_KILLED)
                return True
    return False


def reconnect(pooler: Pooler, database: str | None) -> None:
    """Each server of a database is closed when it is released, unused ones at once."""
    for control in pooler.pools_of(database):
        control.pool.failure = None
        pooler.connects.drop_all(control, "database configuration changed")
        for server in control.pool.lists.all_servers():
            retire(control, server, "database configuration changed")
        pooler.launch(control)


def retire(control: PoolControl, server: ServerRelay, reason: str) -> None:
    """Close a server when it is released; at once one that is unused, or a replication client's:
    that may stay for ever.
    """
    server.close_needed = True
    control.refresh_special(server)
    if server.state in (SV_IDLE, SV_USED) or server.owner.replication:
        control.close_server(server, reason)


def hold(pooler: Pooler, database: str | None, *, held: bool, reason: str = "pause mode") -> None:
    """Stop giving servers to the clients of a database (or all), or go on; unused servers close
    for that `reason`.
    """
    if database is None:
        pooler.paused = held
    elif database in pooler.databases:  # else a RELOAD has dropped it since its PAUSE
        pooler.databases[database].paused = held
    for control in pooler.pools_of(database):
        state = pooler.databases[control.pool.key.database]
        control.hold(pooler.paused or state.paused)
        if control.pool.lists.held:
            pooler.connects.drop_all(control, reason)
        for server in control.pool.lists.all_servers():
            control.refresh_special(server)
            if control.pool.lists.held and server.state in (SV_IDLE, SV_USED):
                control.close_server(server, reason)
        if not control.pool.lists.held:
            for server in control.pool.lists.servers(SV_IDLE):
                make_available(control, server)
    if not held:
        pooler.launch_all()
    pooler.on_change()


def is_held(pooler: Pooler, database: str | None) -> bool:
    """Whether a PAUSE of that database (or of all) is in force or under way. One that a RELOAD has
    dropped is as good as paused.
    """
    if database is None:
        return pooler.paused
    return database not in pooler.databases or pooler.databases[database].paused


def busy_count(pooler: Pooler, database: str | None = None) -> int:
    """Servers that still work for a client or are being tested."""
    return sum(control.pool.busy_count() for control in pooler.pools_of(database))


def close_needed_count(pooler: Pooler, database: str | None = None) -> int:
    """Servers that RECONNECT or RELOAD has marked and that are still there."""
    return sum(
        server.close_needed
        for control in pooler.pools_of(database)
        for server in control.pool.lists.all_servers()
    )
