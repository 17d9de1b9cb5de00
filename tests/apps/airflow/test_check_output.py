"""What `pgmux-airflow check` prints: the table, JSON, SARIF; and which findings it is told to."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from pgmux_apps.airflow.checker import report
from pgmux_apps.airflow.rules import RULES, SIZES
from tests.apps.airflow.checking import Checker


def exactly(**properties: object) -> dict[str, object]:
    """The schema of an object with all of these and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
NUMBER = {"type": "integer", "minimum": 1}
RULE = exactly(
    id={"type": "string", "pattern": "^AIR[0-9]{3}$"},
    name={"type": "string", "pattern": "^[A-Za-z]+$"},
    shortDescription=exactly(text={**TEXT, "maxLength": 1024}),
    fullDescription=exactly(text={**TEXT, "maxLength": 1024}),
    help=exactly(text=TEXT, markdown=TEXT),
    defaultConfiguration=exactly(level=LEVEL),
    properties={"type": "object"},
)
REGION = {**exactly(startLine=NUMBER, startColumn=NUMBER), "required": ["startLine"]}
URI = {"type": "string", "pattern": "^[A-Za-z0-9._~/%-]+$", "not": {"pattern": "^/|[.][.]"}}
PLACE = exactly(artifactLocation=exactly(uri=URI, uriBaseId=TEXT), region=REGION)
RESULT = exactly(
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=LEVEL,
    message=exactly(text=TEXT),
    locations={"type": "array", "minItems": 1, "items": exactly(physicalLocation=PLACE)},
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
)
RUN = exactly(
    tool=exactly(
        driver=exactly(
            name=TEXT, version=TEXT, informationUri=TEXT, rules={"type": "array", "items": RULE}
        )
    ),
    columnKind={"const": "unicodeCodePoints"},
    originalUriBaseIds={"type": "object"},
    results={"type": "array", "items": RESULT},
)
# What the log has of OASIS's schema of SARIF 2.1.0, and nothing that isn't in there.
SARIF = exactly(
    **{"$schema": TEXT},
    version={"const": "2.1.0"},
    runs={"type": "array", "minItems": 1, "items": RUN},
)
TASKS = """\
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.models import Variable

X = Variable.get("x")
SQLExecuteQueryOperator(task_id="fill", sql="select 1")
"""


def test_the_table_has_place_rule_task_and_what_to_do(checker: Checker) -> None:
    checker.write({"a.py": TASKS})
    lines = checker.run("dags").out.splitlines()
    assert " ".join(lines[0].split()) == (
        "dags/a.py:4:5 AIR002 at module level: Variable.get('x') asks the metadata database"
    )
    assert lines[1].startswith("dags/a.py:5:1  AIR001  fill  uses the database")
    assert 'AIR001  Set pool="db_pool" on the task' in "\n".join(lines)
    assert lines[-1] == "1 file checked, 2 findings (AIR001 1, AIR002 1)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_richs_table_or_plain_lines_without_rich(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker.write({"a.py": TASKS})
    for has_rich in (True, False):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        if not has_rich:
            monkeypatch.setitem(sys.modules, "rich.console", None)
        from pgmux_apps.airflow.cli import main

        assert main(["check", "dags"]) == 1
        assert "dags/a.py:5:1" in terminal.getvalue()
        assert ("where" in terminal.getvalue()) is has_rich


def test_json_has_every_field(checker: Checker) -> None:
    checker.write({"a.py": TASKS})
    answer = checker.run("dags", "--json").json
    assert answer["summary"] == {
        "files": 1,
        "findings": 2,
        "silenced": 0,
        "pools_not_in_source": 0,
        "rules": {"AIR001": 1, "AIR002": 1},
    }
    assert answer["findings"][1] == {
        "rule": "AIR001",
        "name": "task-without-pool",
        "severity": "warning",
        "file": "dags/a.py",
        "line": 5,
        "column": 1,
        "cell": None,
        "task": "fill",
        "message": "uses the database, SQLExecuteQueryOperator, and no pool is set: "
        "it runs in default_pool",
        "advice": 'Set pool="db_pool" on the task, in the default_args of its DAG, '
        "or in @task(...).",
    }


@pytest.mark.parametrize("files", [{"a.py": TASKS}, {"a.py": ""}])
def test_sarif_is_valid_by_its_schema(checker: Checker, files: dict[str, str]) -> None:
    cell = {"cell_type": "code", "source": ["import psycopg\n", "psycopg.connect('')\n"]}
    bad = {"b.py": "(", "c d.ipynb": json.dumps({"cells": [cell]}, indent=1), "d.ipynb": "{"}
    checker.write({**files, **bad})
    log = json.loads(checker.run("dags", "--sarif").out)
    jsonschema.Draft202012Validator(SARIF).validate(log)


def test_sarif_has_what_code_scanning_asks_for(checker: Checker) -> None:
    cell = {"cell_type": "code", "source": ["import psycopg\n", "psycopg.connect('')\n"]}
    text = json.dumps({"cells": [cell]}, indent=1)
    checker.write({"a.py": TASKS, "sub/c d.ipynb": text})
    Path(".git").mkdir()
    [run] = json.loads(checker.run("dags", "--sarif").out)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    for rule in rules:
        assert rule["help"]["text"] and rule["help"]["markdown"]
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [place["artifactLocation"]["uri"] for place in places] == [
        "dags/a.py",
        "dags/a.py",
        "dags/sub/c%20d.ipynb",
    ]
    assert places[0]["region"] == {"startLine": 4, "startColumn": 5}
    line = text.splitlines()[places[2]["region"]["startLine"] - 1]
    assert line.strip() == "\"psycopg.connect('')\\n\""
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert run["originalUriBaseIds"]["%SRCROOT%"]["uri"] == f"{Path.cwd().as_uri()}/"


