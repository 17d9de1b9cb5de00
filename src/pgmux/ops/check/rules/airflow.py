"""AIR: Airflow's connections. What its DAGs do, `pgmux-airflow check` reads: the ids are one
row, and those of both say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgmux.config.model import Config
from pgmux.ops.check.deployed import (
    Route,
    at_transaction_pool,
    is_meant_direct,
    programs_of,
    route,
    targets_of,
    untracked_because,
)
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Role, Target
from pgmux.ops.check.pooled_programs import targets_at_pooler
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

_NEEDS = ("config", "environment")
_PARALLELISM = "AIRFLOW__CORE__PARALLELISM"
_DEFAULT_PARALLELISM = 32
_DEFAULT_ACTIVE_TASKS = 16
_METADATA = (
    *("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC",
)
# Who has connections to the metadata database, by the word of the command that starts it.
_COMPONENTS = ("scheduler", "webserver", "api-server", "dag-processor", "triggerer", "standalone")
_STANDALONE = 4  # those before it in one container


@rule("AIR003", Severity.WARNING, "Airflow past the pooler", needs=_NEEDS)
def airflow_past_pooler(evidence: Evidence) -> Iterator[Found]:
    for program, target in _airflow_targets(evidence):
        if route(evidence, program, target) is Route.SERVER and not is_meant_direct(target):
            yield Found(
                f"{target.variable} leads to PostgreSQL itself, {target.place}: its connections "
                "are as many as tasks run",
                "the pooler's host and port",
                target.where,
            )


@rule("AIR005", Severity.WARNING, "Airflow's components above max_client_conn", needs=_NEEDS)
def components_above_clients(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    demands = [each for program in programs_of(evidence) if (each := _demand(evidence, program))]
    total = sum(each.most for each in demands)
    if total > config.settings.max_client_conn:
        file, line = config.settings.places.get("max_client_conn", ("", 0))
        yield Found(
            f"{'; '.join(map(str, demands))}; together up to {total}, and max_client_conn = "
            f"{config.settings.max_client_conn} ({file}:{line or 'default'})",
            "a larger max_client_conn, or a smaller AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE and "
            "…_MAX_OVERFLOW",
            demands[0].where,
        )


@dataclass(frozen=True, slots=True)
class _Demand:
    name: str
    components: int
    pool: int
    overflow: int
    where: str

    @property
    def most(self) -> int:
        return self.components * (self.pool + self.overflow) * 2

    def __str__(self) -> str:
        count = f"{self.components} × " if self.components > 1 else ""
        return f"{self.name}: {count}({self.pool} + {self.overflow}) × 2 engines = {self.most}"


def _demand(evidence: Evidence, program: Program) -> _Demand | None:
    """What a component's two engines, sync and async, can open at the pooler."""
    service = program.service
    if service is None or service.role is not Role.AIRFLOW:
        return None
    if not any(t.variable in _METADATA for t in targets_at_pooler(evidence, program)):
        return None
    words = service.command or service.name
    component = next((each for each in _COMPONENTS if each in words), None)
    if component is None:
        return None
    pool = program.number("AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE")
    overflow = program.number("AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW")
    count = _STANDALONE if component == "standalone" else 1
    if component in ("webserver", "api-server"):
        count = program.number("AIRFLOW__API__WORKERS", "AIRFLOW__WEBSERVER__WORKERS") or 1
    return _Demand(
        service.name,
        count * service.replicas,
        5 if pool is None else pool,
        10 if overflow is None else overflow,
        service.where,
    )


@rule("AIR006", Severity.ERROR, "PostgresHook prepares what the pooler loses", needs=_NEEDS)
def hook_prepares(evidence: Evidence) -> Iterator[Found]:
    because = untracked_because(evidence)
    for _, target in at_transaction_pool(evidence) if because else ():
        threshold = target.parameters.get("prepare_threshold", "").lower()
        if target.variable.startswith("AIRFLOW_CONN_") and threshold not in ("null", "none"):
            yield Found(
                f"{target.variable}: PostgresHook of today (providers-postgres 7) is psycopg 3, "
                f"which prepares from the fifth use on; {because}",
                'the connection\'s extra {"prepare_threshold": null}; or max_prepared_statements = '
                "200 (pgmux, PgBouncer from 1.21 on)",
                target.where,
            )


@rule("AIR007", Severity.WARNING, "more tasks at once than the pool has servers", needs=_NEEDS)
def parallelism_above_pool(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    said: set[str] = set()
    for program, target in _airflow_targets(evidence):
        if target.variable in _METADATA or route(evidence, program, target) is not Route.POOLER:
            continue
        database = config.find_database(target.database or target.user)
        if database is None or target.where in said:
            continue
        said.add(target.where)
        user = database.user or target.user or None
        size = config.pool_size(database, user)
        most = size + config.reserve_pool_size(database, user)
        given = program.number(_PARALLELISM)
        parallelism = _DEFAULT_PARALLELISM if given is None else given
        if size and parallelism > most:
            yield _too_many(program, target, parallelism, given is None, size, most - size)


def _too_many(
    program: Program, target: Target, parallelism: int, is_default: bool, size: int, reserve: int
) -> Found:
    one = program.number(
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG", "AIRFLOW__CORE__DAG_CONCURRENCY"
    )
    unsaid = ", Airflow's default" if is_default else ""
    more = f" + {reserve} of the reserve" if reserve else ""
    return Found(
        f"parallelism = {parallelism}{unsaid} (of a scheduler), "
        f"max_active_tasks_per_dag = {one if one is not None else _DEFAULT_ACTIVE_TASKS}; the pool "
        f"that {target.variable} uses has {size} servers{more}: the other tasks wait, "
        "query_wait_timeout at most",
        f"{_PARALLELISM}={size} at most; or an Airflow pool of {max(1, size // 2)} slots for tasks "
        "that use the database (airflow pools set), which `pgmux-airflow check` holds DAGs to",
        program.place(_PARALLELISM) if not is_default else target.where,
    )


def _airflow_targets(evidence: Evidence) -> Iterator[tuple[Program, Target]]:
    for program, target in targets_of(evidence):
        if target.variable.startswith("AIRFLOW_"):
            yield program, target


def _config(evidence: Evidence) -> Config:
    assert evidence.config is not None
    return evidence.config


RULES = (airflow_past_pooler, components_above_clients, hook_prepares, parallelism_above_pool)
