"""Session parameters that a client began with or set: they follow it, and nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import errors

from pgmux.wire import build
from pgmux.wire.parse import parse_parameter_status
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import Message, RawClient, error_of
from tests.fixtures.rotation import ROTATE, backend, open_servers

SERVERS = 3


def login(pooler: Pooler, database: str, **parameters: str) -> list[Message]:
    """The answer to a login with these parameters."""
    with RawClient(pooler) as client:
        start = {"user": "postgres", "database": database, **parameters}
        return client.exchange(build.build_startup_message(start))


def reported(messages: list[Message]) -> dict[str, str]:
    statuses = [parse_parameter_status(body) for kind, body in messages if kind == "S"]
    return {status.name: status.value for status in statuses}


def shown(client: RawClient, name: str) -> set[str | None]:
    """What SHOW says on each of the servers."""
    return {client.value(f"SHOW {name}") for _ in range(2 * SERVERS)}


PARAMETERS = [
    ("application_name", "billing"),
    ("application_name", """it's "quoted", with \\ and %s;"""),
    ("DateStyle", "German, DMY"),
    ("TimeZone", "Asia/Tokyo"),
    ("IntervalStyle", "iso_8601"),
    ("client_encoding", "LATIN1"),
    ("standard_conforming_strings", "off"),
    ("statement_timeout", "12345ms"),
    ("lock_timeout", "11s"),
    ("idle_in_transaction_session_timeout", "10min"),
    ("default_transaction_read_only", "on"),
    ("search_path", "a, b"),
    ("search_path", """ "we""ird, 'ü'", public"""),
    ("search_path", ", ".join(f"schema_number_{i}" for i in range(200))),
]


@pytest.mark.parametrize(("name", "value"), PARAMETERS)
def test_a_parameter_of_the_startup_packet_follows_its_client(
    rotating: Pooler, db: str, name: str, value: str
) -> None:
    with RawClient(rotating).start(db) as other, RawClient(rotating) as client:
        default = other.value(f"SHOW {name}")
        client.start(db, **{name: value})
        for _ in range(SERVERS):
            assert client.value(f"SHOW {name}") == value
            assert other.value(f"SHOW {name}") == default
        assert len({client.value("SELECT pg_backend_pid()") for _ in range(SERVERS)}) >= 2


@pytest.mark.parametrize(
    "options",
    ["-c lock_timeout=7s -csearch_path=a", "--lock_timeout=7s --search-path=a"],
)
def test_parameters_inside_options(rotating: Pooler, db: str, options: str) -> None:
    with RawClient(rotating).start(db, options=options) as client:
        assert shown(client, "lock_timeout") == {"7s"}
        assert shown(client, "search_path") == {"a"}


def test_options_with_escaped_spaces(rotating: Pooler, db: str) -> None:
    options = r"-c search_path=a,\ b -c application_name=back\\slash"
    with RawClient(rotating).start(db, options=options) as client:
        assert shown(client, "search_path") == {"a, b"}
        assert shown(client, "application_name") == {"back\\slash"}


def test_drivers_give_parameters_in_their_own_ways(rotating: Pooler, db: str) -> None:
    dsn = rotating.dsn(db, options="-c statement_timeout=9s", application_name="psycopg")
    with psycopg.connect(dsn) as connection:
        for _ in range(SERVERS):
            assert connection.execute("SHOW statement_timeout").fetchone() == ("9s",)
            assert connection.execute("SHOW application_name").fetchone() == ("psycopg",)
            connection.commit()

    async def talk() -> None:
        settings = {"statement_timeout": "8s", "search_path": "a,b", "application_name": "asyncpg"}
        connection = await asyncpg.connect(rotating.dsn(db), server_settings=settings)
        for _ in range(SERVERS):
            for name, value in settings.items():
                assert await connection.fetchval(f"SHOW {name}") == value
        await connection.close()

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("name", "written", "canonical"),
    [
        ("client_encoding", "utf-8", "UTF8"),
        ("client_encoding", "'utf-8'", "UTF8"),
        ("DateStyle", "iso", "ISO, MDY"),
        ("TimeZone", "europe/berlin", "Europe/Berlin"),
        ("standard_conforming_strings", "true", "on"),
    ],
)
def test_the_server_s_own_spelling_is_told_back(
    rotating: Pooler, db: str, name: str, written: str, canonical: str
) -> None:
    with RawClient(rotating) as client:
        start = {"user": "postgres", "database": db, name: written}
        known = reported(client.exchange(build.build_startup_message(start)))
        for _ in range(SERVERS):
            answer = client.exchange(build.build_query(f"SHOW {name}"))
            known |= reported(answer)
            assert known[name] == canonical
    assert reported(login(rotating, db, **{name: written}))[name] == canonical


