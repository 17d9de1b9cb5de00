"""Calls of `.iterator()` and `.aiterator()` in the project's own applications, from their source.

Whether it is a query's isn't known from source, so what is found is where to look. Left out are
calls that stand inside `with transaction.atomic():`, whose cursor is of one transaction.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from django.apps import apps

NAMES = frozenset({"iterator", "aiterator"})
MOST_BYTES = 1_000_000  # of a file; more is generated


def project_files() -> Iterator[Path]:
    """The Python files of applications that aren't installed packages."""
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]
    for config in apps.get_app_configs():
        root = Path(config.path).resolve()
        outside = not any(root.is_relative_to(each) for each in installed)
        if outside and not config.name.startswith(("django.", "pgmux_apps.")):
            yield from sorted(path for path in root.rglob("*.py") if "migrations" not in path.parts)


def calls_in(source: str) -> list[int]:
    """The lines of such calls; none where the source isn't Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return sorted(_calls(tree))


def find_calls() -> list[str]:
    """`file:line` of each."""
    found = []
    for path in dict.fromkeys(project_files()):
        try:
            if path.stat().st_size <= MOST_BYTES:
                found += [f"{path}:{line}" for line in calls_in(path.read_text("utf-8"))]
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _calls(node: ast.AST) -> Iterator[int]:
    if isinstance(node, ast.With) and any(_is_atomic(item.context_expr) for item in node.items):
        return
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) if name in NAMES:
            yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)


def _is_atomic(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "atomic"
