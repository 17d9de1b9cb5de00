"""The pidfile's rules are PgBouncer's, and a container's restart works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgmux.daemon import pidfile
from pgmux.daemon.log import Log
from pgmux.daemon.process import StartError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pgbouncer.pid"


@pytest.fixture
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_no_file_is_no_obstacle(path: Path) -> None:
    pidfile.check(str(path), Log())


def test_the_file_holds_our_pid_and_a_newline(path: Path) -> None:
    pidfile.write(str(path))
    assert path.read_bytes() == b"%d\n" % os.getpid()
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def test_a_file_of_a_process_that_is_gone_is_removed(
    path: Path, dead_pid: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path.write_text(f"{dead_pid}\n")
    pidfile.check(str(path), Log())
    assert not path.exists()
    assert capfd.readouterr().err.endswith(" LOG stale pidfile, removing\n")


def test_our_own_pid_is_stale(path: Path) -> None:
    path.write_text(f"{os.getpid()}\n")
    pidfile.check(str(path), Log())
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    ["1\n", "", "\n", "zork", "0", "-1", "99999999999999999999999999", "\udcff", "1 2", "9" * 5000],
)
def test_a_living_or_unreadable_pid_is_an_obstacle(path: Path, content: str) -> None:
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(StartError) as caught:
        pidfile.check(str(path), Log())
    assert str(caught.value) == f"pidfile '{path}' exists, another instance running?"
    assert path.exists()


def test_a_pidfile_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        pidfile.check(str(tmp_path), Log())
    assert str(caught.value) == f"could not open pidfile '{tmp_path}': Is a directory"


def test_a_file_that_appeared_meanwhile_is_not_overwritten(path: Path) -> None:
    path.write_text("1\n")
    with pytest.raises(StartError) as caught:
        pidfile.write(str(path))
    assert str(caught.value) == f"could not open pidfile '{path}': File exists"
    assert path.read_text() == "1\n"


def test_removing_twice_is_no_error(path: Path) -> None:
    pidfile.write(str(path))
    pidfile.remove(str(path))
    pidfile.remove(str(path))
    assert not path.exists()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
