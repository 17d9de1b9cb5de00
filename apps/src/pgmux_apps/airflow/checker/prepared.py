"""AIR006: a driver that prepares statements, where the pooler doesn't track them.

psycopg 3 unless `prepare_threshold=None`, asyncpg unless `statement_cache_size=0`, SQLAlchemy over
either, Airflow connections without the extra `"prepare_threshold": null` where the hook uses
psycopg 3. Only asked where `max_prepared_statements = 0` says that the pooler tracks none:
PgBouncer before 1.24 doesn't unless told to, pgmux and PgBouncer since then do.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pgmux_apps.airflow.checker.arguments import Given, entry, given_by_call
from pgmux_apps.airflow.checker.finding import Findings
from pgmux_apps.airflow.checker.objects import Kind, Thing, argument, expanded, text_of, thing_of
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.scopes import (
    External,
    Module,
    Scope,
)
from pgmux_apps.airflow.rules import PREPARED

_CONNECTION = re.compile(r"airflow\.(?:\w+\.)*Connection")
_DRIVER = re.compile(r"postgresql\+(psycopg|asyncpg)(?:_async)?:")
_UNTRACKED = "and the pooler tracks no prepared statements"
_OPTIONS = {"psycopg": ("prepare_threshold", None), "asyncpg": ("statement_cache_size", 0)}


@dataclass(slots=True)
class PreparedRule:
    """Looks at one module at a time."""

    policy: Policy
    findings: Findings

    def check(self, module: Module) -> None:
        if self.policy.max_prepared_statements:
            return
        for node in module.nodes():
            if isinstance(node, ast.Call):
                wrong = self._wrong(node, module.scope[node])
                if wrong:
                    self.findings.add(PREPARED, module, node, wrong, PREPARED.advice)

    def _wrong(self, call: ast.Call, scope: Scope) -> str | None:
        found = scope.module.names.meanings(call.func, scope)
        if any(isinstance(each, External) and _CONNECTION.fullmatch(each.dotted) for each in found):
            return self._wrong_connection(call, scope)
        if not any(isinstance(each, External) for each in found):
            return None
        thing = thing_of(call, scope)
        if thing is None or thing.kind is Kind.HOOK:
            return None
        is_engine = thing.kind is Kind.ENGINE
        driver = _driver_of_engine(call, scope) if is_engine else thing.driver
        return self._wrong_option(call, scope, thing, driver)

    def _wrong_option(self, call: ast.Call, scope: Scope, thing: Thing, driver: str) -> str | None:
        if driver not in _OPTIONS:
            return None
        name, right = _OPTIONS[driver]
        mapping = {Kind.ENGINE: "connect_args", Kind.POOL: "kwargs"}.get(thing.kind)
        answer = given_by_call(call, scope, name)
        if mapping and not answer:
            within = given_by_call(call, scope, mapping)
            answer = entry(within.node, within.scope, name) if isinstance(within, Given) else within
        if isinstance(answer, Given):
            if not isinstance(answer.node, ast.Constant) or answer.node.value == right:
                return None
            return f"{thing.what}: {name}={ast.unparse(answer.node)}, {_UNTRACKED}"
        if answer:
            return None
        return f"{thing.what}: no {name}={right}, {_UNTRACKED}"

    def _wrong_connection(self, call: ast.Call, scope: Scope) -> str | None:
        """`Connection(conn_type="postgres", extra=…)`."""
        conn_type = text_of(argument(call, 1, "conn_type"), scope)
        if conn_type not in self.policy.database_conn_types or self.policy.airflow < 3:
            return None
        extra = given_by_call(call, scope, "extra")
        if not isinstance(extra, Given):
            return NO_EXTRA if extra is None else None
        for node, where in expanded(extra.node, extra.scope):
            if isinstance(node, ast.Dict):
                answer = entry(node, where, "prepare_threshold")
                return None if isinstance(answer, Given) else NO_EXTRA
            text = text_of(node, where)
            if text is not None:
                return None if is_off_in(text) else NO_EXTRA
        return None


NO_EXTRA = 'an Airflow connection without the extra {"prepare_threshold": null}'


def _driver_of_engine(call: ast.Call, scope: Scope) -> str:
    for node, where in expanded(call.args[0], scope) if call.args else []:
        found = _DRIVER.match(text_of(node, where) or "")
        if found:
            return found[1]
    return ""


def is_off_in(extra: str) -> bool:
    """Whether a connection's extra, as JSON, turns preparing off."""
    try:
        fields: Any = json.loads(extra)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("prepare_threshold", 5) is None


def is_off_in_connection(value: str) -> bool:
    """Whether an AIRFLOW_CONN_ variable's value turns preparing off."""
    if value.lstrip().startswith("{"):
        try:
            extra = json.loads(value).get("extra")
        except (ValueError, AttributeError, RecursionError):
            return False
        return is_off_in(extra if isinstance(extra, str) else json.dumps(extra))
    query = parse_qs(value.partition("?")[2])
    return is_off_in(query.get("__extra__", [""])[0])
