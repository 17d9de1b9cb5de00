"""POOL: how the pools are at this moment, and whether the pooler runs what the file says."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.config.model import ADMIN_DATABASE, Config
from pgmux.config.params import SETTINGS
from pgmux.config.values import parse_value
from pgmux.monitor.tables import PoolRow
from pgmux.ops.activity import Activity
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.console import ConsoleFacts
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.check.rules.limits import by_application, name_of
from pgmux.ops.severity import Severity

LONG_WAIT = 15.0  # seconds
FULL, ALMOST = 0.95, 0.8  # of max_client_conn
MOST_OF_IT = 0.5  # of what there is, held by one application
FEW = 10  # connections, of which nobody needs to hear
FORGOTTEN = 300.0  # seconds idle in a transaction
# What is given on the command line, or shown in another way than it is written.
_NOT_COMPARED = frozenset(
    ("user", "logfile", "pidfile", "syslog", "verbose", "job_name", "unix_socket_mode", "conffile")
)


def _pools(console: ConsoleFacts) -> Iterator[PoolRow]:
    return (pool for pool in console.sample.pools if pool.database != ADMIN_DATABASE)


@rule("POOL001", Severity.WARNING, "clients wait, and no server is idle", needs=("console",))
def waiting(evidence: Evidence) -> Iterator[Found]:
    console = evidence.console
    assert console is not None
    sizes = console.sample.pool_sizes()
    for pool in _pools(console):
        if not pool.cl_waiting or pool.sv_idle:
            continue
        size = sizes.get(pool.key, 0)
        yield Found(
            f"cl_waiting {pool.cl_waiting:,}, the first for {pool.maxwait:.1f} s; cl_active"
            f" {pool.cl_active:,}; servers: active {pool.sv_active}, idle 0, login {pool.sv_login},"
            f" of pool_size {size or 'without limit'}",
            _advice(pool, size),
            f"{pool.database} of {pool.user}",
            Severity.ERROR if pool.maxwait >= LONG_WAIT or not pool.servers else None,
        )


def _advice(pool: PoolRow, size: int) -> str:
    if pool.servers == pool.sv_login:
        return (
            "no login to PostgreSQL succeeds: the pooler's log says why (password, pg_hba.conf,"
            " too many clients, host down)"
        )
    if pool.pool_mode == "session" and pool.sv_active >= size:
        return "in session mode a client holds its server until it leaves: pool_mode = transaction"
    return (
        "SHOW CLIENTS and SHOW SERVERS, or pgmux top, say who holds the servers: long or forgotten"
        " transactions first; then a larger pool_size, which pgmux size works out"
    )


@rule(
    "POOL002",
    Severity.WARNING,
    "one application holds most of the connections",
    needs=("console",),
)
def holders(evidence: Evidence) -> Iterator[Found]:
    if evidence.console is not None:
        yield from _clients(evidence.console)
        for server in evidence.servers or ():
            if server.activity is not None:
                yield from _past_the_pooler(server.activity, server.place)


def _clients(console: ConsoleFacts) -> Iterator[Found]:
    """Of max_client_conn, by application and user whatever the database."""
    most = console.sample.limits.max_client_conn
    for name, count in by_application(console.clients, len(console.clients)):
        if count >= max(FEW, most * MOST_OF_IT):
            yield Found(
                f"{count:,} of max_client_conn {most:,}: {name}",
                "a smaller pool in the application (pool_size + max_overflow, times its processes),"
                " or max_user_client_connections, so that others can still come in",
                console.place,
            )


def _past_the_pooler(activity: Activity, place: str) -> Iterator[Found]:
    groups = [group for group in activity.groups if not group.is_pooler]
    total = activity.max_connections - activity.reserved
    for name, count in by_application(groups, len(groups)):
        if count >= max(FEW, total * MOST_OF_IT):
            idle = sum(group.idle for group in groups if name_of(group) == name)
            yield Found(
                f"{count:,} of PostgreSQL's {total:,} connections, {idle:,} of them idle: {name}",
                "have it connect to the pooler: pgmux cutover plan",
                place,
            )


@rule(
    "POOL003", Severity.WARNING, "the pooler is about to refuse further clients", needs=("console",)
)
def clients_against_limit(evidence: Evidence) -> Iterator[Found]:
    console = evidence.console
    assert console is not None
    used = sum(group.connections for group in console.clients)
    most = console.sample.limits.max_client_conn
    if most and used >= most * ALMOST:
        top = console.clients[0]
        yield Found(
            f"{used:,} clients of max_client_conn {most:,}; most of them, {top.connections:,}:"
            f" {top.application_name or 'without application_name'} as {top.user}",
            "raise max_client_conn (a client costs the pooler little; mind ulimit -n), or end the"
            " connections that nobody uses: client_idle_timeout",
            console.place,
            Severity.ERROR if used >= most * FULL else None,
        )


@rule(
    "POOL004", Severity.WARNING, "the pooler, or a database, is stopped by hand", needs=("console",)
)
def stopped(evidence: Evidence) -> Iterator[Found]:
    console = evidence.console
    assert console is not None
    state = console.sample.state
    if state in ("paused", "suspended"):
        yield Found(f"the pooler is {state}: every client waits", "RESUME", console.place)
        return
    for row in console.sample.databases:
        if row.paused:
            yield Found("paused: its clients wait", f'RESUME "{row.name}"', row.name)
        if row.disabled:
            yield Found("disabled: clients are refused", f'ENABLE "{row.name}"', row.name)


@rule(
    "POOL005",
    Severity.WARNING,
    "the pooler runs with other settings than the file has",
    needs=("console", "config"),
)
def drift(evidence: Evidence) -> Iterator[Found]:
    console, config = evidence.console, evidence.config
    assert console is not None and config is not None
    lines = [*_settings_that_differ(console, config), *_databases_that_differ(console, config)]
    if lines:
        yield Found(
            "\n".join(lines),
            "RELOAD (what needs a restart stays as it was, the log says so); what was SET at the"
            " console belongs into the file",
            console.place,
        )


def _settings_that_differ(console: ConsoleFacts, config: Config) -> Iterator[str]:
    for name in sorted(config.settings.places.keys() & console.settings.keys() - _NOT_COMPARED):
        if name not in SETTINGS:
            continue
        runs, wanted = console.settings[name], getattr(config.settings, name)
        try:
            is_same = parse_value(SETTINGS[name], runs) == wanted
        except ValueError:
            continue
        if not is_same:
            text = config.settings.texts.get(name, str(wanted))
            restart = "" if SETTINGS[name].reloadable else " (needs a restart)"
            yield f"{name}: runs with {runs or 'nothing'}, the file says {text}{restart}"


def _databases_that_differ(console: ConsoleFacts, config: Config) -> Iterator[str]:
    rows = {row.name: row for row in console.sample.databases}
    for name, entry in config.databases.items():
        row = rows.get(name)
        if row is None:
            yield f"database {name}: not known to the pooler"
        elif (row.host or "", row.port) != (entry.host or "", entry.port):
            runs = f"{row.host or 'local socket'}:{row.port}"
            yield (
                f"database {name}: leads to {runs}, the file says"
                f" {entry.host or 'local socket'}:{entry.port}"
            )


@rule(
    "POOL006",
    Severity.WARNING,
    "connections that are idle in a transaction for minutes",
    needs=("servers",),
)
def forgotten_transactions(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        groups = server.activity.groups if server.activity else ()
        for group in groups:
            if group.longest_idle_in_transaction < FORGOTTEN:
                continue
            by = "through the pooler" if group.is_pooler else "past the pooler"
            by = by if evidence.console else f"from {group.address or 'the local socket'}"
            yield Found(
                f"{group.idle_in_transaction:,} idle in transaction, the longest for"
                f" {group.longest_idle_in_transaction:,.0f} s: {name_of(group)}"
                f" in {group.database}, {by}",
                "it keeps its locks, holds up VACUUM and, through the pooler, a server: find the"
                " missing COMMIT; idle_in_transaction_session_timeout ends such ones",
                server.place,
            )


RULES = (waiting, holders, clients_against_limit, stopped, drift, forgotten_transactions)
