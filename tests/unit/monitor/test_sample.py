"""A sample: what pgmux and an old PgBouncer tell, and what isn't an answer."""

from __future__ import annotations

import asyncio

import pytest

from pgmux.monitor.console import ConsoleGone, ConsoleRefused
from pgmux.monitor.reading import UnreadableAnswer
from pgmux.monitor.sample import Sample, take_connections, take_sample
from pgmux.monitor.tables import Buckets
from tests.fixtures.scripted_console import NEW, OLD, Row, ScriptedConsole, table


def take(answers: dict[str, list[Row]], now: float = 10.0) -> Sample:
    return asyncio.run(take_sample(ScriptedConsole(answers), now))


def changed(name: str, column: str, value: str | None) -> dict[str, list[Row]]:
    """What pgmux answers, with another value in the first row of a table."""
    first, *others = NEW[name]
    return NEW | {name: [first | {column: value}, *others]}


def test_pgmux_tells_everything() -> None:
    sample = take(NEW)
    assert sample.not_told == frozenset()
    assert (sample.taken_at, sample.version, sample.state) == (10.0, "PgBouncer 1.25.2", "active")
    assert sample.pools[0].maxwait == 1.5
    assert sample.pools[0].servers == 6
    assert sample.databases[1].disabled
    assert sample.stats[0].xact_time == 5.0
    assert sample.apps[0].server_time == 6.0
    assert sample.histograms[0].buckets == ((1, 50), (16, 49), (20480, 1))
    assert (sample.errors[1].error, sample.errors[1].count) == ("unique_violation", 5)
    assert sample.connects[1].reason == "client close request"
    assert [(row.role, row.server_pid) for row in sample.waiters] == [
        ("waiting", None),
        ("holding", 4711),
    ]
    assert [row.max_connections for row in sample.hosts] == [100, None]
    assert not sample.readiness[0].ready
    assert sample.lists["used_clients"] == 6
    assert sample.limits.max_client_conn == 100
    assert sample.limits.query_wait_timeout == 120.0


def test_an_old_pgbouncer_leaves_out_what_it_does_not_have() -> None:
    sample = take(OLD)
    assert sample.not_told == frozenset(
        ["STATE", "APPS", "HISTOGRAMS", "ERRORS", "CONNECTS", "WAITERS", "HOSTS", "READINESS"]
    )
    assert sample.state is None
    assert sample.apps == sample.histograms == sample.waiters == ()
    assert sample.stats[0].server_assignment_count is None
    assert sample.databases[1].max_client_connections is None


def test_a_column_is_found_by_its_former_name() -> None:
    assert take(OLD).databases[1].reserve_pool_size == take(NEW).databases[1].reserve_pool_size == 5


def test_columns_that_nobody_knows_are_passed_over() -> None:
    answers = NEW | {"POOLS": [row | {"sv_dreaming": "4"} for row in NEW["POOLS"]]}
    assert take(answers).pools == take(NEW).pools


def test_a_users_pool_size_comes_before_the_databases() -> None:
    assert take(OLD).pool_sizes()["app", "web"] == 20
    assert take(NEW).pool_sizes()["app", "web"] == 9


