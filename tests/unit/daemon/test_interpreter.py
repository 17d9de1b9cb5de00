"""The Python of our children, also where the user that we became can't reach it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgmux.daemon import interpreter
from pgmux.daemon.interpreter import Interpreter, KeptInterpreter


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_python_that_can_be_reached_is_run_by_its_path_and_nothing_is_kept() -> None:
    before = open_files()
    assert KeptInterpreter().release() == Interpreter(sys.executable)
    assert open_files() == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/fd")
def test_one_that_cant_be_reached_runs_by_what_was_open_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = KeptInterpreter()
    monkeypatch.setattr(interpreter.os, "access", lambda path, mode: False)
    found = kept.release()
    try:
        code = "import sys, ssl, click, pgmux; print(sys.executable)"
        done = subprocess.run(
            [found.path, "-P", "-c", code],
            env=dict(found.environment),
            pass_fds=found.fds,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"{found.path}\n", done.stderr
        assert Path(found.path).is_relative_to("/proc/self/fd")
    finally:
        for fd in found.fds:
            os.close(fd)
