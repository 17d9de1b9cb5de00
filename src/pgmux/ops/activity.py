"""Who is connected to a PostgreSQL: its client backends by application, user, address and database.

Grouped by PostgreSQL, so that ten thousand connections are a small answer, and without this one.
Parallel workers, autovacuum, background workers and walsenders are no client backends: none of them
takes one of max_connections. Without the rights of pg_read_all_stats (pg_monitor has them) other
users' states, addresses and kinds are hidden: what has a user and a database is counted then.
Source: PostgreSQL's pg_stat_activity, the columns that 12 to 18 share. Errors: `ServerError`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pgmux.ops.server_connection import Row, ServerConnection

MOST_GROUPS = 1000  # of which the largest are told one by one


@dataclass(frozen=True, slots=True)
class Connected:
    """Client backends that share all of these; `address` None is the Unix socket, or hidden.

    Times are seconds: `longest_idle` outside a transaction, `longest_idle_in_transaction` since its
    last statement, `longest_transaction` since its begin. `hidden` are connections whose state this
    role may not see; they are in no other count but `connections`.
    """

    application_name: str
    user: str
    address: str | None
    database: str
    is_superuser: bool
    is_pooler: bool
    connections: int
    active: int
    idle: int
    idle_in_transaction: int
    hidden: int
    longest_idle: float
    longest_idle_in_transaction: float
    longest_transaction: float


@dataclass(frozen=True, slots=True)
class Activity:
    """`connections` are all client backends but ours, `pooler_connections` those of the pooler.

    `ungrouped` are of the smallest groups, where there are more than MOST_GROUPS. What counts
    against max_connections is `connections` alone. `reserved_connections`: from PostgreSQL 16 on.
    """

    groups: tuple[Connected, ...]
    connections: int
    pooler_connections: int
    ungrouped: int
    walsenders: int
    background: int
    max_connections: int
    superuser_reserved_connections: int
    reserved_connections: int
    is_partial: bool

    @property
    def reserved(self) -> int:
        """What ordinary users can't have of max_connections."""
        return self.superuser_reserved_connections + self.reserved_connections


_IS_CLIENT = """(backend_type = 'client backend'
    OR backend_type IS NULL AND usesysid IS NOT NULL AND datid IS NOT NULL)"""

_SECONDS_IN_STATE = "extract(epoch FROM clock_timestamp() - state_change)"

_GROUPS = f"""
SELECT coalesce(application_name, '') AS application_name,
       coalesce(usename, '') AS user,
       host(client_addr) AS address,
       coalesce(datname, '') AS database,
       coalesce(rolsuper, false) AS is_superuser,
       pid = ANY (%s::bigint[]) AS is_pooler,
       count(*) AS connections,
       count(*) FILTER (WHERE state IN ('active', 'fastpath function call')) AS active,
       count(*) FILTER (WHERE state = 'idle') AS idle,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%%') AS idle_in_transaction,
       count(*) FILTER (WHERE backend_type IS NULL) AS hidden,
       coalesce(max({_SECONDS_IN_STATE}) FILTER (WHERE state = 'idle'), 0)::float8
           AS longest_idle,
       coalesce(max({_SECONDS_IN_STATE}) FILTER (WHERE state LIKE 'idle in%%'), 0)::float8
           AS longest_idle_in_transaction,
       coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
           AS longest_transaction
FROM pg_catalog.pg_stat_activity
LEFT JOIN pg_catalog.pg_roles ON pg_roles.oid = usesysid
WHERE {_IS_CLIENT} AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY connections DESC, 1, 2, 3, 4
LIMIT {MOST_GROUPS}"""

_TOTALS = f"""
SELECT count(*) FILTER (WHERE {_IS_CLIENT}) AS connections,
       count(*) FILTER (WHERE {_IS_CLIENT} AND pid = ANY (%s::bigint[])) AS pooler_connections,
       count(*) FILTER (WHERE backend_type = 'walsender') AS walsenders,
       count(*) FILTER (
           WHERE NOT {_IS_CLIENT} AND backend_type IS DISTINCT FROM 'walsender'
       ) AS background,
       coalesce(bool_or(backend_type IS NULL), false) AS is_partial,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int AS superuser_reserved_connections,
       coalesce(current_setting('reserved_connections', true), '0')::int AS reserved_connections
FROM pg_catalog.pg_stat_activity
WHERE pid <> pg_backend_pid()"""


def read_activity(server: ServerConnection, pooler_pids: Collection[int] = ()) -> Activity:
    """Everybody who is connected now. `pooler_pids`: the remote_pid of SHOW SERVERS' rows.

    Raises: ServerError.
    """
    pids = list(pooler_pids)
    with server.transaction():  # within one, PostgreSQL tells one and the same moment
        groups = tuple(_connected(row) for row in server.rows(_GROUPS, [pids]))
        totals = server.rows(_TOTALS, [pids])[0]
    grouped = sum(group.connections for group in groups)
    return Activity(groups=groups, ungrouped=totals["connections"] - grouped, **totals)


def _connected(row: Row) -> Connected:
    """PostgreSQL's clock may go back: no duration is negative."""
    durations = {name: max(0.0, row[name]) for name in row if name.startswith("longest_")}
    return Connected(**{**row, **durations})
