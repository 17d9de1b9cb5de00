"""OBS: dashboards and alerts that ask for the wrong thing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Role, Service
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

_NEEDS = ("environment",)
_RENAMED_SINCE = (0, 11)


@rule("OBS001", Severity.WARNING, "a dashboard asks for renamed metrics", needs=_NEEDS)
def renamed_metrics(evidence: Evidence) -> Iterator[Found]:
    assert evidence.environment is not None
    exporters = [each for each in evidence.environment.services if _renames(each)]
    for where, count in _places(evidence, "stats") if exporters else ():
        yield Found(
            f"{count} lines ask for pgbouncer_stats_…; {exporters[0].image} has called them "
            f"pgbouncer_stats_totals_… since 0.11 ({exporters[0].where}): the panels are empty",
            "pgmux web, which has both names; else the new names in the file",
            where,
        )


def _renames(service: Service) -> bool:
    """Whether it is the community's exporter of 0.11 or later; without a version the newest."""
    if service.role is not Role.EXPORTER or "pgbouncer" not in service.image:
        return False
    if not re.search(r"prometheuscommunity|prometheus-community", service.image):
        return False
    found = re.search(r":v?(\d+)\.(\d+)", service.image)
    return found is None or (int(found[1]), int(found[2])) >= _RENAMED_SINCE


@rule("OBS002", Severity.WARNING, "a saturation alert that always fires", needs=("config", *_NEEDS))
def constant_alert(evidence: Evidence) -> Iterator[Found]:
    assert evidence.config is not None
    if evidence.config.settings.max_user_connections:
        return
    for where, count in _places(evidence, "saturation"):
        yield Found(
            f"{count} lines divide by clamp_min(pgbouncer_config_max_user_connections, 1), and "
            "max_user_connections = 0, which is no limit: one server connection is 100 %",
            "deploy/prometheus/pgbouncer-mixin-rules.yml, which compares with the pools' sizes",
            where,
        )


@rule("OBS003", Severity.WARNING, "a pool's utilisation that is none", needs=_NEEDS)
def wrong_utilization(evidence: Evidence) -> Iterator[Found]:
    for where, count in _places(evidence, "utilization"):
        yield Found(
            f"{count} lines divide by sqlalchemy_pool_size + sqlalchemy_pool_overflow: overflow is "
            "what is open beyond the size at the moment (SQLAlchemy counts from -size), not what "
            "may be, so 2 of 15 connections read as 40 or 100 %",
            "sqlalchemy_pool_utilization_ratio, or … / sqlalchemy_pool_capacity (pgmux_apps)",
            where,
        )


def _places(evidence: Evidence, metric: str) -> list[tuple[str, int]]:
    """Of each file the first line that asks for it, and how many do."""
    assert evidence.environment is not None
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for query in evidence.environment.queries:
        if query.metric == metric:
            file = query.where.rpartition(":")[0]
            first.setdefault(file, query.where)
            counts[file] = counts.get(file, 0) + 1
    return [(where, counts[file]) for file, where in first.items()]


RULES = (renamed_metrics, constant_alert, wrong_utilization)
