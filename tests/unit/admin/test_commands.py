from __future__ import annotations

import pytest

from pgmux.admin.pooler import ShutdownMode
from pgmux.errors import ConfigError, Problem
from tests.unit.admin.pooler import FakePooler
from tests.unit.admin.talk import READY, ask, error, messages, refusal, tag, types


@pytest.mark.parametrize(
    ("query", "call", "line"),
    [
        ("RELOAD", ("reload",), "RELOAD command issued"),
        ("PAUSE", ("pause", None), "PAUSE command issued"),
        ("pause app;", ("pause", "app"), "PAUSE 'app' command issued"),
        ("PAUSE auto1", ("pause", "auto1"), "PAUSE 'auto1' command issued"),
        ("RECONNECT", ("reconnect", None), "RECONNECT command issued"),
        ("RECONNECT app", ("reconnect", "app"), "RECONNECT 'app' command issued"),
        ("KILL", ("kill", None), "KILL command issued"),
        ("KILL app", ("kill", "app"), "KILL 'app' command issued"),
        ("WAIT_CLOSE", ("wait_close", None), "WAIT_CLOSE command issued"),
        ("WAIT_CLOSE app", ("wait_close", "app"), "WAIT_CLOSE 'app' command issued"),
        ("DISABLE app", ("set_disabled", "app", True), "DISABLE 'app' command issued"),
        ("ENABLE app", ("set_disabled", "app", False), "ENABLE 'app' command issued"),
        (
            "SHUTDOWN wait_for_servers",
            ("shutdown", ShutdownMode.WAIT_FOR_SERVERS),
            "SHUTDOWN WAIT_FOR_SERVERS command issued",
        ),
        (
            "SHUTDOWN WAIT_FOR_CLIENTS",
            ("shutdown", ShutdownMode.WAIT_FOR_CLIENTS),
            "SHUTDOWN WAIT_FOR_CLIENTS command issued",
        ),
    ],
)
def test_a_command_acts_is_logged_and_answered_with_its_tag(
    query: str, call: tuple[object, ...], line: str
) -> None:
    pooler = FakePooler()
    data = ask(query, pooler).data
    assert pooler.calls == [call]
    assert pooler.lines == [line]
    assert tag(data) == query.upper().split()[0].rstrip(";")
    assert data.endswith(READY)


@pytest.mark.parametrize(
    "query",
    [
        *("RELOAD", "PAUSE", "PAUSE app", "RESUME", "RESUME app", "DISABLE", "DISABLE app"),
        *("ENABLE app", "RECONNECT", "KILL", "KILL app", "KILL_CLIENT", "KILL_CLIENT 12"),
        *("SUSPEND", "SHUTDOWN", "SHUTDOWN WAIT_FOR_CLIENTS", "WAIT_CLOSE", "SET verbose = 1"),
        *("SET nothing = 1", "SHOW FDS"),
    ],
)
def test_a_user_who_is_no_admin_may_only_show(query: str) -> None:
    pooler = FakePooler()
    assert refusal(query, pooler, is_admin=False) == "admin access needed"
    assert pooler.calls == [] and pooler.lines == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("PAUSE nope", "no such database: nope"),
        ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer"),
        ("RECONNECT nope", "no such database: nope"),
        ("RECONNECT pgbouncer", "cannot reconnect admin db: pgbouncer"),
        ("KILL nope", "no such database: nope"),
        ("KILL pgbouncer", "cannot kill admin db: pgbouncer"),
        ("WAIT_CLOSE nope", "no such database: nope"),
        ("WAIT_CLOSE pgbouncer", "cannot wait in admin db: pgbouncer"),
        ("DISABLE", "a database is required"),
        ("DISABLE nope", "no such database: nope"),
        ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer"),
        ("ENABLE", "a database is required"),
        ("ENABLE nope", "no such database: nope"),
        ("ENABLE auto1", "no such database: auto1"),
        ("ENABLE pgbouncer", "cannot disable admin db: pgbouncer"),
        ("RESUME", "pooler is not paused/suspended"),
        ("RESUME nope", "no such database: nope"),
        ("RESUME app", "database app is not paused"),
        ("RESUME pgbouncer", "database pgbouncer is not paused"),
        ("KILL_CLIENT", "invalid client pointer supplied"),
        ("KILL_CLIENT x9", "invalid client pointer supplied"),
        ("KILL_CLIENT 99", "client not found"),
        ("RELOAD now", "invalid command 'RELOAD now', use SHOW HELP;"),
        ("SUSPEND now", "invalid command 'SUSPEND now', use SHOW HELP;"),
        ("SHUTDOWN now", "invalid command 'SHUTDOWN now', use SHOW HELP;"),
        ("SHOW", "invalid command 'SHOW', use SHOW HELP;"),
        ("SHOW nothing;", "invalid command 'SHOW nothing;', use SHOW HELP;"),
        ("nothing", "invalid command 'nothing', use SHOW HELP;"),
        ("set verbose", "invalid command 'set verbose', use SHOW HELP;"),
        ("show a; show b", "invalid command 'show a; show b', use SHOW HELP;"),
        ("BEGIN x_y", "invalid command 'BEGIN x_y', use SHOW HELP;"),
        ("abcdefghijklmnop", "bad arguments"),
    ],
)
def test_a_refusal_has_pgbouncers_words_and_changes_nothing(query: str, message: str) -> None:
    pooler = FakePooler()
    assert refusal(query, pooler) == message
    assert [call for call in pooler.calls if call[0] != "kill_client"] == []


