"""auth_query as clients of a pool: which pool, how many at a time, whom they hold up, and what they
leave behind.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgmux.auth.credentials import Credentials
from pgmux.auth.md5 import md5_secret
from pgmux.auth.scram import ScramKeys
from pgmux.auth.secrets import parse_secret
from pgmux.config import Config, Database, PoolMode
from pgmux.errors import PoolerError
from pgmux.pool.pool import PoolKey
from pgmux.pool.states import SV_IDLE, SV_TESTED
from pgmux.session import operator
from pgmux.session.lookups import MAX_FAILED_DATABASES, Lookup, Lookups
from pgmux.wire import build, parse
from pgmux.wire.parse import Column
from tests.unit.session.rig import Rig, ServerEnd, bound, configure

AUTH = {"auth_user": "ask", "auth_query": "SELECT u, s FROM f($1)"}
Result = Credentials | PoolerError | None


class Desk:
    """Lookups of a rig, the loop's turns, and what became of each login."""

    def __init__(self, config: Config | None = None) -> None:
        self.rig = Rig(config or configure(**AUTH))
        self.turns: list[Callable[[], None]] = []
        self.lookups = Lookups(self.rig.pooler, self.turns.append)
        self.results: dict[str, list[Result]] = {}

    def begin(self, user: str, database: str = "app") -> Lookup:
        results = self.results.setdefault(user, [])
        return self.lookups.begin(database, user, results.append)

    def turn(self) -> None:
        """The loop's next turn, and those that follow from it."""
        while self.turns:
            self.turns.pop(0)()

    def server(self, **key: str) -> ServerEnd:
        """The oldest connect of the auth pool logs in."""
        return self.rig.log_in()

    def control(self, database: str = "app", user: str = "ask") -> Any:
        return self.rig.control(database, user)

    def found(self, user: str) -> Credentials:
        (result,) = self.results[user]
        assert isinstance(result, Credentials)
        return result

    def error(self, user: str) -> PoolerError:
        (result,) = self.results[user]
        assert isinstance(result, PoolerError)
        return result

    def log(self) -> str:
        return "\n".join(self.rig.log.lines)


def asked(server: ServerEnd) -> list[str]:
    """Who is looked up on it, since the last look; setting parameters is answered."""
    users = []
    for kind, body in server.messages():
        if kind == "B":
            values = bound(body)
            if len(values) == 1:
                users.append((values[0] or b"").decode())
            else:
                server.accept()
                users += asked(server)
    return users


def answer(server: ServerEnd, *rows: tuple[str, str | None], columns: int = 2) -> None:
    names = [Column(f"c{i}", 25, -1) for i in range(columns)]
    body = [build.build_data_row([None if v is None else v.encode() for v in row]) for row in rows]
    server.send(
        build.build_parse_complete(),
        build.build_bind_complete(),
        build.build_row_description(names),
        *body,
        build.build_command_complete(f"SELECT {len(rows)}"),
        build.build_ready_for_query(),
    )


def look_up(desk: Desk, server: ServerEnd, user: str, secret: str | None = "pw") -> Credentials:
    """One whole lookup on an idle server."""
    desk.results.pop(user, None)
    desk.begin(user)
    assert asked(server) == [user]
    answer(server, (user, secret))
    desk.turn()
    return desk.found(user)


# One lookup


def test_the_first_lookup_waits_for_a_server_of_auth_user() -> None:
    desk = Desk()
    desk.begin("carol")
    assert desk.rig.pooler.pools.keys() == {PoolKey("app", "ask")}
    server = desk.server()
    assert asked(server) == ["carol"]
    answer(server, ("carol", "pw"))
    assert desk.results["carol"] == []  # not in the middle of the server's work
    desk.turn()
    found = desk.found("carol")
    assert (found.user, found.secret) == ("carol", parse_secret("pw"))
    assert desk.rig.servers(SV_IDLE, user="ask") == [server.relay]
    assert not server.is_closed


