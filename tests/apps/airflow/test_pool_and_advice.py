"""`pgmux-airflow pool` and `advice` where no Airflow is installed: numbers, a file, a console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgmux_apps.airflow.cli import main
from tests.fixtures.pooler import MakePooler

INI = """\
[databases]
etl = host=10.0.0.1 dbname=etl pool_size=8 password=very-secret
bare = host=10.0.0.1
* = host=10.0.0.1 max_db_connections=12

[pgbouncer]
; default_pool_size = 3
pool_mode = transaction
default_pool_size = 25
max_client_conn = 1000
"""


@pytest.fixture(autouse=True)
def no_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty AIRFLOW_HOME, of no Airflow."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path / "airflow.cfg"


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "pgbouncer.ini"
    path.write_text(INI)
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `pgmux-airflow … --json` prints."""
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def by_setting(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {row["setting"]: row for row in rows}


def test_the_command_is_printed_even_where_no_airflow_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["pool", "--default-pool-size", "5"]) == 2
    out = capsys.readouterr().out
    assert "airflow pools set db_pool 4 " in out
    assert "default_pool_size 5 - 1 kept for others = 4" in out
    assert "Airflow isn't installed here" in out


def test_set_without_an_airflow_fails_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pool", "--slots", "4", "--set"]) == 2
    assert "Airflow isn't installed here" in capsys.readouterr().err


def test_a_name_that_a_shell_would_take_apart_is_quoted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        "set 'my pool; rm' 4 "
        in answer(capsys, "pool", "--name", "my pool; rm", "--slots", "4")["command"]
    )


def test_the_pool_is_the_one_that_the_policy_is_told_of(
    capsys: pytest.CaptureFixture[str], no_airflow: Path
) -> None:
    no_airflow.write_text("[pgmux]\npool = etl_pool, other\n")
    assert answer(capsys, "pool", "--slots", "4")["pool"] == "etl_pool"
    assert answer(capsys, "pool", "--name", "mine", "--slots", "4")["pool"] == "mine"


@pytest.mark.parametrize(
    ("database", "slots"),
    [
        pytest.param([], 20, id="no entry: the general size"),
        pytest.param(["--database", "etl"], 7, id="an entry's own pool_size"),
        pytest.param(["--database", "bare"], 20, id="an entry that says nothing"),
        pytest.param(["--database", "other"], 10, id="the fallback entry's max_db_connections"),
    ],
)
def test_sizes_are_read_from_a_pgbouncer_ini(
    capsys: pytest.CaptureFixture[str], ini: Path, database: list[str], slots: int
) -> None:
    assert answer(capsys, "pool", "--ini", str(ini), *database)["slots"] == slots


def test_a_number_on_the_command_line_wins_over_the_file(
    capsys: pytest.CaptureFixture[str], ini: Path
) -> None:
    found = answer(capsys, "pool", "--ini", str(ini), "--default-pool-size", "10")
    assert found["slots"] == 8


def test_an_included_file_counts_and_one_that_includes_itself_ends(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outer, inner = tmp_path / "outer.ini", tmp_path / "inner.ini"
    outer.write_text("[pgbouncer]\n%include inner.ini\n")
    inner.write_text("default_pool_size = 10\n")
    assert answer(capsys, "pool", "--ini", str(outer))["slots"] == 8
    inner.write_text("%include inner.ini\n")
    assert main(["pool", "--ini", str(outer)]) == 2
    assert "%include" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pgbouncer]\ndefault_pool_size = many\n", "default_pool_size = 'many': a number"),
        ("[databases]\nx = host=h password=very-secret\n", "--database etl"),
    ],
)
def test_nonsense_in_the_file_is_one_error_without_what_else_is_in_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "pgbouncer.ini"
    path.write_text(text)
    database = ["--database", "etl"] if "databases" in text else []
    assert main(["pool", "--ini", str(path), *database]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "very-secret" not in error
    assert main(["pool", "--ini", str(tmp_path / "absent")]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["pool", "--slots", "0"],
        ["pool", "--slots", "four"],
        ["pool", "--name", ""],
        ["pool", "--name", "x" * 257],
        ["pool", "--default-pool-size", "-1"],
        ["pool", "--console", "user:password@host:6432"],
        ["pool", "--console", "host"],
        ["advice", "--schedulers", "0"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2


def test_sizes_are_asked_of_a_running_pooler(
    capsys: pytest.CaptureFixture[str], pooler: MakePooler
) -> None:
    front = pooler(
        databases={"etl": "pool_size=10", "*": ""},
        settings={"default_pool_size": 25, "max_client_conn": 100},
    )
    console = f"postgres@{front.host}:{front.port}"
    assert answer(capsys, "pool", "--console", console)["slots"] == 20
    assert answer(capsys, "pool", "--console", console, "--database", "etl")["slots"] == 8
    rows = by_setting(answer(capsys, "advice", "--console", console))
    assert rows["max_client_conn"]["now"] == "100"
    assert rows["max_client_conn"]["rule"] == "AIR005"
    assert answer(capsys, "pool", "--console", console, "--database", "of_all")["slots"] == 20


def test_a_console_that_isnt_there_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advice", "--console", "admin@127.0.0.1:1"]) == 2
    assert "pgbouncer at 127.0.0.1:1 as admin" in capsys.readouterr().err


def test_airflows_sizes_come_from_its_file_and_the_environment_wins(
    capsys: pytest.CaptureFixture[str], no_airflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_airflow.write_text("[core]\nparallelism = 8\nmax_active_tasks_per_dag = 3\n")
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "12")
    rows = by_setting(answer(capsys, "advice", "--slots", "4", "--max-client-conn", "1000"))
    assert rows["parallelism"]["now"] == "12"
    assert rows["max_active_tasks_per_dag"]["now"] == "3"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AIRFLOW__CORE__PARALLELISM", "lots", "[core] parallelism='lots': an integer from 1"),
        ("AIRFLOW__CORE__PARALLELISM", "0", "[core] parallelism='0': an integer from 1"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE", "-5", "[database] sql_alchemy_pool_size"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_ENABLED", "maybe", "true or false"),
    ],
)
def test_nonsense_in_airflows_settings_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert main(["advice"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("POOL_SIZE", "0"), ("MAX_OVERFLOW", "-1"), ("POOL_ENABLED", "False")],
)
def test_an_engine_without_a_limit_is_unlimited_however_it_is_spelled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__DATABASE__SQL_ALCHEMY_{name}", value)
    rows = by_setting(answer(capsys, "advice"))
    assert rows["max_client_conn"]["verdict"] == "note"
    assert "unlimited" in rows["max_client_conn"]["why"]


def test_the_exit_code_says_whether_anything_is_to_be_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["advice", "--max-client-conn", "1000", "--slots", "16"]) == 1
    monkeypatch.setenv("AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG", "1")
    monkeypatch.setenv("AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG", "4")
    monkeypatch.setenv("AIRFLOW__PGMUX__POLICY", "enforce")
    assert main(["advice", "--max-client-conn", "1000", "--slots", "16"]) == 0
    assert "setting" in capsys.readouterr().out
