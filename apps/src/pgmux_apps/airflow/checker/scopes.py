"""A file's names as the file alone tells them: scopes, what binds a name, and which scope each node
of the tree stands in. What a name means beyond that, `names` finds out.

Python's scopes, without flow: a name that is bound several times has each of its bindings.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgmux_apps.airflow.checker.document import Document
from pgmux_apps.airflow.checker.folder import Source

if TYPE_CHECKING:
    from pgmux_apps.airflow.checker.names import Names

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
ScopeNode = ast.Module | ast.ClassDef | FunctionNode
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(slots=True, eq=False)
class Scope:
    """A module's, class's or function's names."""

    module: Module
    node: ScopeNode
    parent: Scope | None
    names: dict[str, list[Binding]] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    meant: dict[str, list[Meaning]] = field(default_factory=dict)  # what has been looked up


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """`import a.b as x`, `from a import b`: the dotted name, or where a relative import starts."""

    dotted: str


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """`name = expression`, or `with expression as name`."""

    node: ast.expr
    is_entered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A function's parameter, whose annotation may say more."""

    node: ast.arg


@dataclass(frozen=True, slots=True, eq=False)
class Unknown:
    """Bound by something that isn't followed: a loop, an unpacking."""


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """`def` or `class`."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


Binding = Imported | Value | Parameter | Unknown | Definition


@dataclass(frozen=True, slots=True)
class External:
    """Something from outside of the folder, as `airflow.models.Variable`."""

    dotted: str

    @property
    def name(self) -> str:
        return self.dotted.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Package:
    """A module of the folder, or a package that holds some."""

    source: Source


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the folder; `scope` is the one that it is defined in."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    scope: Scope


@dataclass(frozen=True, slots=True)
class Class:
    """A class of the folder."""

    node: ast.ClassDef
    scope: Scope


@dataclass(frozen=True, slots=True)
class Expression:
    """A value that isn't a name of something else."""

    node: ast.expr
    scope: Scope
    is_entered: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """What a function is called with."""

    node: ast.arg
    scope: Scope


Meaning = External | Package | Function | Class | Expression | Argument