def test_a_user_that_is_not_there_is_none() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server)
    desk.turn()
    assert desk.results["carol"] == [None]


def test_nothing_of_a_lookup_stays_behind() -> None:
    desk = Desk()
    desk.begin("carol")
    run = weakref.ref(next(iter(desk.lookups._running.values())))
    server = desk.server()
    asked(server)
    gc.disable()
    try:
        answer(server, ("carol", "pw"))
        desk.turn()
        assert run() is None  # without the cycle collector
    finally:
        gc.enable()
    assert desk.control().pool.lists.client_count() == 0
    assert (desk.lookups._running, desk.lookups._waiting) == ({}, {})


def test_a_lookup_is_no_client_to_whoever_counts_them() -> None:
    desk = Desk()
    desk.begin("carol")
    assert desk.rig.pooler.client_count == 0
    assert desk.rig.pooler.quotas.of_user("ask").client_count == 0
    desk.rig.refuse("login failed", "28P01", "password authentication failed")
    desk.turn()
    assert desk.rig.pooler.client_count == 0
    assert len(desk.rig.pooler.cancel_keys) == 0


def test_lookups_are_one_application_with_none_beside_it() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server, ("carol", "pw"))
    desk.turn()
    counted = [(app.name, app.query_count) for app in desk.control().apps.all()]
    assert counted == [("auth_query", 1)]


def test_in_session_mode_the_server_is_reset_before_it_is_anybody_elses() -> None:
    desk = Desk(configure(PoolMode.SESSION, **AUTH))
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server, ("carol", "pw"))
    desk.turn()
    assert desk.found("carol").user == "carol"
    assert server.asked() == ["DISCARD ALL"]
    assert desk.rig.servers(SV_TESTED, user="ask") == [server.relay]


# Where it runs


def test_a_database_has_its_own_query_user_and_auth_database() -> None:
    own = Database("app", "app", auth_user="own", auth_query="SELECT own($1)", auth_dbname="users")
    config = replace(configure(**AUTH), databases={"app": own, "users": Database("users", "u")})
    desk = Desk(config)
    desk.begin("carol")
    assert desk.rig.pooler.pools.keys() == {PoolKey("users", "own")}
    messages = dict(desk.server().messages())
    assert parse.parse_parse(messages["P"]).query.startswith(b"SELECT")


def test_a_forced_user_is_not_who_looks_up() -> None:
    forced = Database("app", "app", user="boss", password="bosspw")
    config = replace(
        configure(**AUTH), databases={"app": forced}, userlist={"ask": "askpw", "bob": "pw"}
    )
    desk = Desk(config)
    desk.begin("carol")
    login = desk.rig.pooler.server_login(desk.control())
    assert (login.user, login.secret) == ("ask", parse_secret("askpw"))
    desk.rig.enter()
    boss = desk.rig.pooler.server_login(desk.control(user="boss"))
    assert (boss.user, boss.secret) == ("boss", parse_secret("bosspw"))


@pytest.mark.parametrize(
    ("auth_dbname", "database", "reason"),
    [
        ("nowhere", "app", 'authentication database "nowhere" is not configured.'),
        (None, "pgbouncer", 'cannot use the reserved "pgbouncer" database as an auth_dbname'),
    ],
)
def test_a_configuration_that_leads_nowhere_is_a_config_error(
    auth_dbname: str | None, database: str, reason: str
) -> None:
    desk = Desk(configure(**AUTH, auth_dbname=auth_dbname))
    with pytest.raises(PoolerError, match=r"^bouncer config error$") as caught:
        desk.begin("carol", database)
    assert reason in getattr(caught.value, "reason", "")


def test_a_disabled_auth_database_says_so() -> None:
    desk = Desk(configure(**AUTH))
    desk.rig.pooler.databases["app"].disabled = True
    with pytest.raises(PoolerError, match=r'^authentication database "app" is disabled$'):
        desk.begin("carol")


