"""Who does what: applications, what each of them has done, and that there can't be too many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.config import PgmuxSettings, PoolMode
from pgmux.daemon.activity import app_rows, histogram_rows
from pgmux.metrics.snapshot import AppRow, HistogramRow
from pgmux.session.apps import clean_name
from pgmux.wire import build, codes
from tests.unit.session.rig import ClientEnd, Rig, configure, idle, linked


def apps(rig: Rig) -> dict[str, AppRow]:
    return {row.application_name: row for row in app_rows(rig.pooler) if row is not None}


def named(rig: Rig, name: str, user: str = "bob") -> ClientEnd:
    client = rig.enter({"application_name": name}, user=user)
    client.messages()
    return client


def histograms(rig: Rig) -> dict[str, HistogramRow]:
    return {row.histogram: row for row in histogram_rows(rig.pooler)}


def with_most(count: int) -> Rig:
    rig = Rig(replace(configure(), pgmux=PgmuxSettings(max_applications=count)))
    first, _ = idle(rig)
    first.send(build.build_terminate())
    return rig


# What is counted


def test_an_application_is_what_its_clients_do_together() -> None:
    rig = Rig()
    _, server = idle(rig)
    for _ in range(2):
        client = named(rig, "billing")
        client.query()
        rig.pass_moment(0.25)
        server.accept(application_name="billing")
        rig.pass_moment(0.25)
        server.answer()
    row = apps(rig)["billing"]
    assert (row.cl_active, row.cl_waiting, row.sv_active) == (2, 0, 0)
    assert (row.xact_count, row.query_count, row.error_count) == (2, 2, 0)
    assert row.client_bytes == 2 * len(b"Q----SELECT 1-")
    assert row.server_bytes > 0
    assert row.max_xact_time == pytest.approx(0.5)


def test_time_with_a_server_is_counted_up_to_its_release_and_while_it_lasts() -> None:
    rig = Rig()
    _, server = linked(rig)
    rig.pass_moment(2.0)
    (row,) = apps(rig).values()
    assert (row.sv_active, row.server_time, row.open_xact_time) == (1, 2.0, 2.0)
    server.answer()
    rig.pass_moment(5.0)
    (row,) = apps(rig).values()
    assert (row.sv_active, row.server_time, row.open_xact_time) == (0, 2.0, 0.0)
    assert row.max_xact_time == 2.0


def test_time_idle_in_a_transaction_is_counted_and_seen_before_it_is_over() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer("BEGIN", codes.TRANSACTION_BLOCK)
    rig.pass_moment(3.0)
    (row,) = apps(rig).values()
    assert (row.sv_idle_in_xact, row.idle_xact_time) == (1, 3.0)
    client.query("COMMIT")
    rig.pass_moment(1.0)
    (row,) = apps(rig).values()
    assert (row.sv_idle_in_xact, row.idle_xact_time, row.server_time) == (0, 3.0, 4.0)
    server.answer("COMMIT")
    (row,) = apps(rig).values()
    assert (row.idle_xact_time, row.server_time, row.xact_count) == (3.0, 4.0, 1)


def test_a_client_that_goes_within_its_transaction_has_had_it_that_long() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer("BEGIN", codes.TRANSACTION_BLOCK)
    rig.pass_moment(7.0)
    client.lose()
    (row,) = apps(rig).values()
    assert (row.cl_active, row.max_xact_time, row.idle_xact_time, row.server_time) == (0, 7, 7, 7)


def test_who_waits_is_told_from_who_makes_it_wait() -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = idle(rig)
    hog = named(rig, "hog")
    hog.query()
    server.accept(application_name="hog")
    waiter = named(rig, "waiter")
    waiter.query()
    for _ in range(4):
        rig.pass_time(0.5)
    rows = apps(rig)
    assert (rows["waiter"].cl_waiting, rows["waiter"].cl_active, rows["hog"].cl_active) == (1, 0, 1)
    assert (rows["waiter"].wait_time, rows["waiter"].wait_caused_time) == (2.0, 0.0)
    assert (rows["hog"].wait_time, rows["hog"].wait_caused_time) == (0.0, 2.0)
    server.answer()
    rig.pass_moment(1.0)
    assert apps(rig)["waiter"].wait_time == 2.0


def test_who_waits_in_vain_has_waited_and_had_no_transaction() -> None:
    rig = Rig(configure(default_pool_size=1, query_wait_timeout=5))
    linked(rig)
    late = named(rig, "late")
    late.query()
    rig.pass_time(6.0)
    assert late.is_closed
    row = apps(rig)["late"]
    assert (row.wait_time, row.max_xact_time, row.error_count) == (6.0, 0.0, 1)


def test_who_cancels_its_wait_has_waited_and_got_an_error() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    late = named(rig, "late")
    late.query()
    rig.pass_moment(2.0)
    rig.control().cancel_waiting(late.relay)
    row = apps(rig)["late"]
    assert (row.wait_time, row.error_count, row.cl_waiting) == (2.0, 1, 0)


def test_a_session_that_renames_itself_has_held_its_server_as_both() -> None:
    rig = Rig(configure(PoolMode.SESSION))
    client, server = linked(rig)
    rig.pass_moment(2.0)
    server.report("application_name", "new")
    server.answer("SET")
    rig.pass_moment(3.0)
    assert {name: row.server_time for name, row in apps(rig).items()} == {"": 2.0, "new": 3.0}
    client.lose()
    assert {name: row.server_time for name, row in apps(rig).items()} == {"": 2.0, "new": 3.0}


def test_errors_of_the_server_and_of_the_pooler_are_its_applications() -> None:
    rig = Rig(configure(query_timeout=1))
    client, server = linked(rig)
    server.fail()
    server.answer()
    client.query()
    rig.pass_time(2.0)
    assert client.is_closed
    (row,) = apps(rig).values()
    assert row.error_count == 2


def test_who_renames_itself_is_the_other_application_from_then_on() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.report("application_name", "new")
    server.answer("SET")
    rows = apps(rig)
    assert (rows[""].cl_active, rows["new"].cl_active) == (0, 1)
    client.query()
    rig.pass_moment(1.0)
    assert apps(rig)["new"].sv_active == 1


def test_the_same_name_of_two_users_is_two_applications() -> None:
    rig = Rig()
    idle(rig)
    named(rig, "web", "bob")
    named(rig, "web", "eve")
    rows = [row for row in app_rows(rig.pooler) if row is not None and row.application_name]
    assert [(row.user, row.cl_active + row.cl_waiting) for row in rows] == [("bob", 1), ("eve", 1)]


# Names are strangers' text


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("billing", "billing"),
        ("", ""),
        ("bell\a\x1b[31m\n", "bell??[31m?"),
        ("rtl\u202egnp", "rtl?gnp"),
        ("lone\udcff", "lone?"),
        ("x" * 1_000_000, "x" * 63),
        ("naïve 日本", "naïve 日本"),
    ],
)
def test_a_name_is_printable_and_not_long(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_the_address_that_the_pooler_put_behind_a_name_is_no_part_of_it() -> None:
    assert clean_name("a - b - 10.0.0.1:4711", has_host=True) == "a - b"
    assert clean_name("a - b") == "a - b"


def test_a_new_name_for_each_connection_pushes_out_only_those_that_have_gone() -> None:
    rig = with_most(3)
    stays = named(rig, "stays")
    for i in range(100):
        gone = named(rig, f"new {i}")
        gone.send(build.build_terminate())
    rows = apps(rig)
    assert set(rows) == {"stays", "new 98", "new 99", "other"}
    assert rows["stays"].cl_active == 1
    assert not stays.is_closed


def test_what_has_been_pushed_out_is_counted_as_other() -> None:
    rig = with_most(1)
    gone = named(rig, "gone")
    gone.send(build.build_terminate())
    before = sum(row.client_bytes for row in apps(rig).values())
    named(rig, "next")
    rows = apps(rig)
    assert set(rows) == {"next", "other"}
    assert sum(row.client_bytes for row in rows.values()) == before
    assert rows["other"].xact_count == 1  # of the rig's first client


def test_who_comes_when_all_places_are_taken_is_other_until_one_is_free() -> None:
    rig = with_most(1)
    first = named(rig, "first")
    second = named(rig, "second")
    assert {name: row.cl_active for name, row in apps(rig).items()} == {"first": 1, "other": 1}
    first.send(build.build_terminate())
    second.send(build.build_terminate())
    named(rig, "second")
    assert {name: row.cl_active for name, row in apps(rig).items()} == {"second": 1, "other": 0}


def test_an_application_that_calls_itself_other_is_counted_with_the_others() -> None:
    rig = with_most(1)
    named(rig, "first")
    for name in ("other", "second"):
        named(rig, name)
    rows = [row for row in app_rows(rig.pooler) if row is not None]
    assert [(row.application_name, row.cl_active) for row in rows] == [("first", 1), ("other", 2)]


def test_a_lower_limit_counts_whoever_is_gone_together() -> None:
    rig = with_most(10)
    for i in range(5):
        named(rig, f"app {i}").send(build.build_terminate())
    rig.pooler.use_config(replace(rig.pooler.config, pgmux=PgmuxSettings(max_applications=1)))
    assert set(apps(rig)) == {"app 4", "other"}


def test_nothing_is_left_of_applications_when_their_pool_goes() -> None:
    rig = with_most(5)
    named(rig, "a").send(build.build_terminate())
    control = rig.control()
    for server in control.pool.lists.all_servers():
        control.close_server(server, "test")
    for client in control.pool.lists.active_clients():
        control.close_client(client, "test")
    rig.pooler.drop_pool(control)
    assert rig.pooler.apps.places == {}


# Histograms


def test_each_wait_transaction_and_query_is_in_its_histogram() -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = linked(rig)
    late = rig.enter()
    late.query()
    rig.pass_moment(0.01)
    server.answer()
    rig.pass_moment(0.02)
    server.answer()
    rows = histograms(rig)
    assert {name: row.count for name, row in rows.items()} == {"wait": 2, "xact": 2, "query": 2}
    assert rows["wait"].sum == pytest.approx(0.01)
    assert rows["wait"].buckets.startswith("1:1,")  # who found its server idle
    assert rows["xact"].sum == pytest.approx(0.04)
    assert 10_000 < rows["xact"].p50 <= 12_500
    assert 30_000 < rows["xact"].p99 <= 37_500


def test_a_transaction_of_several_queries_is_one() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer("BEGIN", codes.TRANSACTION_BLOCK)
    client.query("COMMIT")
    server.answer("COMMIT")
    assert {name: row.count for name, row in histograms(rig).items()} == {
        "wait": 1,
        "xact": 1,
        "query": 2,
    }