def test_a_timeout_strikes_its_own_client_only(pooler: MakePooler) -> None:
    single = pooler(settings={"default_pool_size": 1})
    impatient = psycopg.connect(single.dsn(options="-c statement_timeout=20ms"), autocommit=True)
    patient = psycopg.connect(single.dsn(), autocommit=True)
    with impatient, patient:
        for _ in range(3):
            with pytest.raises(errors.QueryCanceled):
                impatient.execute("SELECT pg_sleep(5)")
            patient.execute("SELECT pg_sleep(0.04)")
        assert backend(impatient) == backend(patient)


def test_read_only_holds_for_its_own_client_only(pooler: MakePooler) -> None:
    single = pooler(settings={"default_pool_size": 1})
    dsn = single.dsn(options="-c default_transaction_read_only=on")
    with psycopg.connect(dsn) as reader, psycopg.connect(single.dsn()) as writer:
        for _ in range(3):
            with pytest.raises(errors.ReadOnlySqlTransaction):
                reader.execute("CREATE TABLE never (i int)")
            reader.rollback()
            writer.execute("CREATE TEMP TABLE here (i int) ON COMMIT DROP")
            writer.commit()


@pytest.mark.parametrize("command", ["RESET ALL", "DISCARD ALL"])
def test_reset_returns_to_the_client_s_own_startup_values(
    rotating: Pooler, db: str, command: str
) -> None:
    own = {"application_name": "own", "statement_timeout": "7s", "TimeZone": "Asia/Tokyo"}
    with RawClient(rotating).start(db) as other, RawClient(rotating).start(db, **own) as client:
        for sql in ("SET application_name = 'changed'", "SET TimeZone = 'UTC'", command):
            client.exchange(build.build_query(sql))
        for name, value in own.items():
            assert shown(client, name) == {value}
        assert shown(other, "application_name") == {""}
        assert shown(other, "statement_timeout") == {"0"}


def test_reset_of_one_parameter_returns_to_the_client_s_own_value(
    rotating: Pooler, db: str
) -> None:
    with RawClient(rotating).start(db, TimeZone="Asia/Tokyo", lock_timeout="7s") as client:
        for name in ("TimeZone", "lock_timeout"):
            client.exchange(build.build_query(f"RESET {name}"))
        assert shown(client, "TimeZone") == {"Asia/Tokyo"}
        assert shown(client, "lock_timeout") == {"7s"}


def test_what_a_client_sets_follows_it_to_every_server(rotating: Pooler, db: str) -> None:
    with RawClient(rotating).start(db) as client, RawClient(rotating).start(db) as other:
        for name in ("first", "it's the second", "Ω"):
            expected = client.exchange(build.build_query(f"SET application_name = $$__{name}$$"))
            value = reported(expected)["application_name"]
            assert shown(client, "application_name") == {value}
            assert shown(other, "application_name") == {""}


def test_other_sessions_see_the_application_name(rotating: Pooler, db: str) -> None:
    sql = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    with (
        RawClient(rotating).start(db, application_name="one") as one,
        RawClient(rotating).start(db, application_name="two") as two,
    ):
        for _ in range(SERVERS + 1):
            assert one.value(sql) == "one"
            assert two.value(sql) == "two"


def test_what_a_rolled_back_transaction_set_is_undone(rotating: Pooler, db: str) -> None:
    with RawClient(rotating).start(db, application_name="before") as client:
        for sql in ("BEGIN", "SET application_name = 'inside'"):
            client.exchange(build.build_query(sql))
        assert client.value("SHOW application_name") == "inside"
        told = reported(client.exchange(build.build_query("ROLLBACK")))
        assert told == {"application_name": "before"}
        assert shown(client, "application_name") == {"before"}