def test_the_console_is_looked_up_in_auth_dbname() -> None:
    desk = Desk(configure(**AUTH, auth_dbname="app"))
    desk.begin("carol", "pgbouncer")
    assert asked(desk.server()) == ["carol"]


# The session in which it runs


def test_a_lookup_has_the_connections_own_parameters_not_an_earlier_clients() -> None:
    desk = Desk()
    client = desk.rig.enter({"TimeZone": "CET", "search_path": "evil"}, user="ask")
    client.query()
    server = desk.server()
    assert server.assigned() == {"TimeZone": "CET", "search_path": "evil"}
    server.accept(TimeZone="CET")
    server.answer()
    desk.begin("carol")
    assert server.assigned() == {"TimeZone": "UTC", "search_path": None}
    server.accept(TimeZone="UTC")
    assert asked(server) == ["carol"]


def test_what_a_client_has_set_unseen_is_set_back_for_the_next_lookup() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server, ("carol", "pw"))
    desk.turn()
    client = desk.rig.enter(user="ask")
    client.query("SET search_path = evil")
    server.accept()
    server.answer("SET")
    desk.begin("dave")
    assert server.assigned()["search_path"] is None


def test_lookups_one_after_the_other_set_nothing() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server, ("carol", "pw"))
    desk.turn()
    desk.begin("dave")
    kinds = server.kinds()
    assert kinds == "PBDES"


# Many


def test_equal_lookups_that_wait_share_one_query() -> None:
    desk = Desk(configure(**AUTH, default_pool_size=2))
    desk.begin("dave")
    server = desk.server()
    asked(server)
    for _ in range(50):
        desk.begin("carol")
    answer(server, ("dave", "pw"))
    desk.turn()
    assert asked(server) == ["carol"]
    answer(server, ("carol", "pw"))
    desk.turn()
    assert [type(result) for result in desk.results["carol"]] == [Credentials] * 50
    assert asked(server) == []


def test_who_comes_while_a_query_runs_gets_the_next_ones_answer() -> None:
    desk = Desk()
    first = desk.begin("carol")
    server = desk.server()
    assert asked(server) == ["carol"]
    late: list[Result] = []
    desk.lookups.begin("app", "carol", late.append)
    assert asked(server) == []
    answer(server, ("carol", "old"))
    desk.turn()
    assert desk.found("carol").secret == parse_secret("old")
    assert late == []
    assert asked(server) == ["carol"]
    answer(server, ("carol", "new"))
    desk.turn()
    (result,) = late
    assert isinstance(result, Credentials)
    assert result.secret == parse_secret("new")
    first.cancel()  # long over: nothing happens


def test_lookups_take_half_of_the_pool() -> None:
    desk = Desk(configure(**AUTH, default_pool_size=4))
    for i in range(1000):
        desk.begin(f"nobody{i}")
    assert desk.control().pool.lists.waiting_count() == 2
    client = desk.rig.enter(user="ask")
    client.query()
    servers = [desk.server(), desk.server()]
    assert [asked(server) for server in servers] == [["nobody0"], ["nobody1"]]
    own = desk.server()
    assert own.asked() == ["SELECT 1"]  # a client of that pool is third, not thousandth
    answer(servers[0])
    desk.turn()
    assert desk.results["nobody0"] == [None]


def test_in_a_pool_of_one_clients_and_lookups_take_turns() -> None:
    desk = Desk(configure(**AUTH, default_pool_size=1))
    for i in range(3):
        desk.begin(f"nobody{i}")
    client = desk.rig.enter(user="ask")
    client.query()
    server = desk.server()
    assert asked(server) == ["nobody0"]
    answer(server)
    server.accept()
    assert server.asked()[-1:] == ["SELECT 1"]
    desk.turn()
    server.answer()
    assert asked(server) == ["nobody1"]