@pytest.mark.parametrize(
    ("name", "column", "value", "said"),
    [
        ("POOLS", "sv_idle", "many", "SHOW POOLS: sv_idle of row 1 is 'many': not a whole number"),
        ("POOLS", "sv_idle", None, "SHOW POOLS: sv_idle of row 1 is NULL: not a whole number"),
        ("POOLS", "sv_idle", "9" * 50, f"is '{'9' * 40}\\u2026': not a whole"),
        ("POOLS", "sv_idle", "\x1b[2J", "is '\\x1b[2J': not a whole number"),
        ("POOLS", "maxwait", "nan", "maxwait of row 1 is 'nan': not a number"),
        ("STATS_TOTALS", "wait_time", "1e400", "is '1e400': not a number"),
        ("HISTOGRAMS", "buckets", "8:1,8:1", "not in ascending order"),
        ("HISTOGRAMS", "buckets", "8:-1", "not a list of upper_bound:count"),
        ("HISTOGRAMS", "buckets", "8:1:2", "not a list of upper_bound:count"),
        ("HISTOGRAMS", "buckets", "8,9", "not a list of upper_bound:count"),
        ("LISTS", "items", "few", "SHOW LISTS: databases is 'few': not a whole number"),
        ("LISTS", "list", None, "SHOW LISTS: a row without list or items"),
        ("CONFIG", "value", "lots", "SHOW CONFIG: max_client_conn is 'lots'"),
        ("CONFIG", "key", "other", "SHOW CONFIG: there is no max_client_conn"),
    ],
)
def test_an_answer_that_is_none_is_told_by_its_place(
    name: str, column: str, value: str | None, said: str
) -> None:
    with pytest.raises(UnreadableAnswer) as caught:
        take(changed(name, column, value))
    assert said in str(caught.value)


def test_a_missing_column_is_told() -> None:
    rows = [{key: value for key, value in row.items() if key != "sv_idle"} for row in NEW["POOLS"]]
    with pytest.raises(UnreadableAnswer, match="SHOW POOLS: there is no column sv_idle"):
        take(NEW | {"POOLS": rows})


def test_rows_of_different_columns_are_no_answer() -> None:
    with pytest.raises(UnreadableAnswer, match="SHOW POOLS: there is no column user"):
        take(NEW | {"POOLS": [NEW["POOLS"][0], {"database": "app"}]})


def test_an_empty_histogram_has_no_buckets() -> None:
    assert take(changed("HISTOGRAMS", "buckets", "")).histograms[0].buckets == Buckets(())


def test_a_console_that_refuses_what_all_have_is_an_error() -> None:
    with pytest.raises(ConsoleRefused, match="SHOW POOLS"):
        take({name: rows for name, rows in NEW.items() if name != "POOLS"})


def test_a_console_that_is_gone_is_an_error() -> None:
    console = ScriptedConsole(NEW)
    console.gone = "no connection"
    with pytest.raises(ConsoleGone):
        asyncio.run(take_sample(console, 0.0))


def test_only_shows_are_asked() -> None:
    console = ScriptedConsole(NEW)
    asyncio.run(take_sample(console, 0.0))
    assert all(sql.startswith("SHOW ") for sql in console.asked)
    assert len(set(console.asked)) == len(console.asked)


CONNECTIONS = table(
    """
    type user database state addr port local_addr local_port connect_time request_time \
    wait wait_us close_needed ptr link remote_pid tls application_name
    C web app active 10.0.0.1 40001 10.0.0.9 6432 today today 2 250000 0 0x1 0x2 0 '' worker
    C web other active 10.0.0.1 40002 10.0.0.9 6432 today today 0 0 0 0x3 '' 0 '' worker
    """
)


def test_the_connections_of_a_pool_are_its_own() -> None:
    console = ScriptedConsole(NEW | {"CLIENTS": CONNECTIONS, "SERVERS": []})
    found = asyncio.run(take_connections(console, take(NEW), ("app", "web")))
    assert [(row.port, row.wait, row.id) for row in found.clients] == [(40001, 2.25, None)]
    assert found.servers == ()


def test_a_client_of_a_forced_user_is_in_that_users_pool() -> None:
    console = ScriptedConsole(NEW | {"CLIENTS": CONNECTIONS, "SERVERS": CONNECTIONS})
    first, second = NEW["DATABASES"]
    sample = take(NEW | {"DATABASES": [first, second | {"force_user": "owner"}]})
    found = asyncio.run(take_connections(console, sample, ("app", "owner")))
    assert [row.port for row in found.clients] == [40001]
    assert found.servers == ()  # whose rows have the pool's user
