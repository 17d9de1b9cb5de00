"""How a report looks: on narrow and wide terminals, with hostile names, and as JSON."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.outside import Answers
from pgmux.ops.check.judge import Finding, Report, judge
from pgmux.ops.check.report import json_of, print_outside, print_report
from pgmux.ops.check.rules import RULES
from pgmux.ops.severity import Severity
from tests.unit.ops.check.cases import CASES
from tests.unit.ops.check.cases.live import console, evidence
from tests.unit.ops.check.cases.outside import outside


def shown(report: Report, width: int = 80) -> str:
    """What a terminal of that width shows."""
    terminal = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    print_report(report, terminal)
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


def report_of(*findings: Finding, unread: tuple[Unread, ...] = ()) -> Report:
    return Report(findings, ("OK001",), (("PG001", ("servers",)),), unread)


def finding(evidence: str = "seen", where: str = "db:5432", rule: str = "BAD001") -> Finding:
    return Finding(rule, Severity.ERROR, "is bad", where, evidence, "do this", f"docs#{rule}")


def test_a_rule_is_named_once_with_all_its_places() -> None:
    text = shown(report_of(finding("one", "a:1"), finding("two", "a:1"), finding("three", "b:2")))
    assert text.count("BAD001  is bad") == 1
    assert [text.count(each) for each in ("a:1", "b:2", "docs#BAD001")] == [1, 1, 1]
    assert text.index("one") < text.index("two") < text.index("b:2") < text.index("three")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_or_than_one_can_read(width: int) -> None:
    text = shown(judge(CASES["SIZE001"].bad, RULES), width)
    assert max(map(len, text.splitlines())) <= min(width, 110)


def test_what_was_not_looked_at_is_told_with_the_rules_that_wanted_it() -> None:
    text = shown(report_of(unread=(Unread("servers", "refused", "start it"),)))
    assert "· PostgreSQL: refused" in text
    assert "→ start it" in text
    assert "nothing found; 1 rule found nothing; 1 couldn't be checked" in text
    assert "for want of PostgreSQL (PG001)" in " ".join(text.split())


def test_names_that_others_chose_move_no_cursor() -> None:
    unread = Unread("\x1b", "\x9b", "\r")
    text = shown(report_of(finding("\x1b[2J\x07", "\x1b]0;x\x07"), unread=(unread,)))
    assert not set(text) & set("\x1b\x07\x9b\r")


def test_who_was_asked_is_said() -> None:
    report = judge(evidence(console=console()), RULES)
    assert report.asked == ("PgBouncer 1.25.2 at pooler:6432",)
    assert "asked: PgBouncer 1.25.2" in shown(report)


def test_json_has_severities_by_name_and_what_answers() -> None:
    facts = outside(answers=Answers.PGMUX).outside
    told = json.loads(json_of(report_of(finding()), facts))
    assert told["findings"][0]["severity"] == "error"
    assert told["unchecked"] == [{"rule": "PG001", "lacking": ["servers"]}]
    assert (told["outside"]["answers"], told["outside"]["asks"]) == ("pgmux", "scram")
    assert told["outside"]["insists_on_tls"] is True


def test_what_answers_is_told_before_what_is_wrong_with_it() -> None:
    terminal = Console(file=io.StringIO(), width=80)
    facts = outside(refusal="no \x1b[2J").outside
    assert facts is not None
    print_outside(facts, terminal)
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert "offered, TLSv1.3, and insisted on" in text
    assert "\x1b" not in text
