"""A bad and a good case of each rule, by id; one module of cases for each module of rules."""

from __future__ import annotations

from tests.unit.ops.check.cases import (
    airflow,
    deployment,
    exposure,
    limits,
    load,
    lookup,
    observing,
    outside,
    prepared,
    roles,
    server,
    session,
    sizing,
)
from tests.unit.ops.check.cases.case import Case

CASES: dict[str, Case] = {
    **exposure.CASES,
    **lookup.CASES,
    **limits.CASES,
    **roles.CASES,
    **server.CASES,
    **load.CASES,
    **outside.CASES,
    **sizing.CASES,
    **prepared.CASES,
    **session.CASES,
    **deployment.CASES,
    **airflow.CASES,
    **observing.CASES,
}
