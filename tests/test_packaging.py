"""What is compiled, and which form runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
    assert form_in_a_process_with(PGMUX_PURE="1") == "pure"


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
