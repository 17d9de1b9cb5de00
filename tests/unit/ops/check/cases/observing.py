"""OBS: dashboards and alerts that ask for the wrong thing."""

from __future__ import annotations

from pgmux.config.model import Config
from pgmux.ops.check.evidence import Evidence
from tests.unit.ops.check.cases.case import Case, config_of
from tests.unit.ops.check.cases.local import POOLED, compose, evidence, service

CONFIG = config_of(POOLED)
LIMITED = config_of(POOLED + "max_user_connections = 50\n")
EXPORTER = "prometheuscommunity/pgbouncer-exporter"
SATURATED = "expr: x / clamp_min(pgbouncer_config_max_user_connections, 1)\n"
SUM = (
    'expr: sqlalchemy_pool_checked_out / (sqlalchemy_pool_size{a="b"} + sqlalchemy_pool_overflow)\n'
)


def mounted(
    rules: str, *, exporter: str = f"{EXPORTER}:v0.11.0", config: Config = CONFIG
) -> Evidence:
    text = compose(
        service("exporter", exporter),
        service(
            "prometheus", "prom/prometheus", "volumes: ['./rules.yml:/etc/prometheus/rules.yml']"
        ),
    )
    return evidence(config, compose=text, files={"rules.yml": rules})


CASES = {
    "OBS001": Case(
        bad=mounted("- expr: rate(pgbouncer_stats_queries_total[5m])\n"),
        good=mounted("- expr: rate(pgbouncer_stats_totals_queries_total[5m])\n"),
        says=("v0.11.0", "rules.yml:1"),
    ),
    "OBS002": Case(
        bad=mounted(SATURATED),
        good=mounted(SATURATED, config=LIMITED),
        says=("max_user_connections = 0",),
    ),
    "OBS003": Case(
        bad=mounted(SUM),
        good=mounted("expr: sqlalchemy_pool_utilization_ratio\n"),
        says=("rules.yml:1", "sqlalchemy_pool_utilization_ratio"),
    ),
}
