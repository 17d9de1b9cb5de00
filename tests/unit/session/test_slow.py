"""The log's lines about long transactions and long waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgmux.config import Config, PoolMode
from pgmux.session.slow import MAX_STATEMENT, read_statement
from pgmux.wire import build
from tests.unit.session.rig import ClientEnd, Rig, ServerEnd, configure, idle, linked

IN_TRANSACTION = ord("T")


def logging(
    mode: PoolMode = PoolMode.TRANSACTION,
    *,
    xact: float = 10.0,
    wait: float = 0.0,
    literals: bool = False,
    **settings: Any,
) -> Config:
    config = configure(mode, **settings)
    pgmux = replace(
        config.pgmux,
        log_min_transaction_duration=xact,
        log_min_wait_duration=wait,
        log_statement_literals=literals,
    )
    return replace(config, pgmux=pgmux)


def lines(rig: Rig, kind: str = "long ") -> list[str]:
    """What the log has said of that kind since the last look, without prefixes."""
    found = [line for line in rig.log.lines if kind in line]
    rig.log.lines.clear()
    return [line[line.index(kind) :] for line in found]


def begun(rig: Rig, sql: str = "BEGIN; SELECT 'x' = $1") -> tuple[ClientEnd, ServerEnd]:
    """A client in a transaction, whose server works on the statement."""
    client, server = idle(rig)
    client.query(sql)
    return client, server


# Transactions


def test_a_long_transaction_has_a_line_while_it_runs_and_one_at_its_end() -> None:
    rig = Rig(logging())
    client, server = begun(rig)
    rig.pass_time(9.0)
    assert lines(rig) == []
    rig.pass_time(1.5)
    rig.pass_time(5.0)
    circumstances = '(application ""; pool: 1 active, 0 idle, 0 waiting)'
    assert lines(rig) == [
        f"long transaction: 10.5 s so far, active {circumstances}: BEGIN; SELECT ? = $1"
    ]
    server.answer(status=IN_TRANSACTION)
    rig.pass_time(10.0)
    assert lines(rig) == []
    client.query("COMMIT")
    server.answer()
    assert lines(rig) == [f"long transaction: 25.5 s in all {circumstances}: COMMIT"]
    rig.pass_time(100.0)
    assert lines(rig) == []


def test_a_transaction_that_idles_is_said_to() -> None:
    rig = Rig(logging())
    _, server = begun(rig)
    rig.now += 2
    server.answer(status=IN_TRANSACTION)
    rig.pass_time(9.0)
    (line,) = lines(rig)
    assert line.startswith("long transaction: 11.0 s so far, idle in transaction for 9.0 s (")


def test_who_it_is_stands_in_the_line() -> None:
    rig = Rig(logging())
    client = rig.enter({"application_name": "shop\n\x1b[0m" + "x" * 100})
    client.query()
    rig.log_in()
    rig.log.lines.clear()
    rig.pass_time(11.0)
    (line,) = rig.log.lines
    name = f"C-{client.relay.owner.id:#x}: app/bob@10.0.0.9:4711 long transaction: "
    assert line.startswith(name)
    assert '(application "shop??[0mxxx' in line and "\x1b" not in line


def test_the_next_transaction_of_the_client_is_another() -> None:
    rig = Rig(logging())
    client, server = begun(rig)
    rig.pass_time(11.0)
    server.answer()
    assert len(lines(rig)) == 2
    client.query()
    rig.pass_time(5.0)
    assert lines(rig) == []
    rig.pass_time(6.0)
    assert len(lines(rig)) == 1


def test_a_short_transaction_has_no_line() -> None:
    rig = Rig(logging())
    _, server = begun(rig)
    rig.now += 9.9
    server.answer()
    assert lines(rig) == []


@pytest.mark.parametrize("end", ["client", "server"])
def test_a_transaction_that_breaks_off_has_its_line(end: str) -> None:
    rig = Rig(logging())
    client, server = begun(rig)
    rig.now += 12
    (client if end == "client" else server).lose()
    (line,) = lines(rig)
    assert line.startswith("long transaction: 12.0 s in all (")


def test_without_a_threshold_nothing_is_said_and_no_text_is_kept() -> None:
    rig = Rig(logging(xact=0.0))
    client, server = begun(rig)
    assert client.relay.request is None
    rig.pass_time(1000.0)
    server.answer()
    assert lines(rig) == []


def test_a_reload_switches_it_on_and_off() -> None:
    rig = Rig(logging(xact=0.0))
    client, _ = begun(rig)
    rig.pooler.use_config(logging())
    rig.pass_time(11.0)
    assert len(lines(rig)) == 1
    client.query("SELECT 2")
    assert client.relay.request is not None
    rig.pooler.use_config(logging(xact=0.0))
    assert client.relay.request is None
    rig.pass_time(11.0)
    assert lines(rig) == []


def test_in_session_mode_each_transaction_counts_for_itself() -> None:
    rig = Rig(logging(PoolMode.SESSION))
    client, server = linked(rig)
    server.answer()
    rig.pass_time(60.0)
    assert lines(rig) == []
    client.query("SELECT 1")
    rig.pass_time(11.0)
    server.answer()
    assert [line[:30] for line in lines(rig)] == [
        "long transaction: 11.0 s so fa",
        "long transaction: 11.0 s in al",
    ]


def test_who_has_gone_is_not_kept_for_the_log() -> None:
    rig = Rig(logging())
    client, _ = begun(rig)
    rig.pass_time(11.0)
    assert client.relay in rig.control().slow._said
    client.lose()
    assert rig.control().slow._said == {}


def test_in_a_flood_no_statement_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(logging())
    monkeypatch.setattr(rig.log, "is_flooded", lambda kind: kind == "long transaction")
    begun(rig)
    rig.pass_time(11.0)
    (line,) = lines(rig)
    assert line.endswith("0 waiting)")


# Statements


def statement(*messages: bytes, literals: bool = False, before: bytes = b"") -> str:
    """What the line of a long transaction shows that sends these."""
    rig = Rig(logging(literals=literals, max_prepared_statements=10))
    client, server = idle(rig)
    if before:
        client.send(before)
        server.send(build.build_parse_complete(), build.build_ready_for_query())
    client.send(*messages)
    rig.pass_time(11.0)
    (line,) = lines(rig)
    return line.partition("waiting)")[2].removeprefix(": ")


SYNC = b"S\0\0\0\4"
EXECUTE = build.build_execute()


def test_literals_are_shown_where_that_is_wanted() -> None:
    query = build.build_query("SELECT 'hunter2'\n, 5")
    assert statement(query) == "SELECT ? , ?"
    assert statement(query, literals=True) == "SELECT 'hunter2'\n, 5"


def test_a_long_statement_is_cut() -> None:
    shown = statement(build.build_query("SELECT " + "c, " * 50_000))
    assert shown.startswith("SELECT c, c,") and len(shown) == MAX_STATEMENT + 1
    shown = statement(build.build_query("SELECT '" + "c" * 50_000), literals=True)
    assert len(shown) == MAX_STATEMENT + 1


def test_of_a_pipeline_the_last_statement_is_shown() -> None:
    parse, bind = build.build_parse, build.build_bind
    first = parse("", "BEGIN") + bind("", "") + EXECUTE
    assert statement(first, parse("", "SELECT 1"), bind("", ""), EXECUTE, SYNC) == "SELECT ?"


def test_a_prepared_statement_is_shown_by_its_text() -> None:
    bind = build.build_bind("", "s") + EXECUTE + SYNC
    prepared = build.build_parse("s", "SELECT a + 7") + SYNC
    assert statement(bind, before=prepared) == "SELECT a + ?"


def test_one_that_is_not_known_is_not_made_up() -> None:
    assert statement(build.build_bind("", "s") + EXECUTE + SYNC) == "(a prepared statement)"


def test_the_rest_of_a_long_message_is_no_statement() -> None:
    """It may look like one, and be the inside of a literal."""
    rig = Rig(logging())
    client, _ = idle(rig)
    inside = build.build_query("SELECT hunter2")
    message = build.build_query("INSERT INTO t VALUES ('" + "x" * 100 + "Q") + b""
    whole = message[:-1] + inside + b"'\0"
    whole = whole[:1] + (len(whole) - 1).to_bytes(4, "big") + whole[5:]
    cut = len(message) - 1
    client.send(whole[:cut])
    client.send(whole[cut:])
    rig.pass_time(11.0)
    (line,) = lines(rig)
    assert "hunter2" not in line and line.endswith(": INSERT INTO t VALUES (? …")


def test_a_message_cut_anywhere_shows_no_more_than_its_beginning() -> None:
    message = build.build_query("SELECT 'hunter2'")
    for cut in range(1, len(message)):
        rig = Rig(logging())
        client, _ = idle(rig)
        client.send(message[:cut])
        client.send(message[cut:])
        rig.pass_time(11.0)
        (line,) = lines(rig)
        assert "hunter" not in line


def test_a_hostile_request_is_read_to_a_bound() -> None:
    rig = Rig()
    client, _ = idle(rig)
    client.relay.request = b"Q\0\0\0\0"  # a length that can't be
    assert read_statement(client.relay) == ""
    client.relay.request = b"H\0\0\0\4" * 50_000 + build.build_query("SELECT 1")
    assert read_statement(client.relay) == ""


# Waits


def test_a_long_wait_has_a_line_when_it_is_over() -> None:
    rig = Rig(logging(xact=0.0, wait=2.0, default_pool_size=1))
    _, server = linked(rig)
    rig.enter({"application_name": "shop"}).query()
    rig.enter().query()
    rig.pass_time(2.5)
    assert lines(rig) == []
    server.answer()
    assert lines(rig) == [
        'long wait: 2.5 s for a server (application "shop"; pool: 1 active, 0 idle, 1 waiting)'
    ]


def test_a_short_wait_has_no_line() -> None:
    rig = Rig(logging(xact=0.0, wait=2.0, default_pool_size=1))
    _, server = linked(rig)
    rig.enter().query()
    rig.now += 1.9
    server.answer()
    assert lines(rig) == []


def test_a_wait_is_no_part_of_the_transaction() -> None:
    rig = Rig(logging(xact=5.0, wait=2.0, default_pool_size=1))
    _, holder = linked(rig)
    waiter = rig.enter()
    waiter.query()
    rig.now += 4.9
    holder.answer()
    assert len(lines(rig, "long wait")) == 1
    rig.pass_time(4.0)
    holder.answer()
    assert lines(rig) == []
    waiter.query()
    rig.pass_time(6.0)
    holder.answer()
    assert [line[:23] for line in lines(rig)] == ["long transaction: 6.0 s"] * 2


def test_who_only_waited_had_no_transaction() -> None:
    rig = Rig(logging(xact=2.0, wait=0.0, default_pool_size=1))
    linked(rig)
    rig.log.lines.clear()
    waiter = rig.enter()
    waiter.query()
    rig.now += 1.5
    waiter.lose()
    assert lines(rig) == []


def test_a_wait_for_the_pools_first_server_counts() -> None:
    rig = Rig(logging(wait=2.0))
    rig.enter({"application_name": "early"})
    rig.now += 3
    rig.log_in()
    (line,) = lines(rig)
    assert line.startswith('long wait: 3.0 s for a server (application "early";')


def test_a_wait_in_vain_has_its_line() -> None:
    rig = Rig(logging(wait=2.0, default_pool_size=1, query_wait_timeout=5.0))
    linked(rig)
    rig.enter().query()
    rig.pass_time(6.0)
    assert lines(rig)[0].startswith("long wait: 6.0 s for a server, in vain (")


def test_a_wait_that_is_canceled_has_its_line() -> None:
    rig = Rig(logging(wait=2.0))
    client, _ = idle(rig)
    rig.control().hold(True)
    client.query()
    rig.now += 3
    info = client.relay.owner
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, lambda reason: None)
    assert lines(rig)[0].startswith("long wait: 3.0 s for a server, in vain (")


def test_the_poolers_own_lookups_have_no_line() -> None:
    rig = Rig(logging(wait=2.0))
    rig.enter()
    relay = rig.control().pool.lists.waiting_clients()[0]
    relay.owner.is_lookup = True
    rig.control().slow.on_served(relay, 5.0)
    assert lines(rig) == []
