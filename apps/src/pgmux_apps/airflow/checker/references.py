"""Where a function of the folder is named: in its own file, and in the files that import it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pgmux_apps.airflow.checker.scopes import (
    Function,
    Module,
    Scope,
)

MOST_FILES = 50  # that are read for one function


def references_to(function: Function) -> list[tuple[ast.expr, Scope]]:
    """Each name that means this function, with its scope; those within itself left out."""
    kept: dict[tuple[object, ...], list[tuple[ast.expr, Scope]]] = function.scope.module.kept
    key = ("references", function.node)
    if key not in kept:
        kept[key] = _find(function)
    return kept[key]


def _find(function: Function) -> list[tuple[ast.expr, Scope]]:
    module = function.scope.module
    found = list(_in_module(module, function))
    if found or function.scope is not module.top:
        return found
    names = module.names
    for other in names.importing(module, function.node.name, MOST_FILES):
        found += _in_module(other, function)
    return found


def _in_module(module: Module, function: Function) -> Iterator[tuple[ast.expr, Scope]]:
    for node in module.named(function.node.name):
        scope = module.scope[node]
        means = module.names.meanings(node, scope)
        is_meant = any(_is_same(each, function) for each in means if isinstance(each, Function))
        if is_meant and not any(parent is function.node for _, parent in module.above(node)):
            yield node, scope


def _is_same(one: Function, other: Function) -> bool:
    """By place, as a file may have been read twice."""
    return (
        one.scope.module.source == other.scope.module.source
        and one.node.lineno == other.node.lineno
        and one.node.name == other.node.name
    )
