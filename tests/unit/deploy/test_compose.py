"""deploy/docker/monitoring: what its compose file joins fits together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pgmux.config import load_config

ROOT = Path(__file__).parents[3]
DIRECTORY = ROOT / "deploy/docker/monitoring"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DIRECTORY / "compose.yaml").read_text())[
    "services"
]


def mounts(service: str) -> dict[Path, Path]:
    """Where in the container, to what it is here."""
    volumes = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {
        Path(target): (DIRECTORY / source).resolve()
        for source, target, *_ in volumes
        if source.startswith(".")
    }


def test_prometheus_scrapes_the_pooler_where_its_web_process_listens() -> None:
    pgmux_ini = mounts("pgmux")[Path("/etc/pgbouncer/pgmux.ini")]
    files = {"pgbouncer.ini": "[pgbouncer]\n", "pgmux.ini": pgmux_ini.read_text()}
    config = load_config("pgbouncer.ini", files.__getitem__, "pgmux.ini")
    prometheus = mounts("prometheus")[Path("/etc/prometheus")] / "prometheus.yml"
    (job,) = yaml.safe_load(prometheus.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in SERVICES
    assert config.pgmux.http_listen == f"*:{port}"


def test_alerts_go_to_a_service_that_there_is() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (manager,) = config["alerting"]["alertmanagers"]
    assert manager["static_configs"][0]["targets"][0].partition(":")[0] in SERVICES


def test_grafana_finds_the_data_source_and_the_dashboards() -> None:
    places = mounts("grafana")
    provisioning = places[Path("/etc/grafana/provisioning")]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES
    (provider,) = yaml.safe_load((provisioning / "dashboards/pgmux.yaml").read_text())["providers"]
    assert [*places[Path(provider["options"]["path"])].glob("*.json")]


def test_what_is_published_is_reached_from_this_machine_alone() -> None:
    published = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_pooler_is_built_of_this_source() -> None:
    build = SERVICES["pgmux"]["build"]
    assert (DIRECTORY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
