"""pgmux-apps as a wheel: what is in it, alone in an empty environment; how little it imports."""

from __future__ import annotations

import email.message
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import pytest

import pgmux
import pgmux_apps

ROOT = Path(__file__).parents[2]
APPS = ROOT / "apps"
PACKAGE = {
    str(path.relative_to(APPS / "src"))
    for path in APPS.glob("src/pgmux_apps/**/*")
    if path.suffix == ".py" or path.name == "py.typed"
}


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """With nothing of this installation in the way, and offline."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env=kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"} | environ,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a copy of apps/."""
    place = tmp_path_factory.mktemp("apps")
    not_source = shutil.ignore_patterns("*.egg-info", "build", "dist", "__pycache__")
    shutil.copytree(APPS, place / "apps", ignore=not_source)
    made = run(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", place, place / "apps"),
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """The Python of an environment that has the wheel, and nothing else: no pgmux, no framework."""
    made = run(sys.executable, "-m", "venv", "--without-pip", wheel.parent / "venv")
    assert made.returncode == 0, made.stderr
    python = wheel.parent / "venv/bin/python"
    done = run(sys.executable, "-m", "pip", "--python", python, "install", wheel)  # with its needs
    assert done.returncode == 0, done.stdout + done.stderr
    return python


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == PACKAGE
    assert "pgmux_apps/py.typed" in names


def test_the_wheel_needs_nothing_but_what_an_extra_names(metadata: email.message.Message) -> None:
    needs = metadata.get_all("Requires-Dist") or []
    assert [each for each in needs if 'extra == "metrics"' not in each] == []
    assert len(needs) == 1 and needs[0].startswith("prometheus-client")


def test_the_wheel_says_what_it_is(metadata: email.message.Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (APPS / "README.md").read_text(encoding="utf-8")
    assert metadata["License-Expression"] == "MIT" and metadata["Requires-Python"] == ">=3.11"


def test_both_distributions_have_one_version(metadata: email.message.Message) -> None:
    assert metadata["Version"] == pgmux_apps.__version__ == pgmux.__version__


def test_it_is_alone_in_an_empty_environment(python: Path) -> None:
    code = (
        "import importlib.metadata as m, importlib.util as u, pgmux_apps.console,"
        "pgmux_apps.environment;"
        "print(*sorted(d.name for d in m.distributions()), u.find_spec('pgmux'))"
    )
    done = run(python, "-I", "-c", code)
    assert done.stdout == "pgmux-apps None\n", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"]])
def test_the_checker_of_dags_runs_without_airflow(python: Path, arguments: list[str]) -> None:
    done = run(python.with_name("pgmux-airflow"), *arguments)
    assert done.returncode == 0 and "pgmux-airflow" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("part", "framework"), [("sqlalchemy", "sqlalchemy"), ("django.apps", "django")]
)
def test_a_part_without_its_framework_fails_at_the_frameworks_name(
    python: Path, part: str, framework: str
) -> None:
    done = run(python, "-I", "-c", f"import pgmux_apps.{part}")
    assert f"ModuleNotFoundError: No module named '{framework}'" in done.stderr


# Imports are looked at here, in an environment that has all the frameworks but Airflow.
LOADED = (
    "import sys; import {framework}; before = set(sys.modules); import pgmux_apps.{part};"
    "new = {{name.split('.')[0] for name in set(sys.modules) - before}};"
    "print(*sorted(new - set(sys.stdlib_module_names) - {{'pgmux_apps', '__mp_main__'}}))"
)


@pytest.mark.parametrize(
    ("part", "framework"),
    [
        ("console", "sys"),
        ("environment", "sys"),
        ("sqlalchemy", "sqlalchemy"),
        ("sqlalchemy.plugin", "sqlalchemy"),
        ("django", "django"),
        ("django.apps", "django.apps, django.core.checks"),
        ("airflow", "sys"),
        ("airflow.cli", "sys"),
    ],
)
def test_a_part_imports_nothing_but_its_framework(part: str, framework: str) -> None:
    code = LOADED.format(part=part, framework=framework)
    source = str(APPS / "src")
    done = run(sys.executable, "-P", "-c", code, PYTHONPATH=source)
    assert done.stdout == "\n", done.stdout + done.stderr


def test_every_entry_point_names_something_that_is_there(python: Path) -> None:
    code = (
        "import importlib.metadata as m;"
        "print(*sorted(f'{p.group} {p.name} {p.value}' for p in"
        " m.distribution('pgmux-apps').entry_points), sep='\\n')"
    )
    lines = run(python, "-I", "-c", code).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["airflow.policy", "pgmux"],
        ["console_scripts", "pgmux-airflow"],
        ["sqlalchemy.plugins", "pgmux"],
    ]
    for group, name, value in (line.split() for line in lines):
        if group == "airflow.policy":  # loading it is for the tests in a real Airflow
            assert find_spec(value) is not None
        else:
            assert EntryPoint(name, value, group).load() is not None
