"""What docs/apps/airflow-check.md shows as wrong is found, and what it shows as right isn't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgmux_apps.airflow.rules import RULES
from tests.apps.airflow.checking import Checker

DOCUMENT = Path(__file__).parents[3] / "docs/apps/airflow-check.md"
EXAMPLES = re.findall(r"<!-- finds (\w+) -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.mark.parametrize(("rule", "text"), EXAMPLES)
def test_an_example_has_the_finding_that_the_document_says(
    checker: Checker, rule: str, text: str
) -> None:
    assert set(checker.rules(text)) == ({rule} if rule != "nothing" else set())


def test_the_document_has_a_wrong_and_a_right_example_of_each_rule_of_source() -> None:
    assert [rule for rule, _ in EXAMPLES] == [
        each for rule in ("AIR001", "AIR002", "AIR003", "AIR004") for each in (rule, "nothing")
    ]


def test_the_document_explains_every_rule_that_the_checker_has() -> None:
    headings = re.findall(r"^### (AIR\d+)", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule.id for rule in RULES if rule.id != "AIR005")
