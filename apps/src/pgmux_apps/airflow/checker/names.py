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

from pgmux_apps.airflow.checker.document import read_notebook, read_python
from pgmux_apps.airflow.checker.folder import Folder, Source, read_source
from pgmux_apps.airflow.checker.scopes import (
    Argument,
    Binding,
    Class,
    Definition,
    Expression,
    External,
    Function,
    FunctionNode,
    Imported,
    Meaning,
    Module,
    Package,
    Parameter,
    Scope,
    Unknown,
    Value,
    arguments_of,
)

DEPTH = 12
KEPT_FROM = 6  # what is found deeper may be less than there is, and isn't kept
MOST_MEANINGS = 4  # of one name: a file can't make the searches multiply
MOST_KEPT = 4_000_000  # bytes of source whose trees are kept, which take a hundred times as much


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
    arguments = arguments_of(scope.node.args)
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
