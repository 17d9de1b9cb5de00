"""AIR004: a connection that nothing closes.

Closed is: `with closing(conn)`, `conn.close()` anywhere in the function (in a `finally`, best), and
`with conn` where the driver's connection closes at its end: psycopg 3's, asyncpg's and SQLAlchemy's
do, psycopg2's only ends the transaction. Which of them PostgresHook gives depends on the Airflow
that the files are for. What is returned, stored or handed on is taken to be closed by who has it,
except by pandas, which closes nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from pgmux_apps.airflow.checker.finding import Findings
from pgmux_apps.airflow.checker.objects import Kind, Thing, is_reader, thing_of
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.scopes import (
    External,
    Module,
    walk,
)
from pgmux_apps.airflow.rules import NOT_CLOSED

_ONLY_COMMITS = "`with` of a psycopg2 connection ends the transaction and leaves it open"
_NEVER = "nothing closes it"


@dataclass(slots=True)
class ClosingRule:
    """Looks at one module at a time."""

    policy: Policy
    findings: Findings

    def check(self, module: Module) -> None:
        for node in module.nodes():
            if isinstance(node, ast.Call):
                scope = module.scope[node]
                thing = thing_of(node, scope)
                if thing and thing.kind is Kind.CONNECTION:
                    wrong = self._wrong(node, module, thing)
                    if wrong:
                        message = f"{_spelled(thing)}: {wrong}"
                        self.findings.add(NOT_CLOSED, module, node, message, NOT_CLOSED.advice)

    def _closes_at_end(self, thing: Thing) -> bool:
        driver = self.policy.hook_driver if thing.driver == "hook" else thing.driver
        return driver != "psycopg2"

    def _wrong(self, node: ast.expr, module: Module, thing: Thing) -> str | None:
        """What is wrong with how a connection is used that this expression makes."""
        parent = module.parent[node]
        match parent:
            case ast.NamedExpr(target=target):
                if self._is_closed_by_name(target.id, node, module, thing):
                    return None
                is_used = isinstance(module.parent[parent], ast.Call | ast.keyword | ast.withitem)
                return self._wrong(parent, module, thing) if is_used else _NEVER
            case ast.Await() | ast.IfExp() | ast.BoolOp():
                return self._wrong(parent, module, thing)
            case ast.withitem():
                return self._wrong_in_with(parent, module, thing)
            case ast.Expr() | ast.Attribute():
                is_close = isinstance(parent, ast.Attribute) and parent.attr in ("close", "aclose")
                return None if is_close else _NEVER
            case ast.Call():
                return self._wrong_as_argument(parent, module, thing)
            case ast.keyword():
                call = module.parent[parent]
                return (
                    self._wrong_as_argument(call, module, thing)
                    if isinstance(call, ast.Call)
                    else None
                )
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                return self._wrong_if_assigned(target, node, module, thing)
        return None

    def _wrong_in_with(self, item: ast.withitem, module: Module, thing: Thing) -> str | None:
        if self._closes_at_end(thing):
            return None
        name = item.optional_vars
        if isinstance(name, ast.Name) and self._is_closed_by_name(name.id, name, module, thing):
            return None
        return _ONLY_COMMITS

    def _wrong_as_argument(self, call: ast.Call, module: Module, thing: Thing) -> str | None:
        name = _last_name(call.func)
        if name in ("enter_context", "enter_async_context"):
            return None if self._closes_at_end(thing) else _ONLY_COMMITS
        return _NEVER if _is_pandas(call, module) else None

    def _wrong_if_assigned(
        self, target: ast.expr, node: ast.expr, module: Module, thing: Thing
    ) -> str | None:
        match target:
            case ast.Name(id=name):
                return None if self._is_closed_by_name(name, node, module, thing) else _NEVER
            case ast.Attribute(attr=name):
                around = _class_around(node, module)
                found = _attributes(around or module.document.tree, name)
                is_used = any(self._ends(each, module, thing) for each in found)
                return None if is_used or not around else _NEVER
        return None

    def _is_closed_by_name(self, name: str, node: ast.expr, module: Module, thing: Thing) -> bool:
        """Whether the function that the name is in closes it, or gives it away."""
        scope = module.scope[node]
        if name in scope.globals:
            return True
        return any(
            self._ends(each, module, thing)
            for each in module.named(name)
            if isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Load)
            if any(parent is scope.node for _, parent in module.above(each))
        )

    def _ends(self, node: ast.expr, module: Module, thing: Thing) -> bool:
        """Whether this use of a connection closes it or hands it on."""
        parent = module.parent[node]
        match parent:
            case ast.Attribute(attr=attribute):
                return attribute in ("close", "aclose", "terminate")
            case ast.withitem():
                return self._closes_at_end(thing)
            case ast.Call():
                return node is not parent.func and not self._wrong_as_argument(
                    parent, module, thing
                )
            case ast.keyword():
                call = module.parent[parent]
                return not (isinstance(call, ast.Call) and _is_pandas(call, module))
            case ast.Return() | ast.Tuple() | ast.List() | ast.Dict() | ast.Set() | ast.Starred():
                return True
            case ast.Assign(value=value):
                return value is node
        return False


def _spelled(thing: Thing) -> str:
    return thing.what if thing.what.endswith(")") else f"{thing.what}()"


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_pandas(call: ast.Call, module: Module) -> bool:
    """pandas.read_sql(…), frame.to_sql(…): they use a connection and don't close it."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "to_sql":
        return True
    return any(
        isinstance(each, External) and is_reader(each.dotted)
        for each in module.names.meanings(call.func, module.scope[call])
    )


def _class_around(node: ast.AST, module: Module) -> ast.ClassDef | None:
    classes = (parent for _, parent in module.above(node) if isinstance(parent, ast.ClassDef))
    return next(classes, None)


def _attributes(root: ast.AST, name: str) -> Iterator[ast.Attribute]:
    for node in walk([root]):
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load):
            yield node
