"""Session parameters and prepared statements follow their client from server to server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.config import PoolMode
from pgmux.config.model import PgmuxSettings
from pgmux.session import operator
from pgmux.wire import build, codes
from tests.unit.session.rig import REPORTED, ClientEnd, Rig, ServerEnd, configure, idle, linked


def session() -> Rig:
    return Rig(configure(PoolMode.SESSION, default_pool_size=1))


# Session parameters


def test_a_client_that_wants_nothing_else_is_linked_at_once() -> None:
    rig = Rig()
    _, server = linked(rig)
    server.answer()
    other = rig.enter()
    other.query("SELECT 2")
    assert server.asked() == ["SELECT 2"]


def named(*names: str) -> PgmuxSettings:
    return PgmuxSettings(startup_parameters=names)


def test_what_a_login_accepts_is_set_though_the_server_does_not_report_it() -> None:
    rig = Rig(replace(configure(track_extra_parameters=("lock_timeout",)), pgmux=named()))
    client = rig.enter({"search_path": "tenant", "lock_timeout": "1s"})
    client.query()
    assert rig.log_in().assigned() == {"search_path": "tenant", "lock_timeout": "1s"}


def test_what_logins_accept_since_a_reload_is_set_on_servers_that_are_there() -> None:
    rig = Rig(replace(configure(default_pool_size=1), pgmux=named()))
    _, server = linked(rig)
    server.answer()
    operator.reload(rig.pooler, replace(rig.pooler.config, pgmux=named("work_mem")))
    other = rig.enter({"work_mem": "1MB"})
    other.query("SELECT 2")
    assert server.assigned() == {"work_mem": "1MB"}
    server.accept()
    server.answer()
    server.messages()
    operator.reload(rig.pooler, replace(rig.pooler.config, pgmux=named()))
    rig.enter().query("SELECT 3")
    assert server.assigned() == {"work_mem": None}


def test_a_client_keeps_its_parameters_through_a_reload_in_its_transaction() -> None:
    rig = Rig(replace(configure(default_pool_size=1), pgmux=named()))
    client, server = idle(rig)
    client.query("BEGIN")
    server.answer("BEGIN", codes.TRANSACTION_BLOCK)
    operator.reload(rig.pooler, replace(rig.pooler.config, pgmux=named("work_mem")))
    server.report("TimeZone", "CET")
    client.query("COMMIT")
    server.answer("COMMIT")
    server.messages()
    client.query("SELECT 2")
    assert server.asked() == ["SELECT 2"]
    server.answer()
    rig.enter().query("SELECT 3")
    assert server.assigned() == {"TimeZone": "UTC"}


def test_differing_parameters_are_set_before_the_query() -> None:
    rig = Rig()
    client = rig.enter({"TimeZone": "CET", "statement_timeout": "5s"})
    client.query("SELECT 2")
    server = rig.log_in()
    assert server.assigned() == {"TimeZone": "CET", "statement_timeout": "5s"}
    client.messages()
    server.accept(TimeZone="CET")
    assert server.asked() == ["SELECT 2"]
    assert client.messages() == []
    server.answer()
    assert client.kinds() == "CZ"


def test_parameters_are_undone_for_the_next_client() -> None:
    rig = Rig()
    _, server = linked_with(rig, {"TimeZone": "CET", "statement_timeout": "5s"})
    server.answer()
    rig.enter().query()
    assert server.assigned() == {"TimeZone": "UTC", "statement_timeout": None}


def test_parameters_that_stay_are_not_set_again() -> None:
    rig = Rig()
    client, server = linked_with(rig, {"TimeZone": "CET", "statement_timeout": "5s"})
    server.answer()
    for other in (client, rig.enter({"timezone": "CET", "statement_timeout": "5s"})):
        other.query("SELECT 2")
        assert server.asked() == ["SELECT 2"]
        server.answer()


def test_requests_wait_while_parameters_are_set() -> None:
    rig = Rig()
    client = rig.enter({"TimeZone": "CET"})
    client.query("SELECT 1")
    server = rig.log_in()
    server.messages()
    client.query("SELECT 2")
    assert server.asked() == []
    server.accept(TimeZone="CET")
    assert server.asked() == ["SELECT 1", "SELECT 2"]


def test_the_client_is_told_how_the_server_spells_its_value() -> None:
    rig = Rig()
    client = rig.enter({"TimeZone": "europe/paris"})
    client.query()
    server = rig.log_in()
    assert client.statuses()["TimeZone"] == "europe/paris"
    server.messages()
    server.accept(TimeZone="Europe/Paris")
    assert client.statuses() == {"TimeZone": "Europe/Paris"}
    again = rig.enter({"TimeZone": "europe/paris"})
    assert again.statuses()["TimeZone"] == "Europe/Paris"


def test_a_refused_parameter_ends_server_and_client() -> None:
    rig = Rig()
    client = rig.enter({"TimeZone": "Nowhere"})
    client.query()
    server = rig.log_in()
    client.messages()
    server.fail("22023", "invalid value")
    assert client.error() == ("FATAL", "08P01", "invalid server parameter")
    assert server.is_closed
    assert rig.control().pool.server_count() == 0


def linked_with(rig: Rig, startup: dict[str, str]) -> tuple[ClientEnd, ServerEnd]:
    """As `linked`, with parameters that had to be set."""
    client = rig.enter(startup)
    client.query()
    server = rig.log_in()
    known = {name: value for name, value in startup.items() if name in REPORTED}
    server.accept(**known)
    client.messages()
    server.messages()
    return client, server


def test_what_a_client_sets_follows_it() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.send(build.build_command_complete("SET"))
    server.report("TimeZone", "CET")
    server.send(build.build_ready_for_query())
    assert client.statuses() == {"TimeZone": "CET"}
    rig.enter().query()
    assert server.assigned() == {"TimeZone": "UTC"}
    server.accept(TimeZone="UTC")
    server.answer()
    server.messages()
    client.query()
    assert server.assigned() == {"TimeZone": "CET"}


def test_a_client_that_goes_while_its_parameters_are_set_takes_the_server_with_it() -> None:
    rig = Rig()
    client = rig.enter({"TimeZone": "CET"})
    client.query()
    server = rig.log_in()
    client.lose()
    assert server.is_closed


def test_reset_returns_to_the_clients_own_startup_value() -> None:
    rig = Rig()
    client, server = linked_with(rig, {"TimeZone": "CET"})
    server.send(build.build_command_complete("RESET"))
    server.report("TimeZone", "UTC")
    server.send(build.build_ready_for_query())
    assert client.statuses() == {"TimeZone": "CET"}
    server.messages()
    client.query()
    assert server.assigned() == {"TimeZone": "CET"}


@pytest.mark.parametrize("sql", ["RESET TimeZone", "SET TIME ZONE DEFAULT", "RESET ALL"])
def test_a_reset_that_changes_nothing_on_the_server_gives_the_client_its_own(sql: str) -> None:
    rig = session()
    client, server = linked_with(rig, {"TimeZone": "CET"})
    server.send(build.build_command_complete("SET"))
    server.report("TimeZone", "UTC")
    server.send(build.build_ready_for_query())
    client.query(sql)
    client.messages()
    server.messages()
    server.answer("SET" if sql.startswith("SET") else "RESET")
    assert server.assigned() == {"TimeZone": "CET"}
    server.accept(TimeZone="CET")
    assert client.statuses() == {"TimeZone": "CET"}


def test_after_one_clients_reset_anothers_set_is_a_set() -> None:
    rig = Rig()
    _, server = linked(rig)
    server.answer("RESET")
    other = rig.enter({"TimeZone": "CET"})
    other.query()
    server.accept(TimeZone="CET")
    other.messages()
    server.send(build.build_command_complete("SET"))
    server.report("TimeZone", "Asia/Tokyo")
    server.send(build.build_ready_for_query())
    assert other.statuses() == {"TimeZone": "Asia/Tokyo"}


@pytest.mark.parametrize("tag", ["RESET", "DISCARD ALL"])
def test_unreported_startup_values_survive_a_reset(tag: str) -> None:
    rig = Rig()
    client, server = linked_with(rig, {"statement_timeout": "5s"})
    server.answer(tag)
    server.messages()
    client.query()
    assert server.assigned() == {"statement_timeout": "5s"}


def test_a_reset_of_one_parameter_leaves_a_session_what_it_has_set() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer("SET")
    client.query("RESET ROLE")
    server.messages()
    server.answer("RESET")
    assert server.messages() == []


def test_between_sessions_nothing_is_set_that_the_reset_query_has_reset() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer()
    client.lose()
    server.answer("DISCARD ALL")
    server.messages()
    rig.enter().query("SELECT 2")
    assert server.asked() == ["SELECT 2"]


def test_after_the_reset_query_a_sessions_own_startup_values_are_set() -> None:
    rig = session()
    client, server = linked_with(rig, {"statement_timeout": "5s"})
    server.answer()
    client.lose()
    server.answer("DISCARD ALL")
    server.messages()
    rig.enter({"statement_timeout": "5s"}).query("SELECT 2")
    assert server.assigned() == {"statement_timeout": "5s"}


# Prepared statements


def parse_of(sql: str, name: str = "s") -> bytes:
    return build.build_parse(name, sql) + build.build_sync()


def prepare(client: ClientEnd, server: ServerEnd, sql: str = "SELECT 1") -> list[str]:
    """What the server is asked to prepare; it is done then."""
    client.send(parse_of(sql))
    asked = server.asked()
    answer = build.build_parse_complete() if asked else b""
    server.send(answer + build.build_ready_for_query())
    client.messages()
    return asked


def test_a_statement_is_prepared_once_a_server() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    assert prepare(client, server) == ["SELECT 1"]
    assert prepare(rig.enter(), server) == []


@pytest.mark.parametrize("tag", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_statements_are_gone_after(tag: str) -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    prepare(client, server)
    client.query(tag)
    server.answer(tag)
    server.messages()
    assert client.relay.prepared_count == server.relay.prepared_count == 0
    assert prepare(client, server) == ["SELECT 1"]


@pytest.mark.parametrize("tag", ["CREATE TABLE", "ALTER TABLE", "DROP VIEW"])
def test_after_ddl_statements_are_prepared_anew(tag: str) -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    prepare(client, server)
    client.query()
    server.answer(tag)
    server.messages()
    assert prepare(rig.enter(), server) == ["SELECT 1"]


@pytest.mark.parametrize("tag", ["SELECT 1", "COMMIT", "DEALLOCATE", "RESET", "COMMENT", "COPY 1"])
def test_other_tags_leave_statements_alone(tag: str) -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    prepare(client, server)
    client.query()
    server.answer(tag)
    server.messages()
    assert prepare(rig.enter(), server) == []


def test_a_check_query_leaves_statements_alone() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    prepare(client, server)
    rig.pass_time(31.0)
    client.query()
    server.send(build.build_empty_query_response(), build.build_ready_for_query())
    server.answer()
    server.messages()
    assert server.relay.prepared_count == 1
    assert prepare(rig.enter(), server) == []
