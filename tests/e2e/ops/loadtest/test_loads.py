"""Loads on a real PostgreSQL, straight and through poolers, and what is found of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.ops.loadtest.conftest import PATIENT, Run, at, results
from tests.fixtures.pooler import MakePooler, Pooler

SMALL = ("--num-queries=60", "--num-workers=6", *PATIENT)


@pytest.mark.parametrize(
    "driver", [("--pool-size=2", "--max-overflow=1"), ("--driver=sqlalchemy", "--pool-size=2")]
)
def test_both_sides_are_asked_in_turns_by_either_driver(
    driver: tuple[str, ...], run: Run, pgmux: Pooler
) -> None:
    done = run("--direct=dbname=postgres", f"--pooler={at(pgmux)}", *SMALL, *driver, "--json")
    assert done.returncode == 0, done.stderr
    shown = results(done)
    assert shown["passed"] is True
    for side in shown["sides"].values():
        assert (side["whole"]["succeeded"], side["whole"]["failed"]) == (60, 0)
        assert side["whole"]["connect"]["mean_ms"] > 0
    assert shown["ratio"]["mean"] > 0
    assert shown["notes"][0] == "Both sides in turns, 4 rounds each"


def test_more_workers_than_postgresql_has_places_fail_directly_and_work_through_the_pooler(
    run: Run, pgmux: Pooler, create_role: Callable[..., tuple[str, str]]
) -> None:
    user, password = create_role("CONNECTION LIMIT 9")
    pgmux.users[user] = password
    pgmux.reload()
    places = (f"--direct=user={user}", f"--pooler={at(pgmux)} user={user}", "--rounds=2")
    load = ("--num-queries=60", "--num-workers=20", *PATIENT)
    shown = results(run(*places, *load, "--json", PGPASSWORD=password))
    direct, pooled = (shown["sides"][name]["whole"] for name in ("direct", "pooler"))
    assert pooled["success_percent"] == 100
    assert shown["passed"] is True
    assert 0 < direct["succeeded"] < 60
    assert direct["errors"][0]["code"] == "53300"
    assert "a pooler in between" in direct["errors"][0]["cure"]


def test_prepared_statements_through_an_old_pgbouncer_are_named_with_their_cure(
    run: Run, pgbouncer: PoolerProcess
) -> None:
    # Fewer statements than servers know: the plain query, and what asyncpg asks besides.
    place = f"--pooler={at(pgbouncer)}"
    load = ("--num-queries=120", "--num-workers=6", "--query-type=complex", *PATIENT)
    done = run(place, *load)
    assert done.returncode == 1, done.stdout
    assert 'prepared statement "__asyncpg_stmt_…__"' in done.stdout
    assert "max_prepared_statements = 200" in done.stdout
    assert "failed: success > 99 %" in done.stdout
    cured = run(place, *load, "--statement-cache-size=0")
    assert cured.returncode == 0, cured.stdout


def test_clients_beyond_the_poolers_limit_are_counted_as_what_it_says(
    run: Run, pgbouncer: PoolerProcess
) -> None:
    load = ("--num-queries=24", "--num-workers=12", "--statement-cache-size=0", *PATIENT)
    shown = results(run(f"--pooler={at(pgbouncer)}", *load, "--json"))
    (error,) = [e for e in shown["sides"]["pooler"]["whole"]["errors"] if e["code"]]
    assert "max_client_conn" in error["message"]
    assert "raise it" in error["cure"]
    assert shown["passed"] is False


def test_a_client_that_waits_too_long_for_a_server_gets_its_query_wait_timeout_counted(
    run: Run, module_pooler: MakePooler, tmp_path: Path
) -> None:
    pooler = module_pooler(settings={"default_pool_size": 1, "query_wait_timeout": 1})
    (tmp_path / "slow.sql").write_text("SELECT pg_sleep(0.7)")
    load = ("--num-queries=4", "--num-workers=4", "--query-type=slow.sql")
    done = run(f"--pooler={at(pooler)}", *load, *PATIENT, "--json")
    errors = results(done)["sides"]["pooler"]["whole"]["errors"]
    assert ["query_wait_timeout" in each["message"] for each in errors] == [True]
    assert "default_pool_size" in errors[0]["cure"]


def test_a_pool_of_the_driver_that_is_too_small_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "slow.sql").write_text("SELECT pg_sleep(0.4)")
    pool = ("--pool-size=1", "--max-overflow=0", "--pool-timeout=0.2")
    load = ("--num-queries=3", "--num-workers=3", "--query-type=slow.sql", *pool, "--json")
    for driver in ("asyncpg", "sqlalchemy"):
        errors = results(run(*load, "--driver", driver))["sides"]["direct"]["whole"]["errors"]
        assert [e["message"] for e in errors] == ["no connection of the pool was free in 0.2 s"]


def test_connections_that_postgresql_ends_are_made_anew_and_the_load_goes_on(
    run: Run, tmp_path: Path
) -> None:
    # Half of the queries end the other worker's connection, which is hardly ever between two.
    (tmp_path / "own.sql").write_text(
        "SELECT pg_sleep(0.01);"
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'quarrel' AND pid <> pg_backend_pid() AND random() < 0.5"
    )
    place = "--direct=application_name=quarrel"
    load = ("--num-queries=40", "--num-workers=2", "--query-type=own.sql", "--json")
    for driver in ("asyncpg", "sqlalchemy"):
        whole = results(run(place, *load, "--driver", driver, *PATIENT))["sides"]["direct"]["whole"]
        assert whole["succeeded"] > 0
        assert "57P01" in {each["code"] for each in whole["errors"]}
        assert whole["connections"] > 2


def test_bursts_are_measured_from_the_moment_that_they_were_planned_for(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "slow.sql").write_text("SELECT pg_sleep(0.3)")
    burst = ("--test-type=burst", "--burst-size=2", "--num-bursts=3", "--burst-interval=0.1")
    shown = results(run(*burst, "--query-type=slow.sql", *PATIENT, "--json"))
    whole = shown["sides"]["direct"]["whole"]
    assert whole["queries"] == 6
    # The third one was due at 0.2 s and came at 0.6 s, behind two others.
    assert whole["latency"]["max_ms"] >= 690
    assert whole["latency"]["median_ms"] >= 490


def test_a_ramp_has_a_line_for_each_of_its_steps(run: Run, pgmux: Pooler) -> None:
    load = ("--test-type=ramp", "--num-queries=60", "--num-workers=6", *PATIENT)
    done = run(f"--pooler={at(pgmux)}", *load)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stdout.splitlines() if line.endswith("passed")]
    assert steps == ["1", "2", "4", "6"]
    assert "passed at 6 workers" in done.stdout


def test_a_file_is_one_transaction_whose_writes_stay_and_its_trial_leaves_nothing(
    run: Run,
    pgmux: Pooler,
    create_database: Callable[..., str],
    postgres: EmbeddedPostgres,
    tmp_path: Path,
) -> None:
    name = create_database()
    postgres.psql("CREATE TABLE t (x text)", name)
    (tmp_path / "own.sql").write_text(
        "INSERT INTO t VALUES ($$a;b$$); -- ;\nINSERT INTO t SELECT 'x' FROM t LIMIT 1;\n"
    )
    load = ("--num-queries=5", "--num-workers=1", "--query-type=own.sql", *PATIENT)
    done = run(f"--pooler={at(pgmux)} dbname={name}", *load)
    assert done.returncode == 0, done.stderr
    assert "own.sql: 2 statements, one transaction" in done.stdout
    assert "own.sql writes or locks rows" in done.stdout
    # Five and the one that isn't counted, of which each writes two rows.
    assert postgres.psql("SELECT count(*) FROM t", name).strip() == "12"


def test_statement_mode_takes_one_statement_and_says_why_not_several(
    run: Run, module_pooler: MakePooler, tmp_path: Path
) -> None:
    place = f"--pooler={at(module_pooler(settings={'pool_mode': 'statement'}))}"
    (tmp_path / "own.sql").write_text("SELECT 2")
    load = ("--num-queries=5", "--num-workers=1", "--query-type=own.sql", *PATIENT)
    assert run(place, *load).returncode == 0
    (tmp_path / "own.sql").write_text("SELECT 2; SELECT 3")
    done = run(place, *load)
    assert done.returncode == 2
    assert "transaction" in done.stderr


def test_nothing_is_left_behind(
    run: Run, create_database: Callable[..., str], postgres: EmbeddedPostgres
) -> None:
    name = create_database()
    objects = "SELECT count(*) FROM pg_class"
    before = postgres.psql(objects, name)
    done = run(f"--direct=dbname={name}", "--query-type=complex", *SMALL)
    assert done.returncode == 0, done.stderr
    assert postgres.psql(objects, name) == before
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgmux loadtest%'"
    assert postgres.psql(f"{ours} AND datname = '{name}'").strip() == "0"


def test_a_limit_that_is_not_kept_is_exit_code_1_and_said_with_its_number(run: Run) -> None:
    done = run("--num-queries=20", "--num-workers=2", "--max-p95=0.001")
    assert done.returncode == 1
    assert "failed: p95 < 0.001 ms: " in done.stdout
