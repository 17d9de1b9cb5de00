"""The same commands to a real PgBouncer and to pgmux, and the answers compared message by message.

Debian's 1.18 where it is installed (CI installs it); PGMUX_PGBOUNCER=/path/to/pgbouncer compares
with another one. Of an older one only what both have is compared; of 1.25.2 everything is.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pgmux.config.params import PGMUX_SETTINGS
from pgmux.ops.pooler import PGMUX, PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.wire import build
from pgmux.wire.parse import parse_data_row, parse_error_response, parse_row_description
from tests.fixtures.raw import Message, RawClient
from tests.fixtures.tools import require_pgbouncer

TARGET = (1, 25, 2)

SETTINGS: dict[str, object] = {
    "auth_type": "trust",
    "pool_mode": "transaction",
    "admin_users": "postgres",
    "stats_users": "looker",
    "default_pool_size": 7,
    "reserve_pool_size": 2,
    "max_client_conn": 50,
    "server_lifetime": 1200,
    "server_check_query": "select 1",
    "ignore_startup_parameters": "extra_float_digits, options",
    "log_stats": 0,
    "max_db_connections": 30,
}
# One console runs them in this order.
SCRIPT = (
    "SHOW VERSION",
    "show databases",
    "SHOW POOLS;",
    " show  clients ; ",
    "SHOW SERVERS",
    'SHOW "users"',
    "SHOW LISTS",
    "SHOW CONFIG",
    "SHOW STATS",
    "SHOW STATS_TOTALS",
    "SHOW STATS_AVERAGES",
    "SHOW TOTALS",
    "SHOW SOCKETS",
    "SHOW ACTIVE_SOCKETS",
    "SHOW MEM",
    "SHOW DNS_HOSTS",
    "SHOW DNS_ZONES",
    "SHOW STATE",
    "SHOW PEERS",
    "SHOW PEER_POOLS",
    "SHOW HELP",
    "SELECT version",
    "SHOW client_encoding",
    "SHOW default_transaction_isolation",
    "SHOW standard_conforming_strings",
    "SHOW DateStyle",
    "show timezone",
    "SET DateStyle TO 'German'",
    "SET client_encoding = utf8",
    # errors of the grammar
    "SHOW",
    "SHOW nothing",
    "show pools; show stats",
    "show pools extra",
    "show-pools",
    "nonsense",
    "nonsense of words",
    "abcdefghijklmnop",
    "show " + "a" * 64,
    'SHOW "POOLS"',
    "RELOAD now",
    "SHUTDOWN now",
    "SUSPEND now",
    'set "" = 1',
    "set verbose",
    # SET
    "SET verbose = 0",
    "SET query_timeout = '120'",
    "SET server_reset_query = 'DISCARD ALL'",
    "SET max_client_conn TO 60",
    "SHOW CONFIG",
    "SET nothing = 1",
    "SET query_timeout = abc",
    "SET listen_port = 1",
    # databases
    "RELOAD",
    "SHOW CONFIG",
    "PAUSE nothing",
    "PAUSE pgbouncer",
    "PAUSE other",
    "SHOW DATABASES",
    "SHOW STATE",
    "RESUME other",
    "RESUME other",
    "RESUME nothing",
    "RESUME pgbouncer",
    "RESUME",
    "DISABLE",
    "DISABLE nothing",
    "DISABLE pgbouncer",
    "DISABLE other",
    "SHOW DATABASES",
    "ENABLE",
    "ENABLE nothing",
    "ENABLE pgbouncer",
    "ENABLE other",
    "RECONNECT nothing",
    "RECONNECT pgbouncer",
    "RECONNECT other",
    "WAIT_CLOSE nothing",
    "WAIT_CLOSE pgbouncer",
    "WAIT_CLOSE other",
    "KILL nothing",
    "KILL pgbouncer",
    "KILL other",
    "SHOW DATABASES",
    "RESUME other",
    "KILL_CLIENT",
    "KILL_CLIENT x",
    "KILL_CLIENT 987654",
    # everything stops
    "KILL db",
    "SHOW DATABASES",
    "SHOW POOLS",
    "SHOW CLIENTS",
    "SHOW SERVERS",
    "RESUME db",
    "PAUSE",
    "SHOW STATE",
    "SHOW DATABASES",
    "PAUSE",
    "PAUSE db",
    "KILL db",
    "RESUME",
    "SHOW STATE",
    "RECONNECT",
    "WAIT_CLOSE",
    "SHOW TOTALS",
)
LOOKERS_SCRIPT = (
    *("SHOW POOLS", "SHOW CONFIG", "SHOW HELP", "RELOAD", "PAUSE", "RESUME", "KILL db"),
    *("DISABLE db", "ENABLE db", "RECONNECT", "WAIT_CLOSE", "SHUTDOWN", "KILL_CLIENT 1"),
    *("SET verbose = 1", "SET nothing = 1", "SET DateStyle = ISO", "nonsense", "RELOAD now"),
)


# Not before 1.25.
KILL_SCRIPT = (
    *(
        "KILL",
        "SHOW STATE",
        "SHOW DATABASES",
        "RESUME",
        "RESUME other",
        "RESUME db",
        "KILL_CLIENT 1",
    ),
    *("SHOW PEERS", "SHOW PEER_POOLS", "SHOW DATABASES"),
)


# ---- the differences that are meant


@dataclass(frozen=True)
class Meant:
    """A difference: of which command, what it is (both shell patterns), and why.

    `older` are those of releases before 1.25.2, which pgmux doesn't imitate.
    """

    query: str
    difference: str
    reason: str
    older: bool = False


MEANT = (
    # what is another's in every run
    Meant("show *", "* port: *", "of this connection"),
    Meant("show *", "* local_port: *", "of this connection"),
    Meant("show *", "* *_time: *", "of this run"),
    Meant("show *", "* wait*: *", "of this run"),
    Meant("show *", "* maxwait*: *", "of this run"),
    Meant("show *", "* ptr: *", "of this connection"),
    Meant("show *", "* link: 0x*, here 0x*", "of this connection"),
    Meant("show *", "* remote_pid: *", "of this connection"),
    *(
        Meant("show config", f"row {name}: value: *", "of this process")
        for name in ("auth_file", "conffile", "listen_port", "logfile", "unix_socket_dir")
    ),
    Meant("show config", "row user: value: *", "PgBouncer shows what -u said, when root runs this"),
    # docs/differences.md
    Meant("* version", "row 0: version: *, here PgBouncer 1.25.2", "the target", older=True),
    Meant("* version", "row 1 is only here", "pgmux's own name, version and form"),
    Meant("show lists", "row free_*: items: *, here 0", "nothing is allocated ahead"),
    Meant("show config", "row login_notify_message is only here", "1.26"),
    Meant("show config", "row pool_idle_timeout is only here", "1.26"),
    *(
        Meant("show config", f"row {name} is only here", "pgmux's own setting")
        for name in PGMUX_SETTINGS
    ),
    Meant("show stats*", "row pgbouncer: *_count: *", "each query of a console is counted"),
    Meant("show stats_averages", "row *: *", "averages of times and of the console's queries"),
    Meant("show stats", "row *: avg_*", "averages of times and of the console's queries"),
    Meant("show totals", "row *: value: *", "times, and the console's queries"),
    Meant("show mem", "row *: *: *", "Python has no such caches"),
    Meant("show *sockets", "row *: recv_pos: *", "a command that runs is in no buffer"),
    Meant("show *sockets", "row *: pkt_avail: *", "a command that runs is in no buffer"),
    Meant("show active_sockets", "row 0 is only there", "a command that runs is in no buffer"),
    Meant("show help", "notice D: *", "SHOW FDS and SUSPEND are gone"),
    Meant("set *", "error M: SET failed, here SET failed: *", "says why"),
    Meant("set listen_port*", "error: None, *", "SET of what only a restart changes is an error"),
    Meant("show pools", "row db/postgres is only here", "KILL keeps the pool and its counters"),
    Meant("show pools", "row db/postgres: cl_*", "KILL keeps the pool and its counters"),
    # before 1.25.2
    Meant("show *", "column * is only here", "a later release's", older=True),
    Meant("show databases", "column reserve_pool is only there", "renamed in 1.24", older=True),
    Meant("show clients", "row *: state: active, here idle", "idle since 1.23", older=True),
    Meant("show config", "row * is only here", "a later release's", older=True),
    Meant("show config", "row *_tls_*", "other defaults since", older=True),
    Meant("show config", "row server_check_query: default: *", "other since 1.25", older=True),
    Meant("show mem", "row * is only here", "a later release's", older=True),
    Meant("show totals", "row * is only here", "a later release's", older=True),
    Meant("show lists", "row peer* is only here", "since 1.19", older=True),
    Meant("*", "error: invalid command *, here None", "a later release's", older=True),
    Meant("kill_client*", "error M: invalid command *", "a later release's", older=True),
)

# What tells the rows of a SHOW apart; else their place does.
KEYS = {
    "databases": ("name",),
    "pools": ("database", "user"),
    "users": ("name",),
    "lists": ("list",),
    "config": ("key",),
    "state": ("key",),
    "mem": ("name",),
    "totals": ("name",),
    **dict.fromkeys(("stats", "stats_totals", "stats_averages"), ("database",)),
}


def words(query: str) -> str:
    """The query as the patterns have it: in lower case, without its odd writing."""
    return " ".join(query.lower().replace('"', "").replace(";", " ").split())


# ---- an answer, and what differs between two


@dataclass(frozen=True)
class Answer:
    """One answer, taken apart. `kinds` are the types of its messages, rows counted once."""

    kinds: str
    columns: dict[str, tuple[int, int, int]]
    rows: dict[str, dict[str, str | None]]
    tag: str
    error: Mapping[str, str]
    notice: Mapping[str, str]

    @classmethod
    def of(cls, query: str, messages: list[Message]) -> Answer:
        bodies = dict(messages)
        described = parse_row_description(bodies["T"]) if "T" in bodies else ()
        columns = {c.name: (c.type_oid, c.typlen, c.typmod) for c in described}
        key_columns = KEYS.get(words(query).rpartition(" ")[2], ())
        rows = {}
        for body in (body for kind, body in messages if kind == "D"):
            texts = [None if v is None else v.decode() for v in parse_data_row(body)]
            row = dict(zip(columns, texts, strict=True))
            rows["/".join(str(row[name]) for name in key_columns) or str(len(rows))] = row
        return cls(
            re.sub("D+", "D", "".join(kind for kind, _ in messages)),
            columns,
            rows,
            bodies.get("C", b"").rstrip(b"\0").decode(),
            parse_error_response(bodies["E"]).fields if "E" in bodies else {},
            parse_error_response(bodies["N"]).fields if "N" in bodies else {},
        )


def differences(theirs: Answer, ours: Answer) -> Iterator[str]:
    """Everything that isn't the same, a line each."""
    if not theirs.error or not ours.error:
        if theirs.error or ours.error:
            yield f"error: {theirs.error.get('M')}, here {ours.error.get('M')}"
            return
    else:
        yield from field_differences("error", theirs.error, ours.error)
        return
    if theirs.kinds.replace("D", "") != ours.kinds.replace("D", ""):
        yield f"messages {theirs.kinds}, here {ours.kinds}"
    if theirs.tag != ours.tag:
        yield f"tag: {theirs.tag}, here {ours.tag}"
    yield from field_differences("notice", theirs.notice, ours.notice)
    common = [name for name in theirs.columns if name in ours.columns]
    yield from (f"column {name} is only there" for name in theirs.columns if name not in common)
    yield from (f"column {name} is only here" for name in ours.columns if name not in common)
    if common != [name for name in ours.columns if name in common]:
        yield "columns are in another order"
    for name in common:
        if theirs.columns[name] != ours.columns[name]:
            yield f"column {name}: {theirs.columns[name]}, here {ours.columns[name]}"
    yield from row_differences(common, theirs.rows, ours.rows)


