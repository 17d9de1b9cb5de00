"""The settings of `[pgmux]` that `pgmux-airflow check` finds without Airflow."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from pgmux_apps.airflow.checker.airflowignore import is_ignored, read_patterns
from tests.apps.airflow.checking import Checker

TASK = """\
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
SQLExecuteQueryOperator(task_id="t", sql="", pool="etl")
URL = "postgresql://db:6543/x"
"""


def write_config(text: str, name: str = "airflow/airflow.cfg") -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_pools_and_ports_come_from_airflows_configuration(checker: Checker) -> None:
    assert checker.rules(TASK) == ["AIR001"]
    write_config("[core]\nx = %(y)s\n[pgmux]\npool = db_pool, etl\ndirect_ports = 5432,6543\n")
    assert checker.rules(TASK) == ["AIR003"]
    assert checker.rules(TASK, "--direct-port", "5432") == []


def test_the_environment_comes_before_the_file_and_options_before_both(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config("[pgmux]\npool = other\n", "elsewhere.cfg")
    monkeypatch.setenv("AIRFLOW_CONFIG", "elsewhere.cfg")
    monkeypatch.setenv("AIRFLOW__PGMUX__POOL", "etl")
    assert checker.rules(TASK) == []
    monkeypatch.setenv("AIRFLOW__PGMUX__POOL", "")
    assert checker.rules(TASK) == ["AIR001"]
    assert checker.rules(TASK, "--pool", "etl") == []


def test_the_syntax_of_airflowignore_is_airflows_setting(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {".airflowignore": "^a\n", "a.py": TASK, "b.py": TASK}
    monkeypatch.setenv("AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX", "regexp")
    assert checker.findings(files) == ["AIR001 b.py:2"]
    monkeypatch.setenv("AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX", "glob")
    assert checker.findings(files) == ["AIR001 a.py:2", "AIR001 b.py:2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no section\n", "airflow.cfg isn't an airflow.cfg: File contains no section headers."),
        (
            "[pgmux]\ndirect_ports = abc\n",
            "airflow.cfg: [pgmux] direct_ports = 'abc': port numbers",
        ),
        ("[pgmux]\npool = ,\n", "[pgmux] pool = ',': names are accepted"),
        ("[pgmux]\nmax_prepared_statements = x\n", "= 'x': an integer from 0 is accepted"),
        ("[core]\ndag_ignore_file_syntax = git\n", "= 'git': regexp or glob is accepted"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named_with_its_place(
    checker: Checker, text: str, message: str
) -> None:
    checker.write({"a.py": ""})
    write_config(text)
    answer = checker.run("dags")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


PATTERNS = [
    "a", "a.py", "*.py", "/a.py", "sub/", "sub", "/sub", "sub/a.py", "sub/*", "*/a.py", "**/a.py",
    "sub/**", "a/**/b.py", "**", "*", "?.py", "[ab].py", "[!a].py", "[^a].py", "!a.py", "\\!a.py",
    "a\\*.py", "a*b", "sub/*.py", "*sub*", "/", "!", " a.py ", "a.py/", "**/sub/", "sub/**/a.py",
    "***", "a**b.py", "[a", "[]a].py", "/**", "/*/a.py",
]  # fmt: skip
PATHS = [
    "a", "a.py", "b.py", "ab.py", "sub", "sub/a.py", "sub/b.py", "a/b.py", "a/x/b.py", "a/x/y/b.py",
    "x/sub/a.py", "sub/x/a.py", "!a.py", "a*.py", "axb", "mysubs/a.py", "].py",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the class that Airflow uses
@pytest.mark.parametrize("pattern", PATTERNS)
def test_glob_patterns_mean_what_they_mean_to_airflow(pattern: str) -> None:
    spec = pytest.importorskip("pathspec.patterns").GitWildMatchPattern
    ours, _ = read_patterns(pattern, "glob", PurePosixPath())
    theirs = None if pattern.strip() in ("/", "!") else spec(pattern)
    has_base = pattern.startswith("/") or "/" in pattern.rstrip("/")
    for path in PATHS:
        for is_folder in (False, True):
            # As airflow.utils.file has it
            seen = path if has_base else path.rpartition("/")[2]
            matched = theirs is not None and theirs.include is not None
            matched = matched and not (pattern.strip().endswith("/") and not is_folder)
            matched = matched and theirs.match_file(seen + "/" * is_folder) is not None
            expected = bool(matched and theirs.include)
            assert is_ignored(PurePosixPath(path), is_folder, ours) is expected, path
