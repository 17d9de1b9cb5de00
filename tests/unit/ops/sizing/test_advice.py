"""What follows from a demand, and how PostgreSQL's connections are shared."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pgmux.monitor.tables import HostRow, PoolRow, UserRow
from pgmux.ops.severity import exit_code
from pgmux.ops.sizing.advice import Wishes
from pgmux.ops.sizing.fragment import fragment
from pgmux.ops.sizing.observation import Observation
from pgmux.ops.sizing.plan import Plan, PoolPlan, make_plan
from pgmux.ops.sizing.postgres_room import rooms_told
from pgmux.ops.sizing.report import json_of, print_report, too_little
from pgmux.ops.sizing.room import Room, Step, share
from tests.unit.ops.sizing.consoles import LIMITS, Pooler, database, pool, steady

DB1 = ("db1", 5432)
BUSY = pool(cl_active=30, sv_active=2)
FIVE_BUSY = pool(cl_active=90, sv_active=5)


def plan_of(observation: Observation, room: Room | None = None, **wishes: float) -> Plan:
    rooms = {} if room is None else {DB1: room}
    return make_plan(observation, "pooler:6432", rooms, Wishes(**wishes))


def only(plan: Plan) -> PoolPlan:
    [found] = plan.pools
    return found


def code(plan: Plan) -> int:
    return exit_code(plan.severities())


# One pool


def test_a_pool_gets_the_fewest_servers_that_keep_the_wait() -> None:
    advice = only(plan_of(steady(Pooler(), BUSY))).advice
    # Erlang C for 2.0 servers busy, 50 ms each: with 7 servers 99 of 100 wait no time, with 6
    # 0.018 have to wait, for ln(0.018 / 0.01) x 50 ms / (6 - 2) = 7.4 ms.
    assert advice.by_model == 7
    assert advice.wanted is not None and advice.wanted.pool_size == 7


def test_who_bears_a_longer_wait_needs_fewer() -> None:
    sizes = [
        only(plan_of(steady(Pooler(), BUSY), target=target)).advice.by_model
        for target in (0.0, 0.005, 0.05, 0.5)
    ]
    assert sizes == [7, 7, 5, 3]


def test_more_load_to_come_needs_more() -> None:
    now, later = (only(plan_of(steady(Pooler(), BUSY), growth=g)).advice for g in (1.0, 3.0))
    assert now.wanted is not None and later.wanted is not None
    assert now.wanted.pool_size < later.wanted.pool_size < 3 * now.wanted.pool_size


def test_no_pool_needs_more_servers_than_it_has_clients() -> None:
    advice = only(plan_of(steady(Pooler(), pool(cl_active=3, sv_active=2)))).advice
    assert advice.by_model == 7 and advice.most_clients == 3
    assert advice.wanted is not None and advice.wanted.pool_size == 3


@pytest.mark.parametrize("by_pool", [True, False], ids=["pgmux", "PgBouncer"])
def test_a_size_with_which_nobody_waited_is_enough_whatever_theory_says(by_pool: bool) -> None:
    five = [database(pool_size=5)]
    good = plan_of(steady(Pooler(five, by_pool=by_pool), BUSY, waited=0.0))
    assert only(good).advice.is_measured and only(good).after.pool_size == 5
    assert "whatever the model says" in printed(good)
    bad = plan_of(steady(Pooler(five, by_pool=by_pool), BUSY, waited=0.01))
    assert not only(bad).advice.is_measured and only(bad).after.pool_size == 7
    later = plan_of(steady(Pooler(five, by_pool=by_pool), BUSY, waited=0.0), growth=2)
    assert only(later).after.pool_size > 7


def test_clients_that_come_for_one_transaction_bound_nothing() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        observation.add(pooler.at(float(second), pool(cl_active=second % 4, sv_active=2)))
        pooler.do(40, 0.05)
    advice = only(plan_of(observation)).advice
    assert advice.most_clients is None
    assert advice.wanted is not None and advice.wanted.pool_size == 7


def test_what_comes_at_once_counts_where_theory_knows_nothing_of_it() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        row = pool(cl_active=90, sv_active=12) if second % 10 == 0 else BUSY
        observation.add(pooler.at(float(second), row))
        pooler.do(40, 0.05)
    advice = only(plan_of(observation)).advice
    assert advice.by_samples == 11  # the last of 12 waits for (12 - 11) x 50 / 11 ms
    assert advice.wanted is not None and advice.wanted.pool_size == 11


def test_too_few_transactions_say_nothing_and_how_long_it_takes_is_said() -> None:
    plan = plan_of(steady(Pooler(), BUSY, rate=1))
    assert not plan.judged
    text = too_little(plan)
    assert "60 transactions, 100 are needed: at this rate 2 min" in text


def test_few_transactions_that_hold_all_servers_are_no_advice_but_said() -> None:
    full = pool(sv_active=5, cl_waiting=9)
    plan = plan_of(steady(Pooler([database(pool_size=5)]), full, rate=0.1, held=50))
    assert not plan.judged
    assert "in 100% of the samples clients waited" in too_little(plan)


def test_too_few_samples_say_nothing() -> None:
    plan = plan_of(steady(Pooler(), BUSY, seconds=10))
    assert "seen in 11 samples, 20 are needed" in too_little(plan)


def test_of_no_pool_at_all_it_is_said_when_to_come() -> None:
    empty = steady(Pooler(), pool("pgbouncer", "pgbouncer"))
    assert "nobody has used a pool" in too_little(plan_of(empty))


def test_in_session_mode_each_client_gets_a_server() -> None:
    pooler = Pooler([database(pool_mode="session")])
    plan = plan_of(steady(pooler, pool(cl_active=33, sv_active=20, cl_waiting=2)))
    assert only(plan).after.pool_size == 35
    assert "session mode" in printed(plan)


def saturated(waiting: int = 10) -> Observation:
    pooler, observation = Pooler([database(pool_size=5)]), Observation(60, 1.0)
    for second in range(61):
        row = pool(cl_active=10, sv_active=5, cl_waiting=waiting)
        observation.add(pooler.at(float(second), row))
        pooler.do(100, 0.05, waited=waiting / 100)
    return observation


def test_a_full_pool_gets_what_its_waiting_clients_could_hold() -> None:
    plan = plan_of(saturated())
    assert only(plan).advice.by_model is None
    assert only(plan).after.pool_size == 14  # 15 at once, of whom the last may wait for 5 ms
    assert "hidden" in printed(plan) and "observe again" in printed(plan)
    assert code(plan) == 1


def test_a_pool_that_something_else_holds_down_is_told_so() -> None:
    assert "something else bounds" not in printed(plan_of(saturated()))
    pooler, observation = Pooler([database(pool_size=20)]), Observation(60, 1.0)
    for second in range(61):
        observation.add(pooler.at(float(second), pool(cl_active=10, sv_active=5, cl_waiting=10)))
        pooler.do(100, 0.05, waited=0.1)
    assert "had 5 servers of its 20 then, so something else bounds it" in printed(
        plan_of(observation)
    )


def test_a_user_s_limit_below_what_is_needed_is_told() -> None:
    pooler = Pooler(users=[UserRow("web", max_user_connections=4)])
    assert "max_user_connections bounds web to 4 servers, where 7 are needed" in printed(
        plan_of(steady(pooler, BUSY))
    )


def test_where_the_queue_only_grew_the_pool_is_doubled() -> None:
    pooler, observation = Pooler([database(pool_size=5)]), Observation(60, 1.0)
    for second in range(61):
        row = pool(cl_active=10, sv_active=5, cl_waiting=5 * second)
        observation.add(pooler.at(float(second), row))
        pooler.do(100, 0.05, waited=0.05 * second)
    plan = plan_of(observation)
    assert only(plan).after.pool_size == 10
    assert "more and more" in printed(plan)


def test_servers_that_come_and_go_are_kept() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        busy = pool(cl_active=30, sv_active=2, sv_idle=second % 2)
        observation.add(pooler.at(float(second), busy))
        pooler.do(40, 0.05)
    assert only(plan_of(observation)).after.min_pool_size == 2


def test_a_reserve_is_for_peaks_that_outlast_its_timeout() -> None:
    pooler, observation = Pooler(), Observation(400, 1.0)
    for second in range(401):
        row = pool(cl_active=90, sv_active=60) if second == 200 else pool(sv_active=2)
        observation.add(pooler.at(float(second), row))
        pooler.do(0.5, 4.0)
    plan = plan_of(observation, target=1.0)
    after = only(plan).advice.wanted
    assert after is not None
    # 60 at once of 4 s each wait for 5 s at most with 60 x 4 / (5 + 4) = 27 servers.
    assert after.pool_size + after.reserve_pool_size == 27


# The process


def test_a_crowded_pooler_is_to_take_more_clients() -> None:
    plan = plan_of(steady(Pooler(clients=90), BUSY))
    assert plan.process.max_client_conn_after == 140
    assert code(plan) == 1
    assert plan_of(steady(Pooler(clients=50), BUSY)).process.max_client_conn_after == 100


def test_clients_that_were_refused_or_timed_out_are_an_error() -> None:
    pooler = Pooler()
    observation = steady(pooler, BUSY)
    pooler.errors = {"no more connections allowed (max_client_conn)": 7, "query_wait_timeout": 2}
    observation.add(pooler.at(61.0, BUSY))
    plan = plan_of(observation)
    assert (plan.process.refused_clients, plan.process.timed_out) == (7, 2)
    assert code(plan) == 3


def test_clients_that_may_wait_for_ever_get_a_timeout() -> None:
    endless = Pooler(limits=replace(LIMITS, query_wait_timeout=0.0))
    assert "query_wait_timeout = 120" in fragment(plan_of(steady(endless, BUSY)), None)


# PostgreSQL's room


def two(rows: Mapping[str, int], rate: float = 80, size: int = 20) -> Observation:
    """Two pools of databases of their own, with so many servers busy in the samples."""
    pooler = Pooler([database(name, pool_size=size) for name in rows])
    observation = Observation(60, 1.0)
    pools: list[PoolRow] = [pool(n, cl_active=90, sv_active=busy) for n, busy in rows.items()]
    for second in range(61):
        observation.add(pooler.at(float(second), *pools))
        for name, busy in rows.items():
            pooler.do(rate * busy, 1 / rate, waited=0.0005, key=(name, "web"))
    return observation


def sizes(plan: Plan) -> dict[str, float]:
    return {found.key[0]: found.after.pool_size for found in plan.pools}


def test_a_pool_with_more_than_it_needs_keeps_it_while_there_is_room() -> None:
    plan = plan_of(two({"app": 2, "other": 2}), Room(100, 3, 10))
    assert sizes(plan) == {"app": 20, "other": 20}
    assert plan.servers[0].fit.step is Step.RAISED and code(plan) == 0
    assert fragment(plan, None) == ""


def test_room_is_made_by_those_who_have_more_than_they_need() -> None:
    plan = plan_of(two({"app": 40, "other": 2}), Room(100, 3, 32))
    found = sizes(plan)
    assert plan.servers[0].fit.step is Step.NEEDED
    assert found["app"] > 40 and found["other"] < 20 and sum(found.values()) <= 65


def test_lower_takes_from_all_what_they_did_not_need() -> None:
    observation = two({"app": 2, "other": 2})
    plan = make_plan(observation, "p:1", {}, Wishes(), lower=True)
    assert all(size < 20 for size in sizes(plan).values())
    assert fragment(plan, None)


def test_what_postgresql_has_is_never_exceeded_but_shared_by_need() -> None:
    plan = plan_of(two({"app": 60, "other": 20}), Room(60, 3, 17))
    found = sizes(plan)
    assert plan.servers[0].is_short and code(plan) == 3
    assert sum(found.values()) == 40
    assert found["app"] > 2 * found["other"] > 0
    assert "shared by need" in printed(plan)


def test_pools_of_which_too_little_was_seen_give_way() -> None:
    pooler = Pooler([database("app", pool_size=20), database("quiet", pool_size=20)])
    observation = Observation(60, 1.0)
    rows = pool("app", cl_active=90, sv_active=20), pool("quiet", sv_idle=1)
    for second in range(61):
        observation.add(pooler.at(float(second), *rows))
        pooler.do(400, 0.05, waited=0.01)
    plan = plan_of(observation, Room(50, 3, 12))
    assert plan.servers[0].fit.step is Step.UNKNOWN_CUT
    found = sizes(plan)
    assert found["quiet"] == 1 and found["app"] > 20


def test_users_of_one_database_are_bounded_together() -> None:
    pooler = Pooler([database(pool_size=50)])
    rows = (pool(user=u, cl_active=90, sv_active=n) for u, n in (("web", 10), ("batch", 2)))
    plan = plan_of(steady(pooler, *rows, rate=240), Room(50, 3, 19))
    limit = plan.database_limits["app"]
    assert limit <= 28 and plan.servers[0].fit.after <= 28
    assert f"max_db_connections = {limit}\n" in fragment(plan, lambda section, name: "host=db1")


def test_a_user_whose_pool_grows_for_another_one_s_sake_is_no_reason() -> None:
    pooler = Pooler([database(pool_size=5)], by_pool=True)
    observation = Observation(60, 1.0)
    rows = pool(user="web", cl_active=90, sv_active=5), pool(user="batch", sv_idle=1)
    for second in range(61):
        observation.add(pooler.at(float(second), *rows))
        pooler.do(100, 0.05, waited=0.02)
    text = fragment(plan_of(observation), lambda section, name: "host=db1")
    assert "app/web had" in text and "app/batch" not in text


def test_a_setting_of_the_process_says_that_its_section_must_not_come_twice() -> None:
    text = fragment(plan_of(saturated()), lambda section, name: "host=db1")
    assert "[pgbouncer]\n; for the section that is there: a second one resets all" in text
    own = fragment(plan_of(saturated()), lambda section, name: "host=db1 pool_size=5")
    assert "second one" not in own


def test_a_limit_of_the_database_that_is_too_low_is_raised() -> None:
    pooler = Pooler([database(pool_size=5, max_connections=8)])
    plan = plan_of(steady(pooler, FIVE_BUSY, rate=100, waited=0.02), Room(100, 3, 0))
    assert plan.database_limits == {"app": only(plan).after.pool_size}


def test_hosts_that_the_console_knows_count_without_those_around_the_pooler() -> None:
    pooler = Pooler(hosts=[HostRow("10.0.0.7", 5432, 100, 3, 2)])
    sample = pooler.at(0.0)
    assert rooms_told(sample, keep_free=10) == {DB1: Room(100, 3, None, 10)}
    assert rooms_told(sample, keep_free=10)[DB1].left == 87
    unasked = Pooler(hosts=[HostRow("10.0.0.7", 5432, None, None, 2)])
    assert rooms_told(unasked.at(0.0), 0) == {}


@given(
    room=st.integers(0, 500),
    needs=st.lists(st.integers(1, 300), min_size=1, max_size=12),
)
def test_shares_are_whole_and_fill_the_room(room: int, needs: list[int]) -> None:
    parts = share(room, needs)
    assert all(1 <= part <= need for part, need in zip(parts, needs, strict=True))
    assert sum(parts) == min(sum(needs), max(room, len(needs)))


# The fragment


def config(**entries: str) -> Mapping[tuple[str, str], str]:
    return {("databases", name): value for name, value in entries.items()}


def raised(find: Mapping[tuple[str, str], str] | None, **row: object) -> str:
    pooler = Pooler([database(pool_size=5, **row), database("other", host="db2")])
    observation = steady(
        pooler, pool(cl_active=90, sv_active=5), pool("other"), rate=100, waited=0.02
    )
    plan = make_plan(observation, "p:1", {}, Wishes())
    return fragment(plan, None if find is None else lambda *key: find.get(key))


def test_an_entry_is_whole_with_its_new_size() -> None:
    text = raised(config(app="host=db1 dbname='my app' pool_size=5 connect_query='SELECT 1'"))
    assert "app = host=db1 dbname='my app' connect_query='SELECT 1' pool_size=11\n" in text


def test_a_password_isn_t_repeated() -> None:
    text = raised(config(app="host=db1 user=u password=sekrit"))
    assert "sekrit" not in text
    [line] = [line for line in text.splitlines() if "password=" in line]
    assert line.startswith(";") and "pool_size=11" in line


def test_what_only_the_star_serves_gets_an_entry_of_its_own() -> None:
    assert "app = host=db1 pool_size=11\n" in raised({("databases", "*"): "host=db1"})


def test_without_a_file_the_change_is_a_comment() -> None:
    assert "; to the line of app add: pool_size=11\n" in raised(None)


def test_a_pooler_of_one_pool_gets_the_default_changed() -> None:
    plan = plan_of(saturated())
    by_default = fragment(plan, lambda section, name: "host=db1 password=sekrit")
    assert "default_pool_size = 14\n" in by_default and "sekrit" not in by_default
    own = fragment(plan, lambda section, name: "host=db1 pool_size=5")
    assert "app = host=db1 pool_size=14\n" in own


def test_a_user_s_own_size_is_changed_where_it_stands() -> None:
    pooler = Pooler(users=[UserRow("web", pool_size=5)])
    observation = steady(pooler, FIVE_BUSY, rate=100, waited=0.02)
    text = fragment(plan_of(observation), lambda *key: {("users", "web"): "pool_size=5"}.get(key))
    assert "[users]\n" in text and "web = pool_size=11\n" in text


# The report


def printed(plan: Plan, text: str = "") -> str:
    console = Console(width=200, record=True, file=io.StringIO(), markup=False)
    print_report(plan, text, console)
    return console.export_text()


def test_names_that_others_chose_move_no_cursor() -> None:
    name = "app\x1b[31m[red]"
    pooler = Pooler([database(name)])
    observation = Observation(60, 1.0)
    for second in range(61):
        observation.add(pooler.at(float(second), pool(name, sv_active=2)))
        pooler.do(40, 0.05, key=(name, "web"))
    plan = plan_of(observation)
    text = printed(plan, fragment(plan, None))
    assert "\x1b" not in text and "[red]" in text


def test_json_has_no_infinity() -> None:
    pooler = Pooler([database(pool_size=0)])
    plan = plan_of(steady(pooler, BUSY))
    assert only(plan).advice.now.pool_size == math.inf
    content = json.loads(json_of(plan, ""), parse_constant=pytest.fail)
    assert content["pools"][0]["now"]["pool_size"] is None
    assert content["pools"][0]["demand"]["load"] == pytest.approx(2.0)


def test_the_arithmetic_is_shown() -> None:
    text = printed(plan_of(steady(Pooler(by_pool=True), BUSY), Room(100, 3, 12)))
    assert "40/s x 50ms" in text
    assert "100 - 3 reserved - 12 around the pooler = 85" in text
    assert "Nothing has to change." in text
