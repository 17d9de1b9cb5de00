"""Every rule finds its trigger in a bad case, and nothing in a good one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.monitor.tables import UserRow
from pgmux.ops.check.facts.server import RoleFacts
from pgmux.ops.check.judge import judge
from pgmux.ops.check.rule import Rule
from pgmux.ops.check.rules import OUTSIDE_RULES, RULES
from pgmux.ops.severity import Severity
from tests.unit.ops.check.cases import CASES, Case
from tests.unit.ops.check.cases.live import INI, console, evidence, pool, server

DOCUMENT = "docs/checks.md"
ALL = RULES + OUTSIDE_RULES


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_a_rule_finds_its_trigger_and_no_other(each: Rule) -> None:
    case: Case = CASES[each.id]
    bad, good = judge(case.bad, [each]), judge(case.good, [each])
    assert [finding.rule for finding in bad.findings] == [each.id] * case.count
    for text in case.says:
        assert any(text in f"{row.where} {row.evidence} {row.advice}" for row in bad.findings), text
    assert good.findings == ()
    assert good.good == (each.id,)


def test_every_case_is_a_rules() -> None:
    assert CASES.keys() == {each.id for each in ALL}
    assert len({each.id for each in ALL}) == len(ALL)


def test_every_rule_has_a_heading_in_the_document(pytestconfig: pytest.Config) -> None:
    headings = [
        line.removeprefix("### ")
        for line in (pytestconfig.rootpath / DOCUMENT).read_text().splitlines()
        if line.startswith("### ")
    ]
    assert sorted(headings) == sorted(each.id for each in ALL)


def test_a_rule_without_its_evidence_is_reported_as_not_checked() -> None:
    (rule,) = [each for each in RULES if each.id == "EXPO004"]
    bare = CASES["EXPO004"].bad.__class__("pgbouncer.ini")
    report = judge(bare, [rule])
    assert (report.findings, report.good) == ((), ())
    assert report.unchecked == (("EXPO004", ("config",)),)


USERS = "".join(f'"{name}" "x"\n' for name in ("app", "report", "job", "etl", "ops"))


@pytest.mark.parametrize(("size", "severity"), [(20, Severity.WARNING), (98, Severity.ERROR)])
def test_pools_that_each_user_would_have_to_fill_are_no_error(
    size: int, severity: Severity
) -> None:
    (rule,) = [each for each in RULES if each.id == "SIZE001"]
    roles = [RoleFacts(name) for name in ("app", "report", "job", "etl", "ops")]
    ini = f"{INI}default_pool_size = {size}\n"
    (found,) = judge(evidence(server(roles=roles), ini=ini, userlist=USERS), [rule]).findings
    assert found.severity is severity
    assert f"{5 * size}  all pools" in found.evidence


def test_sizes_of_users_are_the_files_where_show_users_of_pgbouncer_repeats_them() -> None:
    (rule,) = [each for each in RULES if each.id == "SIZE001"]
    stale = tuple(UserRow(name, pool_size=80) for name in ("app", "boss"))  # boss has none
    asked = console([pool(user="app"), pool(user="boss")])
    asked = replace(asked, sample=replace(asked.sample, users=stale))
    ini = f"{INI}[users]\napp = pool_size=80\n"
    (found,) = judge(evidence(server(), console=asked, ini=ini), [rule]).findings
    assert "80  shop of app: 80" in found.evidence
    assert "20  shop of boss: 20" in found.evidence
