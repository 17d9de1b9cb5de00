"""What a name in a file means: an import, a definition, a value; followed within the DAGs folder.

Python's scopes, without flow: a name that is bound several times means each of those. A dotted name
from outside of the folder is `External`, with the name that it was imported by spelled out, so that
aliases don't matter. Every search ends: chains of names are followed `DEPTH` deep.
"""

from __future__ import annotations

import ast
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgmux_apps.airflow.checker.document import Document, read_notebook, read_python
from pgmux_apps.airflow.checker.folder import Folder, Source, read_source

DEPTH = 12
KEPT_FROM = 6  # what is found deeper may be less than there is, and isn't kept
MOST_MEANINGS = 4  # of one name: a file can't make the searches multiply
MOST_KEPT = 4_000_000  # bytes of source whose trees are kept, which take a hundred times as much

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
                for argument in _arguments(node.args):
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


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return found + [each for each in (arguments.vararg, arguments.kwarg) if each]


@dataclass(slots=True)
class Names:
    """The folder's modules, read when a name leads to them; the last used are kept."""

    folder: Folder
    sources: Sequence[Source] = ()
    _importing: dict[str, list[Source]] | None = None
    _kept: OrderedDict[Source, tuple[Module, int]] = field(default_factory=OrderedDict)
    _kept_bytes: int = 0

    def module(self, source: Source) -> Module:
        """The module of a source. Raises: OSError, ValueError where it can't be read."""
        if source in self._kept:
            self._kept.move_to_end(source)
            return self._kept[source][0]
        data = read_source(source)
        read = read_notebook if source.is_notebook else read_python
        module = Module(source, read(data), self)
        self._kept[source] = (module, len(data))
        self._kept_bytes += len(data)
        while self._kept_bytes > MOST_KEPT and len(self._kept) > 1:
            _, (_, size) = self._kept.popitem(last=False)
            self._kept_bytes -= size
        return module

    def importing(self, module: Module, name: str, most: int) -> Iterator[Module]:
        """The other modules that import this name, or the module; at most so many."""
        if self._importing is None:
            self._importing = _index_imports(self.sources)
        package = module.source.package
        stem = module.source.relative.stem
        words = {name, package[-1] if stem == "__init__" and package else stem}
        found = {each: None for word in sorted(words) for each in self._importing.get(word, ())}
        found.pop(module.source, None)
        for source in list(found)[:most]:
            try:
                yield self.module(source)
            except (OSError, ValueError):
                continue

    def meanings(self, node: ast.expr | None, scope: Scope, depth: int = DEPTH) -> list[Meaning]:
        """What an expression may be; names and attributes are followed, others are themselves."""
        if depth < DEPTH or not isinstance(node, ast.Name | ast.Attribute):
            return self._meanings(node, scope, depth)
        known = scope.module.meant
        if node not in known:
            known[node] = self._meanings(node, scope, depth)
        return known[node]

    def _meanings(self, node: ast.expr | None, scope: Scope, depth: int) -> list[Meaning]:
        match node:
            case ast.Name():
                return self._named(node.id, scope, depth)
            case ast.Attribute():
                bases = self.meanings(node.value, scope, depth - 1) if depth else []
                found: list[Meaning] = []
                for base in bases:
                    if isinstance(base, External):  # perhaps a package of the folder after all
                        dotted = f"{base.dotted}.{node.attr}"
                        found += self._dotted(dotted, scope.module, depth - 1)
                    else:
                        found += self._member(base, node.attr, depth - 1)
                return found or [Expression(node, scope)]
            case ast.expr():
                return [Expression(node, scope)]
        return []

    def _named(self, name: str, scope: Scope, depth: int) -> list[Meaning]:
        if depth < KEPT_FROM:
            return self._look_up(name, scope, depth) if depth > 0 else []
        if name not in scope.meant:
            scope.meant[name] = []  # while it is looked up: it may lead to itself
            scope.meant[name] = self._look_up(name, scope, depth)
        return scope.meant[name]

    def _look_up(self, name: str, scope: Scope, depth: int) -> list[Meaning]:
        around: Scope | None = scope
        while around is not None:
            skipped = around is not scope and isinstance(around.node, ast.ClassDef)
            if name in around.names and not skipped:
                found = {
                    each: None
                    for binding in around.names[name][-MOST_MEANINGS:]
                    for each in self._bound(binding, around, depth)
                }
                return list(found)[-MOST_MEANINGS:]
            around = around.parent
        for star in scope.module.stars[:20]:
            exported = self._dotted(f"{star}.{name}", scope.module, depth - 1)
            if any(not isinstance(each, External) or _is_known(star) for each in exported):
                return exported
        return []

    def _bound(self, binding: Binding, scope: Scope, depth: int) -> list[Meaning]:
        match binding:
            case Imported(dotted):
                return self._dotted(dotted, scope.module, depth - 1)
            case Value(node, is_entered):
                if is_entered or not isinstance(node, ast.Name | ast.Attribute):
                    return [Expression(node, scope, is_entered)]
                return self.meanings(node, scope, depth - 1)
            case Definition(node):
                if isinstance(node, ast.ClassDef):
                    return [Class(node, scope)]
                return [Function(node, scope)]
            case Parameter(node):
                return [Argument(node, scope)]
            case Unknown():
                return []

    def _dotted(self, dotted: str, module: Module, depth: int) -> list[Meaning]:
        """What a dotted name of an import is, as seen from a module of the folder."""
        names = tuple(dotted.split("."))
        for start, least in self._starts(names, module):
            for length in range(len(start), least, -1):
                source = self.folder.module(module.source.root, start[:length])
                if source is None:
                    continue
                found: list[Meaning] = [Package(source)]
                for name in start[length:]:
                    found = [each for one in found for each in self._member(one, name, depth)]
                return found
        return [External(dotted)]

    def _starts(
        self, names: tuple[str, ...], module: Module
    ) -> Iterator[tuple[tuple[str, ...], int]]:
        """The ways to read an import: from the folder, from its parent, from beside the file.

        With each, how many of the names say only where it starts.
        """
        yield names, 0
        if names[0] == module.source.root.name:
            yield names[1:], 0
        package = module.source.package
        if package:
            yield (*package, *names), len(package)

    def _member(self, base: Meaning, name: str, depth: int) -> list[Meaning]:
        if depth <= 0:
            return []
        match base:
            case External(dotted):
                return [External(f"{dotted}.{name}")]
            case Package(source):
                return self._module_member(source, name, depth)
            case Class():
                return self.class_member(base, name, depth)
            case Expression():
                return self._instance_member(base, name, depth)
            case Argument(node, scope):
                around = scope.parent
                if _is_first_argument(node, scope) and around:
                    assert isinstance(around.node, ast.ClassDef)
                    owner = Class(around.node, around.parent or scope.module.top)
                    return self.class_member(owner, name, depth)
        return []

    def _module_member(self, source: Source, name: str, depth: int) -> list[Meaning]:
        try:
            module = self.module(source)
        except (OSError, ValueError):
            return []
        found = self._named(name, module.top, depth - 1)
        if not found and source.relative.name == "__init__.py":
            below = self.folder.module(source.root, (*source.package, name))
            return [Package(below)] if below else []
        return found

    def class_member(self, owner: Class, name: str, depth: int = DEPTH) -> list[Meaning]:
        """What a class, or one of its bases in the folder, has under a name."""
        module = owner.scope.module
        inside = module.scope_inside(owner.node)
        if name in inside.names:
            return [
                each
                for binding in inside.names[name]
                for each in self._bound(binding, inside, depth - 1)
            ]
        values = module.attributes.get((owner.node, name), [])
        if values:
            return [Expression(value, module.scope[value]) for value in values]
        for base in owner.node.bases:
            for meaning in self.meanings(base, owner.scope, depth - 1):
                if isinstance(meaning, Class):
                    return self.class_member(meaning, name, depth - 1)
        return []

    def _instance_member(self, base: Expression, name: str, depth: int) -> list[Meaning]:
        """`Class().name`, and `x.name` where `x = Class()`."""
        if not isinstance(base.node, ast.Call):
            return []
        return [
            each
            for meaning in self.meanings(base.node.func, base.scope, depth - 1)
            if isinstance(meaning, Class)
            for each in self.class_member(meaning, name, depth - 1)
        ]


def _is_first_argument(node: ast.arg, scope: Scope) -> bool:
    """Whether it is the `self` or `cls` of a method."""
    if scope.parent is None or not isinstance(scope.parent.node, ast.ClassDef):
        return False
    assert isinstance(scope.node, FunctionNode)
    arguments = _arguments(scope.node.args)
    return bool(arguments) and arguments[0] is node


def _is_known(dotted: str) -> bool:
    return dotted.split(".")[0] in ("airflow", "psycopg2", "psycopg", "sqlalchemy")


_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]*(?:\([^)]*\)|[^\n]*)", re.M)


def _index_imports(sources: Iterable[Source]) -> dict[str, list[Source]]:
    """Which sources have a word in one of their imports."""
    index: dict[str, list[Source]] = {}
    for source in sources:
        try:
            data = read_source(source)
        except (OSError, ValueError):
            continue
        words = {
            word.decode()
            for statement in _IMPORT.findall(data)
            for word in re.findall(rb"[A-Za-z_][A-Za-z0-9_]*", statement)
        }
        for word in words:
            index.setdefault(word, []).append(source)
    return index
