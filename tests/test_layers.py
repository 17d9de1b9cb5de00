"""Rules 1 and 2 of docs/architecture.md: who may import whom, and where the outside world is.

Of pgmux-apps: it and the pooler don't know each other, nor do its parts.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# A module imports only from layers to its left or its own.
LAYERS = (
    {"", "errors", "_cython", "_pure"},
    {"wire", "config"},
    {"auth", "pool", "guard"},
    {"session"},
    {"admin", "metrics"},
    {"net"},
    {"daemon"},
    {"monitor", "ops", "web", "cli", "__main__"},
)
STRANGERS = ({"auth", "pool", "guard"}, {"admin", "metrics"})  # these don't know each other
OUTSIDE_WORLD = {
    *("asyncio", "socket", "ssl", "select", "selectors", "signal", "subprocess", "uvloop"),
    *("threading", "_thread", "concurrent", "multiprocessing"),
    *("time", "datetime", "random", "secrets", "uuid"),
}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
NET = RANK["net"]
MODULES = sorted(SOURCE.glob("pgmux/**/*.py"))


def layer_of(dotted: str) -> str:
    """`pgmux.wire.build` -> `wire`; the package itself is the empty name."""
    return [*dotted.split("."), ""][1]


def imports_of(source: str) -> Iterator[str]:
    """Every dotted name that a module imports, wherever it stands in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def problems(layer: str, source: str) -> list[str]:
    """What a module of `layer` imports and may not."""
    found = []
    for name in imports_of(source):
        top, other = name.split(".")[0], layer_of(name)
        if top == "pgmux_apps":
            found.append(f"{layer} imports {name}, which is what applications have")
        if top == "pgmux" and other not in RANK:
            other = ""  # a name of the package itself, as __version__
        if top == "pgmux" and RANK[other] > RANK[layer]:
            found.append(f"{layer} imports {name}, a layer above it")
        if top == "pgmux" and other != layer and any({layer, other} <= s for s in STRANGERS):
            found.append(f"{layer} imports {name}; they don't know each other")
        if top in OUTSIDE_WORLD and RANK[layer] < NET:
            found.append(f"{layer} imports {name}; the outside world starts at net")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_layers_to_its_left(path: Path) -> None:
    dotted = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    assert layer_of(dotted) in RANK, f"{path} is in no layer of {LAYERS}"
    assert problems(layer_of(dotted), path.read_text()) == []


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        ("wire", "import asyncio"),
        ("session", "from time import monotonic"),
        ("pool", "from pgmux.session import client"),
        ("pool", "from pgmux import auth"),
        ("admin", "import pgmux.metrics.snapshot"),
        ("wire", "def f():\n    from pgmux.net import tls"),
    ],
)
def test_a_forbidden_import_is_found(layer: str, line: str) -> None:
    assert len(problems(layer, line)) == 1


@pytest.mark.parametrize(
    ("layer", "line"), [("net", "import asyncio"), ("daemon", "from pgmux import __version__")]
)
def test_an_allowed_import_is_not(layer: str, line: str) -> None:
    assert problems(layer, line) == []


APPS = Path(__file__).parent.parent / "apps" / "src"
# What a part may import besides itself, these modules and the standard library: its framework, and
# what may be there with it. What is imported with the part itself: tests/apps/test_packaging.py.
FRAMEWORKS = {
    "sqlalchemy": {"sqlalchemy", "prometheus_client"},
    "django": {"django", "psycopg", "psycopg2", "psycopg_pool", "rich"},
    "airflow": {"airflow", "rich"},
    "environment": set(),
    "console": {"psycopg", "psycopg2"},
    "": set(),
}
SHARED = {"environment", "console", ""}
APP_MODULES = sorted(APPS.glob("pgmux_apps/**/*.py"))


def app_problems(part: str, source: str) -> list[str]:
    """What a module of that part of pgmux-apps imports and may not."""
    found = []
    for name in imports_of(source):
        top, other = name.split(".")[0], layer_of(name)
        if top == "pgmux_apps":
            if other not in FRAMEWORKS:
                other = ""  # a name of the package itself, as __version__
            if other != part and other not in SHARED:
                found.append(f"{part} imports {name}; the parts don't know each other")
        elif top not in sys.stdlib_module_names and top not in FRAMEWORKS[part]:
            found.append(f"{part} imports {name}, which isn't its framework")
    return found


@pytest.mark.parametrize("path", APP_MODULES, ids=lambda path: str(path.relative_to(APPS)))
def test_a_module_for_applications_imports_its_own_framework_only(path: Path) -> None:
    dotted = ".".join(path.relative_to(APPS).with_suffix("").parts).removesuffix(".__init__")
    assert layer_of(dotted) in FRAMEWORKS, f"{path} is in no part of {list(FRAMEWORKS)}"
    assert app_problems(layer_of(dotted), path.read_text()) == []


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("sqlalchemy", "from pgmux import __version__"),
        ("django", "import pgmux_apps.sqlalchemy.pools"),
        ("console", "from pgmux_apps import django"),
        ("environment", "import sqlalchemy"),
        ("airflow", "def f():\n    from django.conf import settings"),
        ("", "import prometheus_client"),
    ],
)
def test_a_forbidden_import_of_a_part_is_found(part: str, line: str) -> None:
    assert len(app_problems(part, line)) == 1


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("airflow", "from pgmux_apps import __version__"),
        ("django", "from pgmux_apps.console import read_console"),
        ("sqlalchemy", "import json, sqlalchemy.pool"),
    ],
)
def test_an_allowed_import_of_a_part_is_not(part: str, line: str) -> None:
    assert app_problems(part, line) == []


def test_the_pooler_knows_nothing_of_what_applications_have() -> None:
    assert len(problems("ops", "from pgmux_apps.console import read_console")) == 1