def test_a_findings_fingerprint_stays_when_its_line_moves(checker: Checker) -> None:
    def prints() -> list[str]:
        [run] = json.loads(checker.run("dags", "--sarif").out)["runs"]
        return [each["partialFingerprints"]["pgmuxFinding/v1"] for each in run["results"]]

    checker.write({"a.py": TASKS})
    before = prints()
    checker.write({"a.py": "# one more\n" + TASKS})
    assert prints() == before
    checker.write({"a.py": TASKS + TASKS})
    assert len(set(prints())) == 4


def test_sarif_goes_to_a_file_beside_the_table(checker: Checker) -> None:
    checker.write({"a.py": TASKS})
    answer = checker.run("dags", "--sarif", "out.sarif")
    assert "dags/a.py:5:1" in answer.out
    assert json.loads(Path("out.sarif").read_text())["version"] == "2.1.0"
    answer = checker.run("dags", "--sarif", "nowhere/out.sarif")
    assert answer.code == 2
    assert "nowhere/out.sarif: No such file or directory" in answer.err


@pytest.mark.parametrize(
    "comment", ["# noqa: AIR002", "#NOQA: E501, air002", "# noqa", "# x # noqa"]
)
def test_a_line_may_silence_a_rule(checker: Checker, comment: str) -> None:
    text = f"from airflow.models import Variable\nX = Variable.get('x')  {comment}\n"
    assert checker.rules(text) == []
    assert checker.run("dags").out == "1 file checked, nothing found, 1 silenced by noqa\n"


@pytest.mark.parametrize("comment", ["# noqa: AIR001", "# noqa: E501", "# see noqa", "noqa = 1"])
def test_another_comment_silences_nothing(checker: Checker, comment: str) -> None:
    text = f"from airflow.models import Variable\nX = Variable.get('x'); {comment}\n"
    rules = checker.rules(text)
    assert rules in (["AIR002"], ["AIR000"])


def test_a_call_over_several_lines_is_silenced_on_its_first_or_last(checker: Checker) -> None:
    text = """
        from airflow.providers.postgres.operators.postgres import PostgresOperator
        PostgresOperator(  # noqa: AIR001
            task_id="a",
        )
        PostgresOperator(
            task_id="b",
        )  # noqa: AIR001
        PostgresOperator(
            task_id="c",  # noqa: AIR001
        )
        """
    assert checker.findings({"a.py": text}) == ["AIR001 a.py:9"]


def test_rules_are_selected_and_ignored(checker: Checker) -> None:
    checker.write({"a.py": TASKS})
    assert checker.run("dags", "--json", "--select", "AIR002").findings == ["AIR002 dags/a.py:4"]
    assert checker.run("dags", "--json", "--ignore", "AIR002").findings == ["AIR001 dags/a.py:5"]
    answer = checker.run("dags", "--ignore", "AIR001,AIR002")
    assert answer.code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "AIR999"], "--select AIR999: the rules are AIR000, AIR001"),
        (["--ignore", ","], "--ignore = ',': names are accepted"),
        (["--direct-port", "abc"], "--direct-port = 'abc': port numbers from 1 to 65535"),
        (["--direct-port", "65536"], "port numbers from 1 to 65535"),
        (["--pool", " "], "--pool = ' ': names are accepted"),
        (["--max-prepared-statements", "-1"], "an integer from 0 is accepted"),
        (["--exclude", "/"], "'/' names nothing"),
        (["--exclude", "["], ""),
    ],
)
def test_nonsense_in_an_option_is_named(
    checker: Checker, arguments: list[str], message: str
) -> None:
    checker.write({"a.py": "x = 1"})
    option, value = arguments
    answer = checker.run("dags", f"{option}={value}")
    assert answer.code == (2 if message else 0)
    assert message in answer.err


def test_help_has_the_rules_and_the_exit_codes(checker: Checker) -> None:
    text = checker.run("--help").out
    assert all(rule.id in text for rule in RULES if rule is not SIZES)
    assert "0  nothing found" in text


def test_progress_is_only_for_terminals(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    checker.write({f"d{number}.py": "" for number in range(60)})
    assert checker.run("dags").err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    from pgmux_apps.airflow.cli import main

    main(["check", "dags"])
    assert "checking 60 of 60 files" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


def test_control_characters_and_half_surrogates_are_made_visible() -> None:
    assert report.printable("a\x1b\n\udcff ä") == r"a\x1b\n\udcff ä"


def test_a_rule_that_only_advice_has_is_refused(checker: Checker) -> None:
    checker.write({"a.py": "x = 1\n"})
    answer = checker.run("dags", "--select", "AIR005")
    assert answer.code == 2
    assert "--select AIR005: the rules are AIR000, AIR001" in answer.err


def test_an_answer_that_nobody_reads_to_its_end_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import psycopg2\nconn = psycopg2.connect('')\n" * 2000)
    command = [sys.executable, "-m", "pgmux_apps.airflow.cli", "check", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 2
