"""`pgmux shim DIR` writes an executable named pgbouncer and overwrites nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pgmux.cli import shim


def run(*arguments: str) -> Result:
    return CliRunner().invoke(shim.command, arguments)


def test_the_executable_is_pgbouncer_to_who_calls_it(tmp_path: Path) -> None:
    assert run(str(tmp_path)).exit_code == 0
    done = subprocess.run([tmp_path / "pgbouncer", "-V"], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "PgBouncer 1.25.2"
    assert done.stdout.splitlines()[1].startswith("pgmux ")
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_directory_that_does_not_exist_is_made(tmp_path: Path) -> None:
    assert run(str(tmp_path / "opt" / "bin")).exit_code == 0
    assert os.access(tmp_path / "opt" / "bin" / "pgbouncer", os.X_OK)


def test_a_directory_that_cannot_be_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(str(tmp_path / "file" / "bin"))
    assert result.exit_code == 1
    assert "Not a directory" in result.output


def test_an_interpreter_with_a_blank_or_a_long_path_works(tmp_path: Path) -> None:
    directory = tmp_path / ("a long way" + "/x" * 80)
    directory.mkdir(parents=True)
    interpreter = directory / "python"
    # A link would lose the environment that sys.executable stands in.
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    interpreter.chmod(0o755)
    path = tmp_path / "pgbouncer"
    path.write_text(shim.script(str(interpreter)))
    path.chmod(0o755)
    done = subprocess.run([path, "-V"], capture_output=True, text=True)
    assert done.stdout.startswith("PgBouncer 1.25.2\n"), done.stderr
    assert shim.is_ours(path)


def test_a_second_time_overwrites_our_own(tmp_path: Path) -> None:
    assert run(str(tmp_path)).exit_code == 0
    assert run(str(tmp_path)).exit_code == 0
    assert os.listdir(tmp_path) == ["pgbouncer"]


def test_somebody_elses_pgbouncer_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pgbouncer").write_bytes(b"\x7fELF")
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert "exists and is not pgmux's" in result.output
    assert (tmp_path / "pgbouncer").read_bytes() == b"\x7fELF"


def test_a_link_to_somebody_elses_is_replaced_by_force_alone(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"\x7fELF")
    (tmp_path / "pgbouncer").symlink_to(real)
    assert run(str(tmp_path)).exit_code == 1
    assert run("--force", str(tmp_path)).exit_code == 0
    assert real.read_bytes() == b"\x7fELF"
    assert shim.is_ours(tmp_path / "pgbouncer")


def test_a_dangling_link_counts_as_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "pgbouncer").symlink_to(tmp_path / "nowhere")
    assert run(str(tmp_path)).exit_code == 1


def test_what_was_written_and_what_is_left_to_do_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    output = run(str(tmp_path)).output
    assert f"Wrote {tmp_path / 'pgbouncer'}" in output
    assert "is not on PATH" in output
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "`pgbouncer` now runs pgmux" in run(str(tmp_path)).output


def test_a_real_one_earlier_on_path_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pgbouncer").write_text("")
    (other / "pgbouncer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:{tmp_path}")
    assert f"is {other / 'pgbouncer'}" in run(str(tmp_path)).output