@pytest.mark.parametrize("query", ["PAUSE", "PAUSE app", "KILL", "KILL app"])
def test_a_paused_pooler_is_not_paused_again(query: str) -> None:
    assert refusal(query, FakePooler(is_paused=True)) == "already suspended/paused"


def test_resume_ends_a_pause() -> None:
    pooler = FakePooler(is_paused=True)
    assert tag(ask("RESUME", pooler).data) == "RESUME"
    assert pooler.calls == [("resume", None)]


def test_resume_of_a_database_ends_its_pause() -> None:
    pooler = FakePooler(paused={"app"})
    assert tag(ask("RESUME app", pooler).data) == "RESUME"
    assert pooler.calls == [("resume", "app")]


def test_a_pooler_that_shuts_down_is_not_resumed() -> None:
    pooler = FakePooler(is_paused=True, is_shutting_down=True)
    assert refusal("RESUME", pooler) == "pooler is shutting down"


@pytest.mark.parametrize("argument", ["12", "12abc", '"  12"', '"+12"', "0012"])
def test_kill_client_reads_its_id_as_c_does(argument: str) -> None:
    pooler = FakePooler()
    assert tag(ask(f"KILL_CLIENT {argument}", pooler).data) == "KILL_CLIENT"
    assert pooler.calls == [("kill_client", 12)]


def test_kill_client_takes_what_the_log_calls_the_client() -> None:
    pooler = FakePooler()
    assert tag(ask("KILL_CLIENT 0xc", pooler).data) == "KILL_CLIENT"
    assert pooler.calls == [("kill_client", 12)]


def test_what_is_gone_says_what_to_do_instead() -> None:
    assert "so_reuseport=1" in refusal("SHOW FDS")
    assert "PAUSE and RESUME" in refusal("SUSPEND")


def test_a_failed_reload_has_its_own_sqlstate_and_the_problems_as_detail() -> None:
    problem = Problem("unknown parameter: pgbouncer/foo", "pgbouncer.ini", 3, "write it\0 well")
    data = ask("RELOAD", FakePooler(reload_error=ConfigError((problem,)))).data
    assert error(data) == {
        "S": "ERROR",
        "C": "F0000",
        "M": "RELOAD failed, see logs for additional details",
        "D": "pgbouncer.ini:3: unknown parameter: pgbouncer/foo (write it well)",
    }
    assert data.endswith(READY)


def test_a_thousand_problems_make_no_endless_detail() -> None:
    problems = tuple(Problem(f"problem {i}", "pgbouncer.ini", i) for i in range(1, 1001))
    data = ask("RELOAD", FakePooler(reload_error=ConfigError(problems))).data
    assert len(error(data)["D"]) == 4000


def test_set_changes_a_setting_and_says_so_as_it_was_written() -> None:
    pooler = FakePooler()
    assert tag(ask("SET default_pool_size = '33'", pooler).data) == "SET default_pool_size=33"
    assert pooler.config.settings.default_pool_size == 33


def test_set_of_what_could_not_be_applied_says_so_and_succeeds() -> None:
    pooler = FakePooler(set_notice="still using old configuration")
    data = ask("SET server_tls_ca_file = '/none'", pooler).data
    assert types(data) == "NCZ"
    assert b"Mstill using old configuration" in messages(data)[0][1]


def test_set_of_an_unknown_setting_fails() -> None:
    assert refusal("SET nothing = 1").startswith("SET failed")


@pytest.mark.parametrize("is_admin", [True, False])
def test_set_of_a_parameter_that_drivers_set_is_ignored_for_everybody(is_admin: bool) -> None:
    data = ask("SET DateStyle TO 'German'", is_admin=is_admin).data
    assert messages(data)[0] == ("N", b"SNOTICE\0C00000\0MSET ignored\0\0")
    assert types(data) == "NCZ"
    assert tag(data) == "SET"


def test_the_plain_shutdown_is_not_answered() -> None:
    pooler = FakePooler()
    reply = ask("SHUTDOWN", pooler)
    assert reply.data == b""
    assert reply.waiting is not None and reply.waiting.command == "SHUTDOWN"
    assert pooler.calls == [("shutdown", ShutdownMode.IMMEDIATE)]
    assert pooler.lines == ["SHUTDOWN command issued"]