def test_a_slow_query_holds_up_no_other_database() -> None:
    config = configure(**AUTH, default_pool_size=1)
    config = replace(config, databases={**config.databases, "other": Database("other", "other")})
    desk = Desk(config)
    desk.begin("carol")
    slow = desk.server()
    assert asked(slow) == ["carol"]
    desk.begin("dave", "other")
    assert asked(desk.server()) == ["dave"]


# Who leaves


def test_a_login_that_leaves_the_queue_leaves_nothing() -> None:
    desk = Desk(configure(**AUTH, default_pool_size=2))
    first, second = desk.begin("carol"), desk.begin("dave")
    second.cancel()
    first.cancel()
    desk.turn()
    assert desk.control().pool.lists.client_count() == 0
    assert (desk.lookups._running, desk.lookups._waiting) == ({}, {})
    assert desk.results == {"carol": [], "dave": []}


def test_a_query_whose_login_has_left_ends_by_itself_and_its_server_stays() -> None:
    desk = Desk()
    desk.begin("carol").cancel()
    desk.begin("carol").cancel()
    desk.turn()
    lookup = desk.begin("carol")
    server = desk.server()
    asked(server)
    lookup.cancel()
    desk.turn()
    answer(server, ("carol", "pw"))
    desk.turn()
    assert desk.results["carol"] == []
    assert desk.rig.servers(SV_IDLE, user="ask") == [server.relay]


def test_a_query_that_nobody_waits_for_any_more_is_cancelled_after_client_login_timeout() -> None:
    desk = Desk()
    lookup = desk.begin("carol")
    server = desk.server()
    asked(server)
    lookup.cancel()
    desk.lookups.end_slow(60.0, desk.rig.now + 59)
    assert desk.rig.cancels == []
    desk.lookups.end_slow(60.0, desk.rig.now + 61)
    desk.turn()
    (cancel,) = desk.rig.cancels
    assert cancel.target is server.relay.owner
    assert server.is_closed
    assert desk.lookups._running == {}
    cancel.done()


def test_a_query_that_somebody_waits_for_goes_on() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    desk.lookups.end_slow(1.0, desk.rig.now + 100)
    desk.turn()
    assert not server.is_closed


# What goes wrong


def test_a_refused_login_of_auth_user_is_told_as_the_server_says_it() -> None:
    desk = Desk()
    desk.begin("carol")
    desk.rig.refuse("login failed", "28P01", 'password authentication failed for user "ask"')
    desk.turn()
    error = desk.error("carol")
    assert (error.sqlstate, error.message) == (
        "28P01",
        'password authentication failed for user "ask"',
    )
    assert 'auth_query as "ask" in database "app"' in desk.log()


def test_while_logins_of_auth_user_fail_lookups_fail_at_once() -> None:
    desk = Desk()
    desk.begin("carol").cancel()
    desk.turn()
    desk.rig.refuse("connect failed")
    desk.begin("dave")
    desk.turn()
    assert desk.error("dave").message == (
        "server login has been failing, cached error: connect failed (server_login_retry)"
    )


@pytest.mark.parametrize("columns", [1, 3])
def test_other_than_two_columns_are_a_config_error_and_the_server_stays(columns: int) -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server, ("carol",) * columns, columns=columns)  # type: ignore[arg-type]
    desk.turn()
    assert desk.error("carol").message == "bouncer config error"
    assert f"expected 2 columns from auth_query, not {columns}" in desk.log()
    assert not server.is_closed


def test_an_error_of_the_query_is_a_config_error_and_the_next_lookup_uses_the_server() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    server.fail("42501", "permission denied for table pg_authid")
    server.send(build.build_ready_for_query())
    desk.turn()
    assert desk.error("carol").message == "bouncer config error"
    assert "S: error in auth_query: ERROR: permission denied for table pg_authid" in desk.log()
    assert look_up(desk, server, "dave").user == "dave"


