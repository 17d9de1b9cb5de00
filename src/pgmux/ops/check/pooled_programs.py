"""The programs behind the pooler's transaction pools, what they prepare and which SQL they are told
to begin with: for rules about what such a pool can't keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pgmux.config.model import PoolMode
from pgmux.ops.check.deployed import (
    Route,
    at_transaction_pool,
    is_meant_direct,
    programs_of,
    route,
)
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Target, Variable

_SQL_AT_CONNECT = re.compile(r"\w*(?:INIT_SQL|CONNECT_QUERY|INIT_STATEMENT)")


def programs(evidence: Evidence) -> Iterator[Program]:
    """Those whose connections go to a transaction pool. Files of variables that name no connection
    are taken for those of such a program: they lie beside the configuration, or were named.
    """
    pooled = {id(program) for program, _ in at_transaction_pool(evidence)}
    config = evidence.config
    is_default = config is not None and config.settings.pool_mode is not PoolMode.SESSION
    for program in programs_of(evidence):
        is_file = program.service is None and program.name != "environment"
        if id(program) in pooled or (is_default and is_file and not program.targets):
            yield program


def variables(evidence: Evidence, name: str) -> Iterator[tuple[Program, Variable]]:
    """Their variables whose names match and whose values are known, each place once."""
    seen: set[str] = set()
    for program in programs(evidence):
        for variable in program.variables.values():
            if variable.value is None or not re.fullmatch(name, variable.name):
                continue
            key = f"{variable.where} {variable.name}"
            if key not in seen:
                seen.add(key)
                yield program, variable


def parameters(evidence: Evidence, name: str) -> Iterator[tuple[Target, str]]:
    """A parameter of the URLs that lead to a transaction pool, where it is given."""
    for _, target in at_transaction_pool(evidence):
        if name in target.parameters and not is_meant_direct(target):
            yield target, target.parameters[name]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that a program begins with, or runs: what of it matters, and where it stands."""

    text: str
    said: str
    where: str


def statements(evidence: Evidence, pattern: str) -> Iterator[Statement]:
    """Those that have it in them; `text` is what matched, not the whole."""
    for _, variable in variables(evidence, _SQL_AT_CONNECT.pattern):
        found = re.search(pattern, variable.value or "", re.IGNORECASE)
        if found is not None:
            yield Statement(found[0], variable.name, variable.where)
    for program in programs(evidence):
        service = program.service
        found = re.search(pattern, service.command, re.IGNORECASE) if service is not None else None
        if service is not None and found is not None and "psql" in service.command:
            yield Statement(found[0], f"the command of service {service.name}", service.where)


def services(evidence: Evidence, pattern: str) -> Iterator[tuple[Program, str]]:
    """Programs whose image or command is that of a known software, and its name."""
    for program in programs(evidence):
        service = program.service
        if service is None:
            continue
        found = re.search(pattern, f"{service.image} {service.command}", re.IGNORECASE)
        if found is not None:
            yield program, found[0]


def targets_at_pooler(evidence: Evidence, program: Program) -> list[Target]:
    """A program's connections to this pooler, whatever the pool's mode."""
    return [each for each in program.targets if route(evidence, program, each) is Route.POOLER]
