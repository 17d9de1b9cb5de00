"""Whether a function uses the database, itself or through functions of the folder that it names.

Over-cautious on purpose in one way: a function that is named counts as one that is called, as it is
handed to something (`executor.map(load, …)`); and a class that is named, with all its methods.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pgmux_apps.airflow.checker.objects import is_postgres_uri, is_reader, text_of, thing_of
from pgmux_apps.airflow.checker.scopes import (
    Argument,
    Class,
    Expression,
    External,
    Function,
    Meaning,
    Scope,
    body_of,
    walk,
)

MOST_FOLLOWED = 300  # functions, from one task


@dataclass(frozen=True, slots=True)
class Use:
    """A function's use of the database: what, and where it stands."""

    what: str
    scope: Scope
    node: ast.expr
    through: tuple[str, ...] = ()

    def text(self, near: Scope) -> str:
        """`PostgresHook (line 3)`, with the way to it from a place in `near`."""
        module = self.scope.module
        place = module.document.place(self.node.lineno, self.node.col_offset)
        where = f"line {place.line}"
        if place.cell is not None:
            where = f"cell {place.cell}, {where}"
        if module is not near.module:
            where = f"{module.source.relative}:{place.line}"
        way = "".join(f"{name}() → " for name in self.through)
        return f"{way}{self.what} ({where})"


def find_use(roots: list[ast.AST], scope: Scope, name: str = "") -> Use | None:
    """The first use of the database in these nodes or in what they name."""
    waiting: deque[tuple[list[ast.AST], tuple[str, ...], Scope]] = deque([(roots, (), scope)])
    seen: set[ast.AST] = set()
    while waiting and len(seen) < MOST_FOLLOWED:
        nodes, way, where = waiting.popleft()
        found, callees = _looked_at(nodes, where)
        if found:
            return Use(found.what, found.scope, found.node, way[:3])
        for callee in callees:
            if callee.node not in seen:
                seen.add(callee.node)
                waiting.append((body_of(callee.node), (*way, callee.node.name), callee.scope))
    return None


def _looked_at(nodes: list[ast.AST], scope: Scope) -> tuple[Use | None, list[Function | Class]]:
    """These nodes' own use, else what they name: kept, as many tasks may call one function."""
    kept: dict[tuple[object, ...], Any] = scope.module.kept
    key = ("use", *nodes)
    if key not in kept:
        found = _direct_use(nodes, scope)
        callees = {} if found else {each.node: each for each in _named_in(nodes, scope)}
        kept[key] = found, list(callees.values())
    answer: tuple[Use | None, list[Function | Class]] = kept[key]
    return answer


def use_of(meaning: Meaning) -> Use | None:
    """The use of the database by a function or class of the folder, or by a lambda."""
    match meaning:
        case Function() | Class():
            return find_use(body_of(meaning.node), meaning.scope)
        case Expression(node=ast.Lambda() as node, scope=scope):
            return find_use([node.body], scope)
        case Expression(node=ast.Call() as call, scope=scope):
            return _use_of_call(call, scope)
    return None


def _use_of_call(call: ast.Call, scope: Scope) -> Use | None:
    """`partial(f, …)`, and an instance of a class that can be called."""
    for meaning in scope.module.names.meanings(call.func, scope):
        if isinstance(meaning, External) and meaning.name == "partial" and call.args:
            for inner in scope.module.names.meanings(call.args[0], scope):
                found = use_of(inner)
                if found:
                    return found
        elif isinstance(meaning, Class):
            return use_of(meaning)
    return None


def _direct_use(nodes: list[ast.AST], scope: Scope) -> Use | None:
    scopes = scope.module.scope
    for node in walk(nodes):
        if isinstance(node, ast.Call):
            where = scopes[node]
            thing = thing_of(node, where)
            what = thing.what if thing else _reader(node, where)
            if what:
                return Use(what, where, node)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            where = scopes[node]
            if _is_from_outside(node, where, nodes):
                thing = thing_of(node, where)
                if thing:
                    return Use(thing.what, where, node)
    return None


def _is_from_outside(node: ast.Name | ast.Attribute, scope: Scope, nodes: list[ast.AST]) -> bool:
    """Whether a name's value isn't made in the function itself, where the call would be found."""
    for meaning in scope.module.names.meanings(node, scope):
        if isinstance(meaning, Argument):
            return True
        if isinstance(meaning, Expression) and meaning.node is not node:
            return True
    return False


def _reader(call: ast.Call, scope: Scope) -> str | None:
    """`pd.read_sql(…, "postgresql://…")`: the name, where a URI is its connection."""
    for meaning in scope.module.names.meanings(call.func, scope):
        if isinstance(meaning, External) and is_reader(meaning.dotted):
            values = [*call.args, *(each.value for each in call.keywords)]
            if any(is_postgres_uri(text_of(value, scope) or "") for value in values):
                return meaning.dotted
    return None


def _named_in(nodes: list[ast.AST], scope: Scope) -> Iterator[Function | Class]:
    """The functions and classes of the folder that these nodes name."""
    module = scope.module
    for node in walk(nodes):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            for meaning in module.names.meanings(node, module.scope[node]):
                if isinstance(meaning, Function | Class):
                    yield meaning
