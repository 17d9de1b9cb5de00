"""What a task is given: an argument of the call, or an entry of a default_args, as far as it shows.

Three answers, as a reader would give them: a value, "nothing", "can't be told from the source"
(`default_args=build_args()` of an installed package, `**settings`).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from pgmux_apps.airflow.checker.names import DEPTH
from pgmux_apps.airflow.checker.scopes import (
    Expression,
    External,
    Function,
    Scope,
    body_of,
    walk,
)


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and the scope that its names are of."""

    node: ast.expr
    scope: Scope


class Hidden:
    """There may be a value; the source doesn't show it."""


HIDDEN = Hidden()
Answer = Given | Hidden | None


def given_by_call(call: ast.Call, scope: Scope, name: str) -> Answer:
    """A keyword argument, also one out of `**mapping`."""
    answer: Answer = None
    for each in call.keywords:
        if each.arg == name:
            return Given(each.value, scope)
        if each.arg is None:
            answer = entry(each.value, scope, name) or answer
    return answer


def entry(node: ast.expr, scope: Scope, name: str, depth: int = DEPTH) -> Answer:
    """What a dictionary has under a key."""
    if depth <= 0:
        return HIDDEN
    kept: dict[tuple[object, ...], Answer] = scope.module.kept
    key = ("entry", node, name)
    if key not in kept:
        kept[key] = HIDDEN  # while it is looked at: it may be made of itself
        kept[key] = _entry(node, scope, name, depth)
    return kept[key]


def _entry(node: ast.expr, scope: Scope, name: str, depth: int) -> Answer:
    match node:
        case ast.Dict():
            return _entry_of_literal(node, scope, name, depth)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return entry(right, scope, name, depth - 1) or entry(left, scope, name, depth - 1)
        case ast.Call():
            return _entry_of_call(node, scope, name, depth)
        case ast.Name() | ast.Attribute():
            return _entry_of_name(node, scope, name, depth)
        case ast.Constant(value=None):
            return None
    return HIDDEN


def _entry_of_literal(node: ast.Dict, scope: Scope, name: str, depth: int) -> Answer:
    answer: Answer = None
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == name:
            answer = Given(value, scope)
        elif key is None:
            answer = entry(value, scope, name, depth - 1) or answer
    return answer


def _entry_of_call(call: ast.Call, scope: Scope, name: str, depth: int) -> Answer:
    """`dict(a, b=1)`, `copy(x)`, `x.copy()`, and a function of the folder that returns one."""
    for meaning in scope.module.names.meanings(call.func, scope):
        if isinstance(meaning, Function):
            return _entry_of_returned(meaning, name, depth)
        if isinstance(meaning, External) and meaning.name in ("copy", "deepcopy") and call.args:
            return entry(call.args[0], scope, name, depth - 1)
    match call.func:
        case ast.Name(id="dict"):
            found = given_by_call(call, scope, name)
            return found or (entry(call.args[0], scope, name, depth - 1) if call.args else None)
        case ast.Attribute(value=base, attr="copy"):
            return entry(base, scope, name, depth - 1)
    return HIDDEN


def _entry_of_returned(function: Function, name: str, depth: int) -> Answer:
    for node in walk(body_of(function.node)):
        if isinstance(node, ast.Return) and node.value:
            return entry(node.value, function.scope.module.scope[node], name, depth - 2)
    return HIDDEN


def _entry_of_name(node: ast.Name | ast.Attribute, scope: Scope, name: str, depth: int) -> Answer:
    """A variable's, with what is put into it later: `x["pool"] = …`, `x.update(…)`."""
    found = scope.module.names.meanings(node, scope)
    answer: Answer = None if found else HIDDEN
    for meaning in found:
        if isinstance(meaning, Expression) and meaning.node is not node:
            answer = entry(meaning.node, meaning.scope, name, depth - 1) or answer
        else:
            answer = answer or HIDDEN
    return _put_later(node, scope, name, depth) or answer


def _put_later(node: ast.Name | ast.Attribute, scope: Scope, name: str, depth: int) -> Answer:
    spelled = ast.unparse(node)
    for target, value in scope.module.targets:
        match target:
            case ast.Subscript(value=base, slice=ast.Constant(value=key)) if key == name:
                if ast.unparse(base) == spelled:
                    return Given(value, scope.module.scope[value])
    if not isinstance(node, ast.Name):
        return None
    for call in scope.module.calls("update"):
        match call.func:
            case ast.Attribute(value=ast.Name(id=changed)) if changed == node.id:
                where = scope.module.scope[call]
                answer = given_by_call(call, where, name)
                if not answer and call.args:
                    answer = entry(call.args[0], where, name, depth - 1)
                if answer:
                    return answer
    return None
