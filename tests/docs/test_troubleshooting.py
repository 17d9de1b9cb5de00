"""docs/troubleshooting.md: each heading is reproduced by a test, and found by what it quotes.

Most tests are in tests/e2e/symptoms and name their heading by a marker; symptoms_elsewhere.txt has
those that stand where the behaviour is tested anyway.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.symptoms.page import PAGE, Symptom, symptoms
from tests.fixtures.documents import ROOT

SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "src").glob("**/*.py")))

# a heading, and below it, indented, file::test
_ELSEWHERE = re.compile(r"^(\S.*)\n    (\S+)::(\w+)$", re.MULTILINE)
ELSEWHERE = {
    title: (ROOT / file, function)
    for title, file, function in _ELSEWHERE.findall(
        Path(__file__).with_name("symptoms_elsewhere.txt").read_text(encoding="utf-8")
    )
}

ALL = symptoms()
BY_OTHERS = re.compile(r"(PostgreSQL|libpq|SQLAlchemy): |After a `pg_dump`")
SLUG = re.compile(r"[^\w\- ]")


def title_of(symptom: Symptom) -> str:
    return symptom.title


def marked() -> list[str]:
    """The headings that tests in tests/e2e/symptoms name."""
    found = []
    for path in (ROOT / "tests/e2e/symptoms").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.symptom":
                found.append(ast.literal_eval(node.args[0]))
    return found


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("symptom", ALL, ids=title_of)
def test_a_symptom_is_reproduced_by_a_test(symptom: Symptom) -> None:
    if symptom.title in marked():
        assert symptom.title not in ELSEWHERE
    else:
        path, function = ELSEWHERE[symptom.title]
        assert function in functions_of(path)


def test_no_test_is_about_a_heading_that_is_no_more() -> None:
    assert (set(marked()) | set(ELSEWHERE)) - {each.title for each in ALL} == set()


def test_a_heading_stands_once() -> None:
    assert [title for title, count in Counter(map(title_of, ALL)).items() if count > 1] == []


@pytest.mark.parametrize("symptom", ALL, ids=title_of)
def test_what_a_heading_quotes_is_said_by_pgmux_or_by_whom_it_names(symptom: Symptom) -> None:
    if BY_OTHERS.match(symptom.title):
        return
    parts = [part for message in symptom.messages for part in message.split("…")]
    assert [part for part in parts if part.strip('" ') and part.strip() not in SOURCES] == []


def test_the_index_has_every_message_with_its_place() -> None:
    text = PAGE.read_text(encoding="utf-8")
    index = text.partition("## Index\n\n")[2].partition("\n\n## ")[0]
    assert index.splitlines() == expected_index(), "\n".join(expected_index())


def expected_index() -> list[str]:
    """A line for each message, by the alphabet."""
    lines = []
    for symptom in ALL:
        anchor = SLUG.sub("", symptom.title.lower()).replace(" ", "-")
        for message in symptom.messages or [symptom.title]:
            shown = f"`{message}`" if symptom.messages else message
            lines.append((message.lstrip('… "').lower(), f"- [{shown}](#{anchor})"))
    return [line for _, line in sorted(lines)]


def test_links_within_the_page_lead_to_headings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall("^#+ (.+)$", text, re.MULTILINE)
    anchors = {SLUG.sub("", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) - anchors == set()
