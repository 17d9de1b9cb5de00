"""PREP: statements that a driver prepares, and a pooler that loses them.

A transaction pool gives each transaction another server. pgmux, and PgBouncer from 1.21 on where
max_prepared_statements is above 0 (its default from 1.24 on), prepare there what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgmux.ops.check.deployed import at_transaction_pool, untracked_because
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Target
from pgmux.ops.check.pooled_programs import parameters, statements, variables
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

_NEEDS = ("config", "environment")
_THRESHOLD = r"\w*PREPARE_THRESHOLD"
_TRACK = "max_prepared_statements = 200 (pgmux, PgBouncer from 1.21 on)"
_LIBPQ_WITH_CLOSE = 17


@rule("PREP001", Severity.ERROR, "psycopg prepares what the pooler loses", needs=_NEEDS)
def psycopg_prepares(evidence: Evidence) -> Iterator[Found]:
    because = untracked_because(evidence)
    if not because:
        return
    said = [
        *((each.where, each.name, each.value) for _, each in variables(evidence, _THRESHOLD)),
        *(
            (target.where, f"{target.variable}, prepare_threshold", value)
            for target, value in parameters(evidence, "prepare_threshold")
            if not target.variable.startswith("AIRFLOW_CONN_")  # AIR006
        ),
    ]
    for where, name, value in said:
        if not re.fullmatch(r"[0-9]{1,9}", value or ""):
            continue
        meaning = "at first use, not never" if value == "0" else f"from use {value} on"
        yield Found(
            f"{name} = {value}: psycopg 3 prepares {meaning}; {because}",
            f"{_TRACK}; or prepare_threshold=None, which alone turns it off "
            "(pgmux_apps reads 0 as off, too)",
            where,
        )
    for program, target in at_transaction_pool(evidence):
        if target.driver == "psycopg" and not _says_threshold(program):
            yield Found(
                f"{target.variable} is for psycopg 3, which prepares from the fifth use on unless "
                f"it is told prepare_threshold=None; {because}",
                f"{_TRACK}; or see that the program gives prepare_threshold=None",
                target.where,
                Severity.NOTE,
            )


def _says_threshold(program: Program) -> bool:
    return any(re.fullmatch(_THRESHOLD, name) for name in program.variables)


@rule("PREP002", Severity.WARNING, "a driver that prepares by itself", needs=_NEEDS)
def driver_prepares(evidence: Evidence) -> Iterator[Found]:
    because = untracked_because(evidence)
    for _, target in at_transaction_pool(evidence) if because else ():
        if _asyncpg_caches(target):
            yield Found(
                f"{target.variable}: asyncpg and SQLAlchemy each keep prepared statements; "
                f"{because}",
                f"{_TRACK}; or ?prepared_statement_cache_size=0 in the URL and "
                "connect_args={'statement_cache_size': 0}",
                target.where,
            )
        elif target.driver == "jdbc" and target.parameters.get("preparethreshold") != "0":
            yield Found(
                f"{target.variable}: pgjdbc prepares on the server from the fifth use on; "
                f"{because}",
                f"{_TRACK}; or ?prepareThreshold=0",
                target.where,
            )


def _asyncpg_caches(target: Target) -> bool:
    return (
        target.driver == "asyncpg" and target.parameters.get("prepared_statement_cache_size") != "0"
    )


@rule("PREP003", Severity.ERROR, "asyncpg with AUTOCOMMIT", needs=_NEEDS)
def asyncpg_autocommit(evidence: Evidence) -> Iterator[Found]:
    because = untracked_because(evidence)
    for program, target in at_transaction_pool(evidence) if because else ():
        levels = [
            (target.parameters.get("isolation_level"), target.where),
            *(
                (variable.value, variable.where)
                for name, variable in program.variables.items()
                if "ISOLATION" in name
            ),
        ]
        for level, where in levels if target.driver == "asyncpg" else ():
            if (level or "").upper() == "AUTOCOMMIT":
                yield Found(
                    f"{target.variable}: with AUTOCOMMIT SQLAlchemy's Parse and Bind are "
                    "transactions of their own, so the second may go to another server; not even "
                    f"caches of size 0 help; {because}",
                    f"{_TRACK}; or no AUTOCOMMIT",
                    where,
                )


@rule("PREP004", Severity.NOTE, "psycopg with a libpq before 17", needs=(*_NEEDS, "machine"))
def old_libpq(evidence: Evidence) -> Iterator[Found]:
    assert evidence.machine is not None
    libpq = evidence.machine.libpq
    if libpq is None or libpq >= _LIBPQ_WITH_CLOSE or untracked_because(evidence):
        return
    for program, variable in variables(evidence, _THRESHOLD):
        if program.service is None and re.fullmatch(r"[0-9]{1,9}", variable.value or ""):
            yield Found(
                f"{variable.name} = {variable.value}, and this system's psycopg uses PostgreSQL "
                f"{libpq}'s libpq: with it, it gives up a prepared statement by DEALLOCATE and its "
                "own name for it, which the server doesn't know behind a pooler",
                "psycopg[binary], which has a libpq of its own (17 or later), or prepared_max=None",
                variable.where,
            )


@rule("PREP005", Severity.WARNING, "PREPARE and EXECUTE in SQL", needs=_NEEDS)
def prepared_by_sql(evidence: Evidence) -> Iterator[Found]:
    pattern = r"\b(?:PREPARE\s+\w+(?:\s*\([^)]*\))?\s+AS|DEALLOCATE\s+(?!ALL\b)\w+|EXECUTE\s+\w+)\b"
    for found in statements(evidence, pattern):
        yield Found(
            f"{found.said} has {found.text!r}: the name is one server's, and the next transaction "
            f"gets another; no pooler follows names that SQL makes (pgmux and PgBouncer alike)",
            "let the driver prepare, or a pool with pool_mode = session",
            found.where,
        )


RULES = (psycopg_prepares, driver_prepares, asyncpg_autocommit, old_libpq, prepared_by_sql)
