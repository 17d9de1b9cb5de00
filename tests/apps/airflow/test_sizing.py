"""The arithmetic of AIR005: Airflow's sizes beside the pooler's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux_apps.airflow.sizing import (
    Advice,
    AirflowSizes,
    Layout,
    PoolerSizes,
    Verdict,
    advise,
    advised_slots,
)

POOLER = PoolerSizes(
    pool_size=25, max_db_connections=None, max_user_connections=None, max_client_conn=1000
)
AIRFLOW3 = AirflowSizes(
    major=3,
    parallelism=32,
    max_active_tasks_per_dag=16,
    max_active_runs_per_dag=16,
    engine_connections=15,
    api_workers=1,
    parsing_processes=2,
    is_enforced=True,
)
AIRFLOW2 = replace(AIRFLOW3, major=2, api_workers=4)


def rows(
    pooler: PoolerSizes = POOLER,
    airflow: AirflowSizes = AIRFLOW3,
    layout: Layout | None = None,
    slots: int | None = 20,
) -> dict[str, Advice]:
    found = advise(pooler, airflow, layout or Layout(), "db_pool", slots)
    return {row.setting: row for row in found}


@pytest.mark.parametrize(
    ("pool_size", "slots"), [(1, 1), (2, 1), (3, 2), (5, 4), (20, 16), (25, 20), (100, 80)]
)
def test_a_fifth_of_the_server_connections_stays_for_others(pool_size: int, slots: int) -> None:
    assert advised_slots(replace(POOLER, pool_size=pool_size)) == slots


def test_the_smallest_of_the_poolers_limits_is_what_the_slots_go_by() -> None:
    narrow = replace(POOLER, max_db_connections=10, max_user_connections=15)
    assert advised_slots(narrow) == 8
    assert "max_db_connections 10" in rows(narrow)["db_pool slots"].why


def test_a_task_of_two_connections_takes_two() -> None:
    assert advised_slots(POOLER, connections_per_task=2) == 10


def test_a_pooler_without_a_limit_gives_no_advice_on_slots_but_says_so() -> None:
    unlimited = replace(POOLER, pool_size=None)
    assert advised_slots(unlimited) is None
    assert rows(unlimited)["db_pool slots"].verdict is Verdict.NOTE
    assert "--slots" in rows(unlimited)["db_pool slots"].why


def test_slots_that_fit_stay_as_they_are_and_fewer_are_no_mistake() -> None:
    for slots in (1, 4, 20):
        assert rows(slots=slots)["db_pool slots"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("slots", "now"), [(21, "21"), (-1, "unlimited"), (0, "0"), (None, "no such pool")]
)
def test_a_pool_that_is_too_large_or_unlimited_or_closed_or_missing_is_to_be_changed(
    slots: int | None, now: str
) -> None:
    row = rows(slots=slots)["db_pool slots"]
    assert (row.now, row.advised, row.verdict) == (now, "20", Verdict.CHANGE)


def test_a_pool_of_four_slots_gives_the_sizes_that_a_team_wrote_down_for_it() -> None:
    found = rows(slots=4)
    assert found["max_active_tasks_per_dag"].advised == "4"
    assert found["max_active_runs_per_dag"].advised == "1"


def test_in_airflow_3_the_runs_of_a_dag_multiply_its_tasks() -> None:
    row = rows(slots=20)["max_active_runs_per_dag"]
    assert "16 runs x 16 tasks a run = 256 for 20 slots" in row.why
    assert row.advised == "1"
    assert rows(airflow=replace(AIRFLOW3, max_active_tasks_per_dag=5))[
        "max_active_runs_per_dag"
    ].advised == ("4")


def test_parallelism_above_the_servers_matters_only_while_tasks_can_leave_the_pool_out() -> None:
    assert rows()["parallelism"].verdict is Verdict.OK
    loose = rows(airflow=replace(AIRFLOW3, is_enforced=False))["parallelism"]
    assert (loose.advised, loose.verdict) == ("25", Verdict.CHANGE)
    two = rows(airflow=replace(AIRFLOW3, is_enforced=False), layout=Layout(schedulers=2))
    assert two["parallelism"].advised == "12"


def test_parallelism_below_the_slots_is_named_since_some_are_never_used() -> None:
    row = rows(airflow=replace(AIRFLOW3, parallelism=8))["parallelism"]
    assert row.verdict is Verdict.NOTE
    assert "12 slots" in row.why


def test_unlimited_parallelism_is_to_be_changed_and_no_number_of_clients_is_enough() -> None:
    found = rows(airflow=replace(AIRFLOW2, parallelism=None))
    assert (found["parallelism"].now, found["parallelism"].advised) == ("unlimited", "25")
    assert found["max_client_conn"].verdict is Verdict.NOTE


def test_clients_of_airflow_3_are_two_engines_a_process() -> None:
    row = rows()["max_client_conn"]
    assert "4 processes x (15 sync + 15 async)" in row.why
    assert row.why.endswith("= 152")  # 32 + 4 * 30
    assert rows(replace(POOLER, max_client_conn=152))["max_client_conn"].verdict is Verdict.OK
    short = rows(replace(POOLER, max_client_conn=151))["max_client_conn"]
    assert (short.advised, short.verdict) == ("200", Verdict.CHANGE)


def test_clients_of_airflow_2_are_one_engine_a_process_and_its_tasks_ask_the_database_too() -> None:
    row = rows(airflow=AIRFLOW2)["max_client_conn"]
    # 32 tasks, (1 + 4 + 1 + 1) * 15, 2 parsing processes and 32 tasks of 2 each
    assert row.why.endswith("= 205")


def test_a_metadata_database_elsewhere_leaves_the_tasks_alone() -> None:
    row = rows(layout=Layout(is_metadata_pooled=False))["max_client_conn"]
    assert row.why == "32 tasks x 1 = 32"


def test_an_engine_without_a_pool_has_no_number() -> None:
    row = rows(airflow=replace(AIRFLOW3, engine_connections=None))["max_client_conn"]
    assert (row.verdict, row.advised) == (Verdict.NOTE, "1000")


@pytest.mark.parametrize("name", ["max_active_tasks_per_dag", "max_active_runs_per_dag"])
def test_a_limit_of_0_per_dag_means_that_nothing_runs(name: str) -> None:
    airflow = replace(
        AIRFLOW3,
        max_active_tasks_per_dag=0 if "tasks" in name else 16,
        max_active_runs_per_dag=0 if "runs" in name else 16,
    )
    assert rows(airflow=airflow)[name].verdict is Verdict.CHANGE


def test_a_pooler_that_takes_no_client_is_told_how_many_it_needs() -> None:
    assert rows(replace(POOLER, max_client_conn=0))["max_client_conn"].advised == "200"


def test_session_mode_is_named() -> None:
    assert rows(replace(POOLER, pool_mode="session"))["pool_mode"].advised == "transaction"
    assert "pool_mode" not in rows()
