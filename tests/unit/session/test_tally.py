"""What is counted by reason: who comes and goes, and what clients are told."""

from __future__ import annotations

import pytest

from pgmux.config import Database
from pgmux.pool.states import SV_IDLE
from pgmux.session import operator
from pgmux.session.tally import Tally
from pgmux.wire import build
from pgmux.wire.sqlstate import CONDITIONS
from tests.unit.session.rig import Rig, configure, idle, linked, with_databases


def errors(rig: Rig, database: str = "app") -> dict[tuple[str, str, str], int]:
    found = rig.pooler.tallies.find(database).errors
    return {key: error.count for key, error in found.items()}


def ends(rig: Rig, side: str, database: str = "app") -> dict[str, int]:
    return dict(rig.pooler.tallies.find(database).ends[side])


def connects(rig: Rig, side: str, database: str = "app") -> dict[str, int]:
    return dict(rig.pooler.tallies.find(database).connects[side])


# Errors


def test_an_error_of_the_server_counts_by_its_condition() -> None:
    rig = Rig()
    _, server = linked(rig)
    server.fail("23505", 'duplicate key "alice"')
    rig.now += 5
    server.fail("23505", "once more")
    server.fail("23ABC", "never heard of")
    server.fail("MY001", "RAISE what you like")
    assert errors(rig) == {
        ("server", "23505", "unique_violation"): 2,
        ("server", "23000", "integrity_constraint_violation"): 1,
        ("server", "", "other"): 1,
    }
    found = rig.pooler.tallies.find("app").errors[("server", "23505", "unique_violation")]
    assert found.last_at == rig.now


def test_an_error_too_long_to_be_looked_at_counts_too() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.fail("54000", "x" * 100_000)
    server.send(build.build_ready_for_query())
    assert errors(rig) == {("server", "54000", "program_limit_exceeded"): 1}
    assert client.error()[1] == "54000"


def test_the_last_words_of_an_idle_server_count() -> None:
    rig = Rig()
    _, server = idle(rig)
    server.send(build.build_error_response("FATAL", "57P01", "terminating", with_v=True))
    assert errors(rig) == {("server", "57P01", "admin_shutdown"): 1}


def test_what_the_pooler_tells_a_client_counts_without_names() -> None:
    rig = Rig(configure(query_wait_timeout=10.0, default_pool_size=1))
    linked(rig)
    rig.enter().query()
    rig.pass_time(11)
    assert errors(rig) == {("pooler", "08P01", "query_wait_timeout"): 1}
    assert ends(rig, "client") == {"query_wait_timeout": 1}


def test_who_is_told_nothing_is_not_told_an_error() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.send(b"D\0\0\1\0")  # the beginning of a row
    server.lose()
    assert client.is_closed
    assert errors(rig) == {}
    assert ends(rig, "client") == ends(rig, "server") == {"server conn crashed?": 1}


def test_a_crash_is_told_and_counted() -> None:
    rig = Rig()
    _, server = linked(rig)
    server.lose()
    assert errors(rig) == {("pooler", "08P01", "server conn crashed?"): 1}


def test_a_refused_server_login_counts_for_the_server_and_for_who_is_told() -> None:
    rig = Rig()
    rig.enter().query()
    rig.refuse("secret words", sqlstate="28P01", message="secret words", from_server=True)
    assert errors(rig) == {
        ("server", "28P01", "invalid_password"): 1,
        ("pooler", "28P01", "server login failed"): 1,
    }
    assert ends(rig, "client") == {"server login failed": 1}


def test_canceling_a_waiting_client_is_an_error_that_it_is_told() -> None:
    rig = Rig()
    client, _ = idle(rig)
    info = client.relay.owner
    rig.control().hold(True)
    client.query()
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, lambda reason: None)
    error = ("pooler", "57014", "canceling statement due to user request")
    assert errors(rig) == {error: 1}


def test_whatever_servers_send_the_number_of_counts_is_bounded() -> None:
    tally = Tally()
    for number in range(3000):
        code = f"{number:05d}"
        tally.on_condition(code, 1.0)
        tally.on_told(code, f"no such database: {number}", 1.0)
        tally.on_end("client", f"made up {number}")
        tally.on_end("server", f"made up {number}")
    assert len(tally.errors) < 2 * len(CONDITIONS)
    assert sum(error.count for error in tally.errors.values()) == 6000
    assert dict(tally.ends["client"]) == {"server login failed": 3000}
    assert dict(tally.ends["server"]) == {"login failed": 3000}


# Connects and disconnects


def test_servers_come_and_go_for_a_reason() -> None:
    rig = Rig(configure(server_idle_timeout=60.0))
    idle(rig)
    assert connects(rig, "server") == {"login": 1}
    rig.pass_time(61)
    assert rig.servers(SV_IDLE) == []
    assert ends(rig, "server") == {"server idle timeout": 1}


@pytest.mark.parametrize("busy", [False, True])
def test_a_client_that_says_goodbye_counts_on_both_ways_out(busy: bool) -> None:
    rig = Rig()
    client, _ = linked(rig) if busy else idle(rig)
    client.send(b"X\0\0\0\4")
    assert ends(rig, "client") == {"client close request": 1}


def test_all_that_came_has_gone_or_is_there() -> None:
    rig = Rig()
    clients = [rig.enter() for _ in range(5)]
    clients[0].query()
    rig.log_in()
    clients[0].lose()
    clients[1].send(b"X\0\0\0\4")
    clients[2].send(b"!\0\0\0\4")
    control = rig.control()
    logins = control.relay.counters.client_login_count
    assert logins - sum(ends(rig, "client").values()) == rig.pooler.client_count == 2
    gone = sum(ends(rig, "server").values())
    assert connects(rig, "server")["login"] - gone == control.pool.lists.total_servers()


# Databases


def test_a_database_that_is_no_more_leaves_its_counts_to_nobody() -> None:
    rig = Rig(with_databases(autodb=Database("*", "*")))
    client = rig.enter(database="sometime")
    client.query()
    server = rig.log_in()
    server.fail("23505")
    operator.drop_database(rig.pooler, "sometime")
    assert "sometime" not in dict(rig.pooler.tallies.items())
    assert errors(rig, "")[("server", "23505", "unique_violation")] == 1
    assert connects(rig, "client", "") == {"login": 1}
    assert ends(rig, "client", "") == {"database removed": 1}


def test_who_leaves_a_database_after_its_end_still_counts() -> None:
    rig = Rig(with_databases(autodb=Database("*", "*")))
    for _ in range(40):  # more than are closed in one turn
        rig.enter(database="sometime")
    operator.drop_database(rig.pooler, "sometime")
    assert ends(rig, "client", "")["database removed"] < 40
    rig.pass_moment(0)
    assert ends(rig, "client", "") == {"database removed": 40}


def test_a_name_that_no_database_has_is_nobodys() -> None:
    rig = Rig()
    tally = rig.pooler.tallies.find("made up")
    assert tally is rig.pooler.tallies.find("")
    assert [name for name, _ in rig.pooler.tallies.items()] == ["", "app", "pgbouncer"]
