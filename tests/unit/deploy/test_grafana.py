"""deploy/grafana: dashboards that Grafana 10 and later can load and that say what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures import dashboards

GRAFANA = dashboards.DIRECTORY.parent
COLUMNS = 24  # of Grafana's grid
FIRST_SCHEMA_OF_10 = 38
DASHBOARDS = [dashboards.load(path) for path in dashboards.FILES]
PANELS = [
    (dashboard, panel)
    for dashboard in DASHBOARDS
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each["uid"])
each_panel = pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{d['uid']}-{p['title']}" for d, p in PANELS]
)

Json = dict[str, Any]


def test_there_are_the_dashboards_that_links_point_to() -> None:
    assert {each["uid"] for each in DASHBOARDS} == {"connection-pool-monitoring", "pgmux"}


@each_dashboard
def test_a_dashboard_is_of_a_version_that_grafana_10_reads(dashboard: Json) -> None:
    assert dashboard["schemaVersion"] == FIRST_SCHEMA_OF_10
    assert "id" not in dashboard, "an id is one Grafana's own"
    assert {"title", "description", "time", "refresh", "tags"} <= dashboard.keys()


@each_dashboard
def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: Json) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS, panel["title"]
        cells = {
            (at["x"] + column, at["y"] + row) for column in range(at["w"]) for row in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@each_dashboard
def test_the_data_source_is_chosen_by_a_variable(dashboard: Json) -> None:
    """A uid would be of the Grafana that the dashboard was made in."""
    found = [
        each["datasource"]["uid"]
        for each in (*dashboard["panels"], *dashboards.variables(dashboard))
        if "datasource" in each
    ]
    assert set(found) == {"${datasource}"}
    assert dashboards.variables(dashboard)[0]["name"] == "datasource"


@each_panel
def test_a_panel_queries_and_names_what_it_shows(dashboard: Json, panel: Json) -> None:
    assert panel["description"].endswith("."), "a sentence"
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["targets"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(refs) == len(set(refs))
    assert all(target["expr"].strip() for target in panel["targets"])
    if len(refs) > 1 and panel["type"] == "timeseries":
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(legends) == len(set(legends)), "lines that can't be told apart"


@each_panel
def test_a_panel_looks_at_what_the_variables_choose(dashboard: Json, panel: Json) -> None:
    chosen = [f"${each['name']}" for each in dashboards.variables(dashboard)]
    for target in panel["targets"]:
        assert any(name in target["expr"] for name in chosen), target["expr"]


@each_panel
def test_thresholds_are_drawn_where_there_are_any(dashboard: Json, panel: Json) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    has_any = len(defaults["thresholds"]["steps"]) > 1
    if panel["type"] == "timeseries":
        assert (defaults["custom"]["thresholdsStyle"]["mode"] != "off") == has_any


@pytest.mark.parametrize(
    ("title", "warning", "critical"),
    [
        ("SQLAlchemy Pool Utilization", 75, 90),
        ("PgBouncer Pool Utilization", 75, 90),
        ("Connection Checkout Duration", 0.1, 0.5),
        ("PgBouncer Max Wait Time", 5, 30),
    ],
)
def test_the_thresholds_are_those_of_the_alerts(
    title: str, warning: float, critical: float
) -> None:
    (panel,) = (panel for _, panel in PANELS if panel["title"] == title)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, warning, critical]


def test_grafana_is_given_a_data_source_and_the_dashboards() -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = provisioned("dashboards/pgmux.yaml")["providers"]
    assert provider["type"] == "file"
    assert Path(provider["options"]["path"]).is_absolute()


def provisioned(name: str) -> Json:
    content: Json = yaml.safe_load((GRAFANA / "provisioning" / name).read_text())
    assert content["apiVersion"] == 1
    return content
