"""deploy/prometheus: promtool takes its files, and each alert is tested and explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.tools import require_tool

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = sorted(PROMETHEUS.glob("*-rules.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.test.yml"))


def promtool(*arguments: str | Path) -> None:
    """Run in the directory of the files; fails with what it says."""
    done = subprocess.run(
        [require_tool("promtool"), *arguments], cwd=PROMETHEUS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def alerts_of(path: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


ALERTS = [alert for path in RULES for alert in alerts_of(path)]
# Each thing that a test expects of an alert at a time.
EXPECTATIONS: list[dict[str, Any]] = [
    expectation
    for path in TESTS
    for case in yaml.safe_load(path.read_text())["tests"]
    for expectation in case["alert_rule_test"]
]
each_alert = pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}"
)


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_alerts_fire_where_they_should_and_only_there(path: Path) -> None:
    promtool("test", "rules", path)


def test_each_file_of_rules_has_its_test() -> None:
    assert [path.name.replace(".test.yml", ".yml") for path in TESTS] == [p.name for p in RULES]
    assert len(ALERTS) > 30


@each_alert
def test_an_alert_is_tested_firing_and_not_firing(alert: dict[str, Any]) -> None:
    expected = [
        each.get("exp_alerts", []) for each in EXPECTATIONS if each["alertname"] == alert["alert"]
    ]
    severities = {fired["exp_labels"]["severity"] for fires in expected for fired in fires}
    assert alert["labels"]["severity"] in severities
    assert [] in expected


@each_alert
def test_an_alert_says_how_bad_what_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert {"summary", "description", "runbook"} == alert["annotations"].keys()
    document, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


def test_what_is_explained_is_an_alert() -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^#### (.+)$", text, re.MULTILINE))
    assert explained == {rule["alert"] for rule in alerts_of(PROMETHEUS / "pgmux-rules.yml")}


def test_prometheus_takes_the_pieces_of_configuration_in_the_documentation(tmp_path: Path) -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    blocks = [
        yaml.safe_load(block)
        for block in re.findall(r"^```yaml\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    ]
    (config,) = (block for block in blocks if "scrape_configs" in block)
    (relabel,) = (block for block in blocks if "metric_relabel_configs" in block)
    config["scrape_configs"][0] |= relabel
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    promtool("check", "config", path)


def test_the_warning_is_silenced_by_labels_that_the_alerts_have() -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    (equal,) = re.findall(r"equal: \[(.*)\]", text)
    both = {alert["alert"] for alert in ALERTS if alert["labels"]["severity"] == "critical"} & {
        alert["alert"] for alert in ALERTS if alert["labels"]["severity"] == "warning"
    }
    labels = {
        label
        for each in EXPECTATIONS
        if each["alertname"] in both
        for fired in each.get("exp_alerts", [])
        for label in fired["exp_labels"]
    }
    assert labels - {"severity"} <= set(equal.split(", "))
