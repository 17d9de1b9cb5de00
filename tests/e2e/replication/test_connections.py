"""Replication connections as psycopg2 opens them: what they set, count for, and how they end."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extras import LogicalReplicationConnection, PhysicalReplicationConnection

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.replication.conftest import USERS, OpenReplication
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

LOGICAL, PHYSICAL = LogicalReplicationConnection, PhysicalReplicationConnection
BOTH = pytest.mark.parametrize("kind", [LOGICAL, PHYSICAL], ids=["logical", "physical"])


def value(connection: Any, sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def is_open(connection: Any) -> bool:
    try:
        return value(connection, "SHOW application_name") is not None
    except psycopg2.Error:
        return False


def count(pooler: Pooler, state: str) -> int:
    """So many servers in a state."""
    return sum(row["state"] == state for row in pooler.console("SHOW SERVERS"))


def start(connection: Any, slot: str) -> Any:
    """A stream of a temporary slot, whose cursor answers."""
    cursor = connection.cursor()
    if isinstance(connection, LOGICAL):
        cursor.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL test_decoding")
        cursor.start_replication(slot_name=slot, decode=True)
    else:
        cursor.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY PHYSICAL RESERVE_WAL")
        cursor.start_replication(slot_name=slot)
    return cursor


@BOTH
def test_its_server_begins_with_what_the_client_sets(
    pgmux: Pooler, replicate: OpenReplication, kind: Any
) -> None:
    own = {"application_name": "walker", "options": "-c enable_seqscan=off -c work_mem=3MB"}
    connection = replicate(pgmux, kind, **own)
    settings = ("application_name", "enable_seqscan", "work_mem")
    assert [value(connection, f"SHOW {name}") for name in settings] == ["walker", "off", "3MB"]
    assert connection.get_parameter_status("application_name") == "walker"
    with psycopg.connect(pgmux.dsn(), autocommit=True) as ordinary:
        row = ordinary.execute("SELECT current_setting('enable_seqscan')").fetchone()
    assert row == ("on",)


@BOTH
def test_its_process_id_is_its_server_s(
    pgmux: Pooler, primary: EmbeddedPostgres, replicate: OpenReplication, kind: Any
) -> None:
    connection = replicate(pgmux, kind, application_name="whoami")
    pid = primary.psql("SELECT pid FROM pg_stat_replication WHERE application_name = 'whoami'")
    assert connection.info.backend_pid == int(pid)


def test_a_logical_one_takes_plain_sql_too_and_only_the_simple_protocol(
    pgmux: Pooler, replicate: OpenReplication
) -> None:
    connection = replicate(pgmux, LOGICAL)
    assert value(connection, "SELECT current_database()") == "postgres"
    assert value(connection, "IDENTIFY_SYSTEM")
    with psycopg.connect(pgmux.dsn(), replication="database", autocommit=True) as extended:
        with pytest.raises(psycopg.errors.ProtocolViolation, match="extended query protocol not"):
            extended.execute("SELECT %s", (1,))
        assert extended.execute("SELECT 1").fetchone() == (1,)


def test_a_physical_one_takes_no_sql_and_stays(pgmux: Pooler, replicate: OpenReplication) -> None:
    connection = replicate(pgmux, PHYSICAL)
    with pytest.raises(errors.FeatureNotSupported, match="WAL sender for physical replication"):
        value(connection, "SELECT 1")
    assert value(connection, "IDENTIFY_SYSTEM")


def test_changes_stream_with_their_confirmations(
    pgmux: Pooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    primary.psql("CREATE TABLE streamed (n int)")
    cursor = start(replicate(pgmux, LOGICAL, application_name="decoder"), "changes")
    primary.psql("INSERT INTO streamed SELECT * FROM generate_series(1, 1000)")
    found: list[str] = []

    def read() -> bool:
        while message := cursor.read_message():
            found.append(message.payload)
            message.cursor.send_feedback(flush_lsn=message.data_start, force=True)
        return any(line.startswith("COMMIT") for line in found)

    wait_until(read)
    rows = [line for line in found if line.startswith("table public.streamed: INSERT")]
    assert len(rows) == 1000
    confirmed = "SELECT flush_lsn = sent_lsn FROM pg_stat_replication"
    by_us = "WHERE application_name = 'decoder'"
    cursor.send_feedback(flush_lsn=cursor.wal_end, force=True)
    wait_until(lambda: primary.psql(f"{confirmed} {by_us}") == "t")


def test_a_stream_that_nobody_reads_costs_no_memory(
    pgmux: Pooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    primary.psql("CREATE TABLE large (t text)")
    cursor = start(replicate(pgmux, LOGICAL, application_name="slow"), "slow")
    # It doesn't compress, so a decoded row has its 1 MB.
    row = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 32768) i"
    primary.psql(f"INSERT INTO large SELECT ({row}) FROM generate_series(1, 24)")
    behind = "SELECT wait_event FROM pg_stat_activity WHERE application_name = 'slow'"
    wait_until(lambda: primary.psql(behind) == "WalSenderWriteData")
    sockets = pgmux.console("SHOW SOCKETS")
    assert max(row["send_avail"] for row in sockets) < 4 << 20
    size = 0

    def read() -> bool:
        nonlocal size
        while message := cursor.read_message():
            size += len(message.payload)
            if message.payload.startswith("COMMIT"):
                return size > 24 << 20
        return False

    wait_until(read, timeout=20)


def stop_and_start(dsn: str) -> list[object]:
    """What a client gets that ends two streams one after the other; libpq by hand, as psycopg2
    knows no end but its connection's.
    """
    answers: list[object] = []
    with psycopg.connect(dsn, replication="true", autocommit=True) as connection:
        pgconn = connection.pgconn
        connection.execute("CREATE_REPLICATION_SLOT twice TEMPORARY PHYSICAL RESERVE_WAL")
        for _ in range(2):
            pgconn.send_query(b"START_REPLICATION SLOT twice PHYSICAL 0/1000000")
            result = pgconn.get_result()
            assert result is not None and result.status == psycopg.pq.ExecStatus.COPY_BOTH
            pgconn.put_copy_end()
            while pgconn.get_copy_data(0)[0] > 0:
                pass
            while (result := pgconn.get_result()) is not None:
                answers.append((result.status, result.command_status))
        answers.append(connection.execute("READ_REPLICATION_SLOT twice").fetchall())
    return answers


def test_a_stream_ends_as_the_client_wants_and_the_connection_goes_on(
    pgmux: Pooler, primary: EmbeddedPostgres
) -> None:
    assert stop_and_start(pgmux.dsn()) == stop_and_start(primary.dsn())


@BOTH
def test_a_stream_is_no_query_to_timeouts_and_statistics(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication, kind: Any
) -> None:
    timeouts = dict.fromkeys(
        ("query_timeout", "transaction_timeout", "idle_transaction_timeout"), "0.3"
    )
    own = pooler(postgres=primary, settings=timeouts)
    cursor = start(replicate(own, kind), f"patient_{kind.__name__[:4].lower()}")
    with (
        psycopg.connect(own.dsn(), autocommit=True) as ordinary,
        pytest.raises(psycopg.OperationalError, match="query timeout"),
    ):
        ordinary.execute("SELECT pg_sleep(60)")  # the janitor has been there
    cursor.send_feedback(force=True)
    (row,) = (r for r in own.console("SHOW CLIENTS") if r["replication"] != "none")
    assert row["state"] == "active"
    assert own.console("SHOW STATS_TOTALS")[0]["query_count"] >= 2


# A server of its own


def test_nobody_else_gets_its_server_and_it_ends_with_its_client(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary)
    connection = replicate(own, LOGICAL)
    assert value(connection, "SELECT 1") == 1
    with psycopg.connect(own.dsn(), autocommit=True) as ordinary:
        ordinary.execute("SELECT 1")
        rows = {row["replication"]: row for row in own.console("SHOW SERVERS")}
        assert (rows["logical"]["state"], rows["none"]["state"]) == ("active", "idle")
        connection.close()
        wait_until(lambda: len(own.console("SHOW SERVERS")) == 1)
    assert "closing because: replication client was closed (age=" in own.log()


def test_the_log_and_show_say_which_kind(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary)
    _held = [replicate(own, kind) for kind in (LOGICAL, PHYSICAL)]
    for command in ("SHOW CLIENTS", "SHOW SERVERS"):
        kinds = {row["replication"] for row in own.console(command)}
        assert kinds - {"none"} == {"logical", "physical"}
    # psycopg2 gives a physical one the database "replication", as PostgreSQL's tools do.
    for parameters in (
        "db=postgres user=postgres tls=no replication=database",
        "db=replication user=postgres tls=no replication=yes",
    ):
        assert f"login attempt: {parameters}\n" in own.log()


def test_it_takes_a_place_of_its_pool_and_waits_for_one(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary, settings={"default_pool_size": 1})
    first = replicate(own, LOGICAL)
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(replicate, own, LOGICAL)
        wait_until(lambda: own.console("SHOW POOLS")[-1]["cl_waiting"] == 1)
        first.close()
        assert value(second.result(10), "SELECT 1") == 1


def test_an_idle_server_goes_for_it_where_the_pool_is_full(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary, settings={"default_pool_size": 1})
    with psycopg.connect(own.dsn(), autocommit=True) as ordinary:
        ordinary.execute("SELECT 1")
        assert value(replicate(own, LOGICAL), "SELECT 1") == 1
        assert "closing because: evicted" in own.log()


def test_a_refusal_is_told_in_the_server_s_words_and_concerns_nobody_else(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary, users=USERS)
    with pytest.raises(psycopg2.OperationalError, match=r"(?i)login failed: .*wal ?sender"):
        replicate(own, LOGICAL, user="app")
    with pytest.raises(psycopg2.OperationalError, match=r"login failed: pg_hba\.conf rejects"):
        replicate(own, PHYSICAL, user="mallory")
    assert own.log().count("closing because: login failed (age=") == 4  # a client and a server each
    for user in USERS:
        with psycopg.connect(own.dsn(user=user), autocommit=True) as ordinary:
            assert ordinary.execute("SELECT 1").fetchone() == (1,)


def test_an_unknown_kind_is_refused_as_postgresql_does(pgmux: Pooler) -> None:
    with pytest.raises(psycopg.OperationalError, match='invalid value for parameter "replication"'):
        psycopg.connect(pgmux.dsn(replication="maybe"))


# The ends of it


def test_a_cancel_request_ends_the_stream_and_not_the_connection(
    pgmux: Pooler, replicate: OpenReplication
) -> None:
    connection = replicate(pgmux, LOGICAL)
    cursor = start(connection, "cancelled")
    connection.cancel()

    def read() -> bool:
        try:
            cursor.read_message()
        except psycopg2.Error as error:
            assert "canceling statement due to user request" in str(error)
            return True
        return False

    wait_until(read)


def test_a_console_ends_it(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary)
    for number, (command, reason) in enumerate(
        [
            ("RECONNECT postgres", "database configuration changed"),
            ("KILL postgres", "database removed"),
        ]
    ):
        start(replicate(own, LOGICAL), f"ended_{number}")
        own.console(command)
        wait_until(lambda: not own.console("SHOW SERVERS"))
        assert f"closing because: {reason} (age=" in own.log()


def test_a_server_that_stops_waits_for_no_confirmation_that_is_stuck_here(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    with EmbeddedPostgres(settings=primary.settings, hba=primary.hba) as stopping:
        own = pooler(postgres=stopping)
        cursor = start(replicate(own, PHYSICAL), "last_words")
        stopping.psql("CREATE TABLE last_words (n int)")
        stopping._process.send_signal(2)  # fast; waits for walsenders

        def confirm() -> bool:
            try:
                while cursor.read_message():
                    cursor.send_feedback(flush_lsn=cursor.wal_end, force=True)
                cursor.send_feedback(flush_lsn=cursor.wal_end, force=True)
            except psycopg2.Error:
                return True
            return False

        wait_until(confirm)
        stopping.stop()


def test_sigterm_waits_for_a_replication_client_as_for_any(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary)
    connection = replicate(own, LOGICAL)
    own.send_signal(signal.SIGTERM)
    wait_until(lambda: "got SIGTERM, shutting down" in own.log())
    assert value(connection, "SELECT 1") == 1
    connection.close()
    wait_until(lambda: "client connections dropped, exiting" in own.log())


def test_an_hba_line_lets_a_physical_one_in_only_where_it_says_replication(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    lines = "local all all trust\nhost pgbouncer all all trust\nhost replication postgres all trust"
    gate = pooler(postgres=primary, hba=f"{lines}\nhost postgres app all trust\n", users=USERS)
    assert start(replicate(gate, PHYSICAL), "by_line") is not None
    for kind, user in ((LOGICAL, "postgres"), (PHYSICAL, "app")):
        with pytest.raises(psycopg2.OperationalError, match="no authentication method is found"):
            replicate(gate, kind, user)
    gate.hba = f"{lines}\nhost postgres postgres all md5\n"
    gate.reload()
    assert start(replicate(gate, LOGICAL), "by_name") is not None
