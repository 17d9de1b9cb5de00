"""What is compiled, and which form runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgmux import _pure

ROOT = Path(__file__).parent.parent


def form_in_a_process_with(**environ: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", "from pgmux import _pure; print(_pure.form())"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_every_cython_module_is_listed_in_setup_py() -> None:
    listed = re.search(r"CYTHON_MODULES = \((.*?)\)", (ROOT / "setup.py").read_text(), re.DOTALL)
    assert listed is not None
    names = re.findall(r'"([\w.]+)"', listed[1])
    assert sorted(names) == _pure.cython_modules()


def test_pgmux_pure_loads_no_compiled_module() -> None:
    assert form_in_a_process_with(PGMUX_PURE="1") == "uncompiled"


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    """Where a copy of pgmux is that has a module newer than its compiled form."""
    shutil.copytree(_pure.PACKAGE, tmp_path / "pgmux", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "pgmux/pool/_pool_cy.py").open("a") as source:
        source.write("# as after `git pull`\n")
    return tmp_path


def pgmux_in(directory: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgmux", *arguments],
        env={**os.environ, "PYTHONPATH": str(directory), "PGMUX_PURE": "0", **environ},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("arguments", [["--version"], ["run", "-V"], ["run", "pgbouncer.ini"]])
def test_a_compiled_module_of_another_source_is_refused_at_start(
    stale: Path, arguments: list[str]
) -> None:
    refused = pgmux_in(stale, *arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()  # no traceback
    assert line.startswith("pgmux")
    assert re.search(r"pool/_pool_cy\.\S+ was not compiled from _pool_cy\.py as it is now", line)
    assert "`make build`" in line and "PGMUX_PURE=1" in line


def test_the_source_that_a_compiled_module_lags_behind_runs_uncompiled(stale: Path) -> None:
    shown = pgmux_in(stale, "--version", PGMUX_PURE="1")
    assert shown.stdout.endswith("(uncompiled)\n")


def test_both_ways_to_call_the_command_say_version_and_form() -> None:
    answers = {
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (
            [sys.executable, "-m", "pgmux", "--version"],
            [str(Path(sys.executable).with_name("pgmux")), "--version"],
        )
    }
    assert len(answers) == 1
    assert re.fullmatch(rf"pgmux \S+ \({_pure.form()}\)\n", answers.pop())


def test_the_commands_help_imports_neither_rich_nor_the_daemon() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from pgmux.cli.main import commands;"
        "result = CliRunner().invoke(commands, ['--help']); assert 'demo' in result.output;"
        "print([m for m in ('rich', 'asyncio', 'pgmux.daemon') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
