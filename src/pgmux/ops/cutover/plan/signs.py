"""What PostgreSQL shows of session state: why an application may need a connection of its own.

Of statements only the newest of each connection is to be seen, and of it only which kind it is: no
text leaves PostgreSQL. What nobody else can see at all is `UNSEEN`.
Source: pg_stat_activity, pg_locks, pg_prepared_xacts, pg_class. Errors: `ServerError`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

from pgmux.ops.cutover.names import App
from pgmux.ops.server_connection import ServerConnection, ServerError

MOST_ROWS = 1000
MOST_DATABASES = 20  # that are logged in to, to look for temporary tables
UNSEEN = (
    "SET ROLE, what was SET before the newest statement, statements prepared by the protocol,"
    " LISTEN before the newest statement, cursors WITH HOLD, settings by options= at login"
)


class Step(Enum):
    """What to do with an application, the simplest first."""

    MOVE = "move"
    LOOK = "look first"
    SESSION = "session mode or direct"
    STAY = "stay direct"

    def __str__(self) -> str:
        return self.value


class Kind(Enum):
    """A sign; its value is what it leads to, and what it means."""

    REPLICATION = (Step.STAY, "replicates: it needs PostgreSQL itself")
    DUMP = (Step.STAY, "dumps or restores: it sets what would stay on a server that others share")
    MONITOR = (Step.STAY, "watches or manages PostgreSQL itself, also where the pooler is down")
    PERSON = (Step.STAY, "is a person's tool: a few connections, any statement")
    LISTEN = (Step.SESSION, "LISTEN: notifications come to one connection alone")
    HOLD = (Step.SESSION, "a cursor WITH HOLD lives on one connection alone")
    ADVISORY = (
        Step.SESSION,
        "advisory locks held outside a transaction: pg_advisory_xact_lock would do without",
    )
    TEMPORARY = (
        Step.LOOK,
        "temporary tables, of one of this user's applications: they move only with ON COMMIT DROP",
    )
    PREPARE = (
        Step.LOOK,
        "PREPARE or EXECUTE as SQL isn't followed by a pooler; what drivers prepare by the"
        " protocol is",
    )
    SET = (
        Step.LOOK,
        "SET outside a transaction stays with the server: SET LOCAL, or ALTER ROLE … SET",
    )
    TWO_PHASE = (Step.MOVE, "prepared transactions belong to no connection, and may be pooled")

    @property
    def step(self) -> Step:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]

    def __str__(self) -> str:
        return self.name.lower()


_TOOLS = {
    Kind.DUMP: (
        *("pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pg_receivewal"),
        *("pg_recvlogical", "pgbackrest*", "pgBackRest*", "barman*", "wal-g*", "pg_probackup*"),
    ),
    Kind.MONITOR: (
        *("Patroni*", "patroni*", "repmgr*", "pg_auto_failover*", "*postgres_exporter*"),
        *("pgwatch*", "pganalyze*", "pg_auto_ctl*", "check_postgres*", "telegraf*"),
    ),
    Kind.PERSON: (
        *("psql", "pgAdmin*", "DBeaver*", "DataGrip*", "pgcli*", "TablePlus*", "HeidiSQL*"),
        *("Postico*", "Beekeeper*"),
    ),
}


@dataclass(frozen=True, slots=True)
class Sign:
    """`app` may lack an application (""), where only user and database are known: `by_user`."""

    kind: Kind
    app: App
    count: int
    by_user: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """Walsenders of one kind; no client backends, and no application of the plan."""

    application: str
    user: str
    address: str | None
    count: int


_COMMENTS = r"^(\s|--[^\n]*\n|/\*.*?\*/)*"
# What poolers restore by themselves is no sign.
_FOLLOWED = "application_name|client_encoding|datestyle|timezone|time zone|names"
_SET = rf"set\s+(?!(local|transaction|constraints|session\s+char\w+|(session\s+)?({_FOLLOWED}))\M)"
_PATTERNS = {
    Kind.LISTEN: r"listen\s",
    Kind.PREPARE: r"(prepare\s+(?!transaction)|execute\s)",
    Kind.HOLD: r"declare\s.*\swith\s+hold\s",
    Kind.SET: _SET,
}
_COUNTS = ",\n".join(
    f"count(*) FILTER (WHERE query ~* '{_COMMENTS}{pattern}') AS {kind.name}"
    for kind, pattern in _PATTERNS.items()
)
_BY_APP = """coalesce(application_name, '') AS application, coalesce(usename, '') AS user,
       coalesce(datname, '') AS database"""
_IS_OTHER = """backend_type = 'client backend' AND pid <> pg_backend_pid()
       AND NOT pid = ANY (%s::bigint[])"""
_STATEMENTS = f"""
SELECT {_BY_APP}, {_COUNTS}
FROM pg_catalog.pg_stat_activity
WHERE {_IS_OTHER} AND query ~* '{_COMMENTS}(listen|prepare|execute|declare|set)\\s'
GROUP BY 1, 2, 3 LIMIT {MOST_ROWS}"""
_LOCKS = f"""
SELECT {_BY_APP}, count(DISTINCT pid) AS count
FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND state = 'idle' AND {_IS_OTHER}
GROUP BY 1, 2, 3 LIMIT {MOST_ROWS}"""
_TWO_PHASE = f"""
SELECT owner AS user, database, count(*) AS count
FROM pg_catalog.pg_prepared_xacts GROUP BY 1, 2 LIMIT {MOST_ROWS}"""
_TEMPORARY = rf"""
SELECT pg_get_userbyid(relowner) AS user, current_database() AS database, count(*) AS count
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
WHERE relpersistence = 't' AND relkind IN ('r', 'p') AND nspname ~ '^pg_temp_[0-9]+$'
GROUP BY 1 LIMIT {MOST_ROWS}"""
_REPLICAS = f"""
SELECT coalesce(application_name, '') AS application, coalesce(usename, '') AS user,
       host(client_addr) AS address, count(*) AS count
FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'
GROUP BY 1, 2, 3 LIMIT {MOST_ROWS}"""


def read_signs(server: ServerConnection, pooler_pids: Collection[int]) -> list[Sign]:
    """What is to be seen now, but for temporary tables. Raises: ServerError."""
    pids = [list(pooler_pids)]
    found: list[Sign] = []
    for row in server.rows(_STATEMENTS, pids):
        app = App(row["application"], row["user"], row["database"])
        counts = ((kind, row[kind.name.lower()]) for kind in _PATTERNS)
        found += [Sign(kind, app, count) for kind, count in counts if count]
    for row in server.rows(_LOCKS, pids):
        app = App(row["application"], row["user"], row["database"])
        found.append(Sign(Kind.ADVISORY, app, row["count"]))
    for row in server.rows(_TWO_PHASE):
        app = App("", row["user"], row["database"])
        found.append(Sign(Kind.TWO_PHASE, app, row["count"], by_user=True))
    return found


def read_temporary(
    server: ServerConnection, databases: Iterable[str]
) -> tuple[list[Sign], list[str]]:
    """Temporary tables in these databases; and those that couldn't be looked into."""
    found: list[Sign] = []
    unread: list[str] = []
    for number, database in enumerate(sorted(databases)):
        if number >= MOST_DATABASES:
            unread.append(database)
            continue
        try:
            with server.again(dbname=database) as beside:
                rows = beside.rows(_TEMPORARY)
        except ServerError:
            unread.append(database)
            continue
        for row in rows:
            app = App("", row["user"], row["database"])
            found.append(Sign(Kind.TEMPORARY, app, row["count"], by_user=True))
    return found, unread


def read_replicas(server: ServerConnection) -> tuple[Replica, ...]:
    """Raises: ServerError."""
    return tuple(Replica(**row) for row in server.rows(_REPLICAS))


def sign_of_name(app: App, count: int) -> Sign | None:
    """What the name itself says."""
    for kind, patterns in _TOOLS.items():
        if any(fnmatchcase(app.application, pattern) for pattern in patterns):
            return Sign(kind, app, count)
    return None