def test_an_answer_that_never_ends_closes_its_server() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    server.send(build.build_parse_complete(), b"D" + (1 << 24).to_bytes(4, "big"))
    desk.turn()
    assert desk.error("carol").message == "bouncer config error"
    assert server.is_closed


def test_a_server_that_ends_meanwhile_is_a_config_error() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    server.lose()
    desk.turn()
    assert desk.error("carol").message == "bouncer config error"
    assert "server conn crashed?" in desk.log()


def test_query_timeout_ends_a_query() -> None:
    desk = Desk(configure(**AUTH, query_timeout=5.0))
    desk.begin("carol")
    server = desk.server()
    asked(server)
    desk.rig.pass_time(6)
    desk.turn()
    assert desk.error("carol").message == "bouncer config error"
    assert server.is_closed


def test_query_wait_timeout_ends_a_wait() -> None:
    desk = Desk(configure(**AUTH, query_wait_timeout=5.0, server_connect_timeout=0.0))
    desk.begin("carol")
    desk.rig.pass_time(6)
    desk.turn()
    assert desk.error("carol").message == "query_wait_timeout"


def test_a_paused_database_answers_after_its_resume() -> None:
    desk = Desk()
    operator.hold(desk.rig.pooler, "app", held=True)
    desk.begin("carol")
    assert desk.rig.connects == []
    operator.hold(desk.rig.pooler, "app", held=False)
    assert asked(desk.server()) == ["carol"]


def test_kill_ends_lookups_under_way_and_waiting() -> None:
    desk = Desk(configure(**AUTH, default_pool_size=4))
    desk.begin("carol")
    asked(desk.server())
    desk.begin("dave")
    operator.kill(desk.rig.pooler, "app", "admin forced disconnect")
    desk.turn()
    assert desk.error("carol").message == "bouncer config error"
    assert desk.error("dave").message in ("bouncer config error", "admin forced disconnect")


def test_a_database_dropped_meanwhile_is_a_config_error() -> None:
    config = configure(**AUTH, default_pool_size=1)
    config = replace(config, databases={**config.databases, "users": Database("users", "u")})
    config = replace(config, settings=replace(config.settings, auth_dbname="users"))
    desk = Desk(config)
    desk.begin("carol")
    desk.begin("dave")
    desk.rig.reload(databases={"app": Database("app", "app")})
    desk.turn()
    assert desk.error("carol").message == "database removed"
    assert desk.error("dave").message == "bouncer config error"


def test_databases_of_the_star_that_lead_nowhere_are_not_kept() -> None:
    config = replace(configure(**AUTH), autodb=Database("*", "*"))
    desk = Desk(config)
    for i in range(2 * MAX_FAILED_DATABASES):
        desk.begin("carol", f"guess{i}")
        desk.rig.refuse("login failed", "3D000", f'database "guess{i}" does not exist')
        desk.turn()
    assert len(desk.rig.pooler.databases) <= MAX_FAILED_DATABASES + 1
    assert len(desk.rig.pooler.pools) <= MAX_FAILED_DATABASES


def test_a_secret_is_in_no_log_line() -> None:
    desk = Desk()
    desk.begin("carol")
    server = desk.server()
    asked(server)
    answer(server, ("carol", "s3cret"), ("carol", "s3cret"))
    desk.turn()
    assert "2 rows" in desk.log()
    assert "s3cret" not in desk.log()


# What it is good for


def enter(desk: Desk, found: Credentials) -> None:
    secret = found.secret
    assert secret is not None
    rig = desk.rig
    rig.enter(user=found.user, secret=secret.text.decode(), as_of=found.as_of)


def first_server(desk: Desk) -> ServerEnd:
    desk.begin("warm")
    server = desk.server()
    asked(server)
    answer(server)
    desk.turn()
    return server


def test_a_pools_servers_log_in_with_the_secret_that_was_found() -> None:
    desk = Desk()
    server = first_server(desk)
    enter(desk, look_up(desk, server, "carol", md5_secret(b"pw", b"carol").decode()))
    login = desk.rig.pooler.server_login(desk.control(user="carol"))
    assert login.secret == parse_secret(md5_secret(b"pw", b"carol").decode())


