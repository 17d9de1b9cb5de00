"""AIR003: a connection whose port is the server's own, past the pooler.

In texts that are PostgreSQL URIs (f-strings and `%`, too), in the arguments of what connects, in
Airflow connections as they are written into a program or into a `.env` file. A URI with a host and
without a port means 5432. A password never gets into the message: only host and port do.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from pgmux_apps.airflow.checker.arguments import Given, given_by_call
from pgmux_apps.airflow.checker.finding import Findings
from pgmux_apps.airflow.checker.objects import HIDDEN, Kind, argument, text_of, thing_of
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.scopes import (
    External,
    Module,
    Scope,
)
from pgmux_apps.airflow.rules import DIRECT

_URI = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^@/\s]*@)?(?P<hosts>[^/?#\s'\"@]*)(?P<path>[^?#\s]*)"
    r"(?:\?(?P<query>[^#\s]*))?",
    re.I,
)
_POSTGRES = re.compile(r"(?:postgres(?:ql)?)(?:\+\w+)?", re.I)
_DSN_PORT = re.compile(r"(?:^|\s)port\s*=\s*'?(\d+)")
_DSN_HOST = re.compile(r"(?:^|\s)(?:host|hostaddr)\s*=\s*'?([^'\s]+)")
_TEXTS = (ast.Constant, ast.JoinedStr, ast.BinOp, ast.Call)
_CONNECTION = re.compile(r"airflow\.(?:\w+\.)*Connection")
_URL = re.compile(r"sqlalchemy\.(?:engine\.)?(?:url\.)?URL(?:\.create)?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes; `port` is None where it doesn't show."""

    host: str
    port: int | None
    is_default: bool = False

    def text(self) -> str:
        host = self.host.replace(HIDDEN, "…") or "…"
        if self.is_default:
            return f"goes to {host}, and no port is given: that is {self.port}"
        return f"goes to {host}, port {self.port}"


def targets_of_uri(text: str, schemes: tuple[str, ...] = ()) -> Iterator[Target]:
    """The hosts of a PostgreSQL URI; none where it is another text, or its port doesn't show."""
    found = _URI.fullmatch(text.strip())
    if not found:
        return
    scheme = found["scheme"].lower()
    if not _POSTGRES.fullmatch(scheme) and scheme not in schemes:
        return
    query = parse_qs((found["query"] or "").replace(HIDDEN, "%00"))
    in_query = query.get("port", [""])[0]
    for part in (found["hosts"] or ",".join(query.get("host", []))).split(","):
        host, port = _split(part)
        port = port or in_query
        if port.isascii() and port.isdigit():
            yield Target(host, int(port))
        elif not port and host and HIDDEN not in host and not unquote(host).startswith("/"):
            yield Target(host, 5432, is_default=True)


def _split(part: str) -> tuple[str, str]:
    """Host and port; an IPv6 address is in brackets."""
    host, bracket, rest = part.partition("]")
    if bracket:
        return host.lstrip("["), rest.removeprefix(":")
    host, _, port = part.partition(":")
    return host, port


def target_of_json(text: str, conn_types: tuple[str, ...]) -> Target | None:
    """Where an Airflow connection goes that is written as JSON."""
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("conn_type") not in conn_types:
        return None
    host, port = fields.get("host"), fields.get("port")
    if not isinstance(host, str) or not host:
        return None
    if port in (None, ""):
        return Target(host, 5432, is_default=True)
    return Target(host, int(port)) if str(port).isascii() and str(port).isdigit() else None


def targets_of_text(text: str, policy: Policy) -> Iterator[Target]:
    """Where an AIRFLOW_CONN_ variable's value leads, as a URI or as JSON."""
    if text.lstrip().startswith("{"):
        found = target_of_json(text, policy.database_conn_types)
        if found:
            yield found
    else:
        yield from targets_of_uri(text, policy.database_conn_types)


@dataclass(slots=True)
class PortRule:
    """Looks at one module at a time."""

    policy: Policy
    findings: Findings

    def check(self, module: Module) -> None:
        for node in module.nodes():
            scope = module.scope[node]
            if isinstance(node, _TEXTS) and not _is_part(node, module):
                self._check_text(node, scope)
            if isinstance(node, ast.Call):
                self._check_call(node, scope)

    def _check_text(self, node: ast.expr, scope: Scope) -> None:
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            return
        text = text_of(node, scope)
        if text and ("://" in text or "conn_type" in text):
            for target in targets_of_text(text, self.policy):
                self._judge(node, scope, target)

    def _check_call(self, call: ast.Call, scope: Scope) -> None:
        port, host = given_by_call(call, scope, "port"), given_by_call(call, scope, "host")
        if not (isinstance(port, Given) or isinstance(host, Given) or call.args):
            return
        if not self._connects(call, scope):
            return
        dsn = text_of(argument(call, 0, "dsn", "conninfo"), scope)
        if dsn and "://" not in dsn:
            found = _DSN_PORT.search(dsn)
            name = _DSN_HOST.search(dsn)
            if found:
                self._judge(call, scope, Target(name[1] if name else "", int(found[1])))
                return
        where = text_of(host.node, host.scope) if isinstance(host, Given) else None
        if isinstance(port, Given):
            text = text_of(port.node, port.scope)
            if text and text.isascii() and text.isdigit():
                self._judge(port.node if port.scope is scope else call, scope,
                            Target(where or "", int(text)))  # fmt: skip
        elif port is None and where and HIDDEN not in where and not where.startswith("/"):
            self._judge(call, scope, Target(where, 5432, is_default=True))

    def _connects(self, call: ast.Call, scope: Scope) -> bool:
        """Whether the call's `port` is a PostgreSQL server's."""
        for meaning in scope.module.names.meanings(call.func, scope):
            if not isinstance(meaning, External):
                continue
            if _CONNECTION.fullmatch(meaning.dotted):
                given = text_of(argument(call, 1, "conn_type"), scope)
                return given in self.policy.database_conn_types
            if _URL.fullmatch(meaning.dotted):
                given = text_of(argument(call, 0, "drivername"), scope)
                return bool(given and _POSTGRES.fullmatch(given))
            thing = thing_of(call, scope)
            return thing is not None and thing.kind in (Kind.CONNECTION, Kind.POOL)
        return False

    def _judge(self, node: ast.expr, scope: Scope, target: Target) -> None:
        if target.port in self.policy.direct_ports:
            self.findings.add(DIRECT, scope.module, node, target.text(), DIRECT.advice)


def _is_part(node: ast.expr, module: Module) -> bool:
    """Whether a text is a docstring, or a part of a longer text that is looked at itself."""
    parent = module.parent[node]
    match parent:
        case ast.Expr() | ast.JoinedStr() | ast.FormattedValue():
            return True
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return True
        case ast.Attribute(attr="format"):
            return True
    return False