def row_differences(
    columns: list[str],
    theirs: Mapping[str, Mapping[str, str | None]],
    ours: Mapping[str, Mapping[str, str | None]],
) -> Iterator[str]:
    common = [key for key in theirs if key in ours]
    yield from (f"row {key} is only there" for key in theirs if key not in common)
    yield from (f"row {key} is only here" for key in ours if key not in common)
    if common != [key for key in ours if key in common]:
        yield "rows are in another order"
    for key in common:
        yield from field_differences(
            f"row {key}:", {c: theirs[key][c] for c in columns}, {c: ours[key][c] for c in columns}
        )


def field_differences(
    what: str, theirs: Mapping[str, str | None], ours: Mapping[str, str | None]
) -> Iterator[str]:
    for name in {**theirs, **ours}:
        if theirs.get(name) != ours.get(name):
            yield f"{what} {name}: {theirs.get(name)}, here {ours.get(name)}"


def is_meant(query: str, difference: str, *, older: bool) -> bool:
    return any(
        fnmatchcase(words(query), meant.query)
        and fnmatchcase(difference, meant.difference.replace("[", "[[]"))
        for meant in MEANT
        if older or not meant.older
    )


# ---- both, in the same state


class Side:
    """One of both: running, with an idle client and one in a transaction."""

    def __init__(self, server: EmbeddedPostgres, command: Sequence[str], stack: ExitStack) -> None:
        where = f"host={server.host} port={server.port} dbname=postgres"
        self.pooler = PoolerProcess(
            port=find_free_port(),
            databases={"db": where, "other": f"{where} pool_size=3 pool_mode=session"},
            users={"postgres": server.password, "looker": "secret", "bob": "secret"},
            settings=SETTINGS,
            command=command,
        )
        stack.enter_context(self.pooler)
        self._stack = stack
        for queries in (["SELECT 1"], ["SELECT 1", "BEGIN"]):
            client = self.connect("db", "postgres")
            for query in queries:
                client.exchange(build.build_query(query))

    def connect(self, database: str, user: str) -> RawClient:
        client = self._stack.enter_context(RawClient(self.pooler))  # type: ignore[arg-type]
        return client.start(database, user)


