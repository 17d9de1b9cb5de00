"""Which default_args hold for a task: those of its task groups and of its DAG.

A task belongs to the `with DAG(…)` or the `@dag` function that it stands in, or to `dag=…`. One
that a function makes belongs to whatever calls that function, in the same file or in another of the
folder: then there are several answers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pgmux_apps.airflow.checker.arguments import Answer, Given, entry, given_by_call
from pgmux_apps.airflow.checker.references import references_to
from pgmux_apps.airflow.checker.scopes import (
    FUNCTIONS,
    Argument,
    Expression,
    External,
    Function,
    Scope,
)

MOST_CALLERS = 4  # one calling another
MOST_CONTEXTS = 50

_GROUPS = frozenset({"TaskGroup", "task_group"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A DAG or a task group: the call that makes it, and where that stands; None without a call."""

    call: ast.Call | None
    scope: Scope
    is_dag: bool


Context = tuple[Layer, ...]  # from the inside to the outside


def given_in_context(context: Context, name: str) -> Answer:
    """What the default_args of the innermost layer that has the name say."""
    for layer in context:
        arguments = given_by_call(layer.call, layer.scope, "default_args") if layer.call else None
        if isinstance(arguments, Given):
            arguments = entry(arguments.node, arguments.scope, name)
        if arguments:
            return arguments
    return None


def contexts_of(node: ast.AST, scope: Scope, callers: int = MOST_CALLERS) -> list[Context]:
    """The contexts that a node runs in, at least one and at most MOST_CONTEXTS."""
    if isinstance(node, ast.Call):
        given = given_by_call(node, scope, "dag")
        if isinstance(given, Given):
            dags = islice(_dags(given.node, given.scope, callers), MOST_CONTEXTS)
            return [(layer,) for layer in dags] or [()]
    return list(islice(_climb(node, scope, (), callers), MOST_CONTEXTS)) or [()]


def _climb(node: ast.AST, scope: Scope, inner: Context, callers: int) -> Iterator[Context]:
    for child, parent in scope.module.above(node):
        if isinstance(parent, ast.With | ast.AsyncWith) and child in parent.body:
            for item in reversed(parent.items):
                for layer in layers_of(item.context_expr, scope.module.scope[parent]):
                    inner = (*inner, layer)
                    if layer.is_dag:
                        yield inner
                        return
        elif isinstance(parent, FUNCTIONS) and child in parent.body:
            layer_of_function = decorated_as(parent, scope.module.scope[parent])
            if layer_of_function:
                inner = (*inner, layer_of_function)
                if layer_of_function.is_dag:
                    yield inner
                    return
            function = Function(parent, scope.module.scope[parent])
            # bounded at each step: thirty calls, four deep, are 810,000
            calls = islice(_calls_of(function, inner, callers), MOST_CONTEXTS if callers else 0)
            called = list(calls)
            if called:
                yield from called
                return
    yield inner


def _calls_of(function: Function, inner: Context, callers: int) -> Iterator[Context]:
    for node, scope in references_to(function):
        yield from _climb(node, scope, inner, callers - 1)


def decorated_as(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Layer | None:
    """The DAG or task group that a function is by its decorators."""
    for decorator in node.decorator_list:
        found = list(layers_of(decorator, scope))
        if found:
            return found[0]
    return None


def layers_of(node: ast.expr, scope: Scope, depth: int = MOST_CALLERS) -> Iterator[Layer]:
    """The DAGs or groups that an expression is: `DAG(…)`, a variable of one, `@dag`, a function."""
    call = node if isinstance(node, ast.Call) else None
    for meaning in scope.module.names.meanings(call.func if call else node, scope):
        match meaning:
            case External() if meaning.dotted.startswith("airflow.") or meaning.name == "DAG":
                if meaning.name in ("DAG", "dag") or meaning.name in _GROUPS:
                    yield Layer(call, scope, meaning.name not in _GROUPS)
            case Expression() if meaning.node is not node and depth:
                yield from layers_of(meaning.node, meaning.scope, depth - 1)
            case Function() if call and depth:
                yield from _made_by(meaning, depth)


def _made_by(function: Function, depth: int) -> Iterator[Layer]:
    module = function.scope.module
    for call in module.calls("DAG"):
        if any(parent is function.node for _, parent in module.above(call)):
            yield from layers_of(call, module.scope[call], depth - 1)


def _dags(node: ast.expr, scope: Scope, callers: int) -> Iterator[Layer]:
    """What `dag=…` is; a parameter is what the callers give."""
    for meaning in scope.module.names.meanings(node, scope):
        if isinstance(meaning, Argument):
            yield from _given_dags(meaning, callers)
        elif isinstance(meaning, Expression):
            yield from layers_of(meaning.node, meaning.scope)


def _given_dags(meaning: Argument, callers: int) -> Iterator[Layer]:
    function = function_around(meaning)
    if function is None or not callers:
        return
    positions = [each.arg for each in function.node.args.args]
    for node, scope in references_to(function):
        call = scope.module.parent.get(node)
        if not isinstance(call, ast.Call) or call.func is not node:
            continue
        given: ast.expr | None = None
        for each in call.keywords:
            given = each.value if each.arg == meaning.node.arg else given
        if given is None and meaning.node.arg in positions:
            position = positions.index(meaning.node.arg)
            given = call.args[position] if len(call.args) > position else None
        if given is not None:
            yield from _dags(given, scope, callers - 1)


def function_around(meaning: Argument) -> Function | None:
    node, parent = meaning.scope.node, meaning.scope.parent
    return Function(node, parent) if isinstance(node, FUNCTIONS) and parent else None