@dataclass(slots=True, eq=False)
class Module:
    """A document with its names; `parent` and `scope` know every node of the tree."""

    source: Source
    document: Document
    names: Names
    parent: dict[ast.AST, ast.AST] = field(default_factory=dict)
    scope: dict[ast.AST, Scope] = field(default_factory=dict)
    attributes: dict[tuple[ast.ClassDef, str], list[ast.expr]] = field(default_factory=dict)
    targets: list[tuple[ast.expr, ast.expr]] = field(default_factory=list)  # x.y = …, x[y] = …
    stars: list[str] = field(default_factory=list)
    aliases: dict[str, set[str]] = field(default_factory=dict)  # of imported names
    meant: dict[ast.AST, list[Meaning]] = field(default_factory=dict)  # what has been looked up
    kept: dict[tuple[object, ...], Any] = field(default_factory=dict)  # of others' searches
    _spelled: dict[str, list[ast.Name | ast.Attribute]] | None = None
    top: Scope = field(init=False)

    def __post_init__(self) -> None:
        self.top = Scope(self, self.document.tree, None)
        _Indexer(self).run()

    def nodes(self) -> Iterable[ast.AST]:
        """Every node but the module itself, in the order of the source."""
        return self.parent.keys()

    def calls(self, name: str) -> list[ast.Call]:
        """The calls of what is named so, or imported under another name."""
        return [
            parent
            for node in self.named(name)
            if isinstance(parent := self.parent[node], ast.Call) and parent.func is node
        ]

    def named(self, name: str) -> list[ast.Name | ast.Attribute]:
        """The names and attributes that are spelled so, or are an import of it."""
        if self._spelled is None:
            self._spelled = {}
            for node in self.parent:
                if isinstance(node, ast.Name | ast.Attribute):
                    spelled = node.id if isinstance(node, ast.Name) else node.attr
                    self._spelled.setdefault(spelled, []).append(node)
        return [
            node
            for spelled in sorted({name, *self.aliases.get(name, ())})
            for node in self._spelled.get(spelled, ())
        ]

    def above(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """(node, its parent) upwards, to the module."""
        while (parent := self.parent.get(node)) is not None:
            yield node, parent
            node = parent

    def scope_inside(self, node: ScopeNode) -> Scope:
        """The scope that a definition makes."""
        body = node.body if isinstance(node.body, ast.expr) else node.body[0]
        return self.scope[body]


def walk(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node below and including the roots, in the order of the source, without recursion."""
    stack = list(roots)[::-1]
    while stack:
        node = stack.pop()
        yield node
        stack += list(ast.iter_child_nodes(node))[::-1]


def body_of(node: ScopeNode) -> list[ast.AST]:
    """What runs when a function is called, or a class is made."""
    return [node.body] if isinstance(node.body, ast.expr) else [*node.body]


@dataclass(slots=True)
class _Indexer:
    """Fills a module's tables in one pass, without recursion."""

    module: Module

    def run(self) -> None:
        tree = self.module.document.tree
        stack: list[tuple[ast.AST, ast.AST, Scope]] = [
            (node, tree, self.module.top) for node in reversed(tree.body)
        ]
        while stack:
            node, parent, scope = stack.pop()
            self.module.parent[node] = parent
            self.module.scope[node] = scope
            self._bind(node, scope)
            below = list(self._below(node, scope))
            stack += [(child, node, inside) for child, inside in reversed(below)]

    def _below(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        """The children, each with the scope that it stands in."""
        inside = scope
        body: set[int] = set()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = Scope(self.module, node, scope)
            body = {id(each) for each in body_of(node)}
            if not isinstance(node, ast.ClassDef):
                for argument in arguments_of(node.args):
                    inside.names.setdefault(argument.arg, []).append(Parameter(argument))
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr_context | ast.operator | ast.cmpop | ast.boolop):
                yield child, inside if id(child) in body else scope

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    dotted = alias.name if alias.asname else alias.name.split(".")[0]
                    self._add(scope, alias.asname or dotted, Imported(dotted))
            case ast.ImportFrom():
                self._bind_from(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._add(scope, node.name, Definition(node))
            case ast.Assign():
                for target in node.targets:
                    self._bind_target(target, node.value, scope)
            case ast.AnnAssign(value=ast.expr() as value) | ast.AugAssign(value=value):
                self._bind_target(node.target, value, scope)
            case ast.NamedExpr():
                self._bind_target(node.target, node.value, scope)
            case ast.withitem(optional_vars=ast.Name(id=name)):
                self._add(scope, name, Value(node.context_expr, is_entered=True))
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                self._bind_unknown(node.target, scope)
            case ast.withitem(optional_vars=ast.expr() as target):
                self._bind_unknown(target, scope)
            case ast.Global():
                scope.globals.update(node.names)

    def _bind_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        base = node.module or ""
        if node.level:
            package = self.module.source.package
            parts = package[: len(package) - node.level + 1]
            base = ".".join((*parts, *([node.module] if node.module else [])))
        for alias in node.names:
            if alias.name == "*":
                self.module.stars.append(base)
            else:
                dotted = f"{base}.{alias.name}" if base else alias.name
                if alias.asname:
                    self.module.aliases.setdefault(alias.name, set()).add(alias.asname)
                self._add(scope, alias.asname or alias.name, Imported(dotted))

    def _bind_target(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        match target:
            case ast.Name():
                self._add(scope, target.id, Value(value))
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                around: Scope | None = scope
                while around and not isinstance(around.node, ast.ClassDef):
                    around = around.parent
                if around and isinstance(around.node, ast.ClassDef):
                    key = (around.node, target.attr)
                    self.module.attributes.setdefault(key, []).append(value)
                self.module.targets.append((target, value))
            case ast.Attribute() | ast.Subscript():
                self.module.targets.append((target, value))
            case _:
                self._bind_unknown(target, scope)

    def _bind_unknown(self, target: ast.expr, scope: Scope) -> None:
        for node in walk([target]):
            if isinstance(node, ast.Name):
                self._add(scope, node.id, Unknown())

    def _add(self, scope: Scope, name: str, binding: Binding) -> None:
        if name in scope.globals:
            scope = self.module.top
        scope.names.setdefault(name, []).append(binding)


def arguments_of(arguments: ast.arguments) -> list[ast.arg]:
    """A function's parameters, those of `*` and `**` last."""
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return found + [each for each in (arguments.vararg, arguments.kwarg) if each]