def test_set_local_ends_with_its_transaction(rotating: Pooler, db: str) -> None:
    with RawClient(rotating).start(db, lock_timeout="7s") as client:
        for sql in ("BEGIN", "SET LOCAL lock_timeout = '1s'", "COMMIT"):
            client.exchange(build.build_query(sql))
        assert shown(client, "lock_timeout") == {"7s"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"work_mem": "64MB"}, "unsupported startup parameter: work_mem"),
        (
            {"options": "-c work_mem=64MB"},
            "unsupported startup parameter in options: work_mem",
        ),
        (
            {"options": "-d 3"},
            "unsupported options startup parameter: "
            "only '-c config=val' and '--config=val' are allowed",
        ),
    ],
)
def test_an_unsupported_parameter_is_refused(
    rotating: Pooler, db: str, parameters: dict[str, str], message: str
) -> None:
    answer = login(rotating, db, **parameters)
    assert error_of(answer).message == message
    assert error_of(answer).sqlstate == "08P01"
    assert answer[-1][0] == ""


def test_ignored_parameters_are_accepted_and_dropped(pooler: MakePooler) -> None:
    ignoring = pooler(settings={"ignore_startup_parameters": "work_mem, extra_float_digits"})
    dropped: dict[str, Any] = {"options": "-c work_mem=64MB", "extra_float_digits": "1"}
    with RawClient(ignoring).start(**dropped) as client:
        assert client.value("SHOW work_mem") != "64MB"


def test_parameters_that_pgmux_names_are_tracked_too(pooler: MakePooler) -> None:
    extended = pooler(settings=ROTATE, pgmux={"startup_parameters": "work_mem, role"})
    open_servers(extended, "postgres", SERVERS)
    with RawClient(extended).start(work_mem="77MB") as client, RawClient(extended).start() as other:
        assert shown(client, "work_mem") == {"77MB"}
        assert shown(other, "work_mem") != {"77MB"}
    answer = login(extended, "postgres", statement_timeout="1s")
    assert error_of(answer).message == "unsupported startup parameter: statement_timeout"


def test_track_extra_parameters_is_honoured(pooler: MakePooler) -> None:
    tracking = pooler(
        settings=ROTATE | {"track_extra_parameters": "IntervalStyle"},
        pgmux={"startup_parameters": ""},
    )
    open_servers(tracking, "postgres", SERVERS)
    with RawClient(tracking).start(IntervalStyle="iso_8601") as client:
        assert shown(client, "IntervalStyle") == {"iso_8601"}


@pytest.mark.parametrize(
    "parameters",
    [{"statement_timeout": "soon"}, {"TimeZone": "Nowhere/Land"}, {"DateStyle": "nonsense"}],
)
def test_a_value_that_the_server_refuses_ends_that_client_alone(
    rotating: Pooler, db: str, parameters: dict[str, str]
) -> None:
    with RawClient(rotating) as client, RawClient(rotating).start(db) as other:
        client.send(build.build_startup_message({"user": "postgres", "database": db} | parameters))
        client.read_until()
        client.send(build.build_query("SELECT 1"))
        answer = client.read_until()
        assert "E" in [kind for kind, _ in answer]
        assert [other.value("SELECT 1") for _ in range(SERVERS)] == ["1"] * SERVERS


def test_an_empty_parameter(rotating: Pooler, db: str) -> None:
    with RawClient(rotating).start(db, application_name="") as client:
        assert shown(client, "application_name") == {""}
    with RawClient(rotating).start(db, options="") as client:
        assert client.value("SELECT 1") == "1"


def test_session_mode_gives_each_client_its_own_values(pooler: MakePooler) -> None:
    session = pooler(settings={"pool_mode": "session", "default_pool_size": 1})
    for value in ("3s", "4s", "5s"):
        with RawClient(session).start(lock_timeout=value, application_name=value) as client:
            assert client.value("SHOW lock_timeout") == value
            client.exchange(build.build_query("SET application_name = 'other'"))
            client.send(build.build_terminate())
    with RawClient(session).start() as client:
        assert client.value("SHOW lock_timeout") == "0"
        assert client.value("SHOW application_name") == ""