@pytest.fixture(scope="module")
def pgbouncer() -> tuple[Path, tuple[int, ...]]:
    """Its path and version."""
    path = Path(require_pgbouncer())
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"PgBouncer (\d+)\.(\d+)\.(\d+)", said)
    assert version is not None, said
    return path, tuple(map(int, version.groups()))


@pytest.mark.parametrize(
    ("user", "script", "since"),
    [
        pytest.param("postgres", SCRIPT, (1, 18), id="admin"),
        pytest.param("looker", LOOKERS_SCRIPT, (1, 18), id="stats user"),
        pytest.param("postgres", KILL_SCRIPT, TARGET, id="KILL"),
    ],
)
def test_every_answer_is_pgbouncers_but_for_what_is_meant(
    pgbouncer: tuple[Path, tuple[int, ...]],
    postgres: EmbeddedPostgres,
    user: str,
    script: tuple[str, ...],
    since: tuple[int, ...],
) -> None:
    path, version = pgbouncer
    if version < since:
        pytest.skip(
            f"PgBouncer {version} doesn't have these commands; PGMUX_PGBOUNCER names another"
        )
    older, found = version < TARGET, []
    with ExitStack() as stack:
        sides = [Side(postgres, command, stack) for command in ((str(path),), PGMUX)]
        consoles = [side.connect("pgbouncer", user) for side in sides]
        for query in script:
            answers = [console.exchange(build.build_query(query)) for console in consoles]
            theirs, ours = (Answer.of(query, messages) for messages in answers)
            found += [
                f"{query}: {difference}"
                for difference in differences(theirs, ours)
                if not is_meant(query, difference, older=older)
            ]
    assert not found, "\n".join(found)