def test_a_changed_secret_counts_for_the_next_connects_of_the_pool() -> None:
    desk = Desk()
    server = first_server(desk)
    enter(desk, look_up(desk, server, "carol", "old"))
    look_up(desk, server, "carol", "new")  # whoever asked for it, and got in or not
    login = desk.rig.pooler.server_login(desk.control(user="carol"))
    assert login.secret == parse_secret("new")


def test_a_login_that_took_long_does_not_bring_an_old_secret_back() -> None:
    desk = Desk()
    server = first_server(desk)
    old = look_up(desk, server, "carol", "old")
    new = look_up(desk, server, "carol", "new")
    enter(desk, new)
    enter(desk, old)
    assert desk.rig.pooler.server_login(desk.control(user="carol")).secret == parse_secret("new")


def test_a_new_login_with_another_secret_ends_the_wait_after_a_refusal() -> None:
    desk = Desk()
    server = first_server(desk)
    enter(desk, look_up(desk, server, "carol", "old"))
    desk.rig.refuse("login failed", "28P01", "password authentication failed")
    enter(desk, look_up(desk, server, "carol", "new"))
    assert len(desk.rig.pending()) == 1


def test_what_auth_query_found_outlives_a_reload_of_its_database() -> None:
    desk = Desk()
    server = first_server(desk)
    enter(desk, look_up(desk, server, "carol", "pw"))
    changed = Database("app", "app", password="other")
    desk.rig.reload(databases={"app": changed})
    assert desk.rig.pooler.server_login(desk.control(user="carol")).secret == parse_secret("pw")


def test_who_is_in_auth_file_since_is_no_longer_looked_up() -> None:
    desk = Desk()
    server = first_server(desk)
    enter(desk, look_up(desk, server, "carol", "found"))
    desk.rig.reload(userlist={"carol": "filed"})
    login = desk.rig.pooler.server_login(desk.control(user="carol"))
    assert login.secret == parse_secret("filed")


def test_scram_keys_of_auth_users_own_login_serve_the_lookups_of_all_databases() -> None:
    secret = f"SCRAM-SHA-256$4096:c2FsdA==${'a' * 43}=:{'b' * 43}="
    keys = ScramKeys(b"c" * 32, b"s" * 32, b"salt", 4096)
    config = replace(configure(**AUTH), userlist={"ask": secret})
    config = replace(config, databases={**config.databases, "other": Database("other", "other")})
    desk = Desk(config)
    desk.begin("carol", "other")
    pooler = desk.rig.pooler
    assert pooler.server_login(desk.control("other")).scram_keys is None
    desk.rig.refuse("failed to answer authreq", "08P01", "wrong password type")
    desk.rig.enter(user="ask", secret=secret, scram_keys=keys)
    assert pooler.server_login(desk.control("other")).scram_keys == keys
    assert desk.control("other").pool.failure is None


# Limits that pools share


def test_a_lookup_that_has_no_place_gets_one_of_a_server_that_idles() -> None:
    desk = Desk(configure(**AUTH, max_db_connections=1))
    client = desk.rig.enter()
    client.query()
    server = desk.server()
    server.answer()
    desk.rig.now += 1.0
    desk.begin("carol")
    assert server.is_closed  # evicted
    assert asked(desk.server()) == ["carol"]


def test_a_lookup_counts_for_none_of_the_limits_of_clients() -> None:
    limits = {"max_db_client_connections": 1, "max_user_client_connections": 1}
    desk = Desk(configure(**AUTH, **limits))
    desk.begin("carol")
    desk.begin("dave")
    assert not desk.rig.enter(user="ask").is_closed
    with pytest.raises(PoolerError, match="client connections exceeded"):
        desk.rig.enter(user="ask")
