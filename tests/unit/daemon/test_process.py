"""What a process does to itself; becoming another user is seen in tests/e2e/test_process.py."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.daemon import process
from pgmux.daemon.process import StartError


@pytest.fixture
def own_user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(not os.path.exists("/proc/self/comm"), reason="only Linux has /proc/self/comm")
def test_the_name_that_killall_looks_for_is_set() -> None:
    code = (
        "from pgmux.daemon.process import set_comm\n"
        "set_comm('pgbouncer')\n"
        "print(open('/proc/self/comm').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "pgbouncer", done.stderr


def test_a_closed_standard_stream_is_not_left_to_the_first_connection() -> None:
    code = (
        "import os\n"
        "from pgmux.daemon.process import hold_standard_streams\n"
        "for stream in (0, 2): os.close(stream)\n"
        "hold_standard_streams()\n"
        "fd = os.open(os.devnull, os.O_RDONLY)\n"
        "print(fd)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert int(done.stdout) > 2


def test_an_unknown_user_is_refused_in_pgbouncers_words() -> None:
    with pytest.raises(StartError) as caught:
        process.change_user("no-such-user")
    assert str(caught.value) == "could not find user 'no-such-user' to switch to"


@pytest.mark.skipif(os.getuid() == 0, reason="root may become anybody")
def test_another_user_is_refused_to_who_is_not_root() -> None:
    with pytest.raises(StartError) as caught:
        process.change_user("root")
    expected = "failed to assume identity of user 'root': Operation not permitted"
    assert str(caught.value) == expected


@pytest.mark.skipif(os.getuid() == 0, reason="root would lose its groups")
def test_becoming_oneself_is_allowed(own_user: str) -> None:
    process.change_user(own_user)


def test_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(StartError) as caught:
        process.refuse_root()
    assert str(caught.value) == "PgBouncer should not run as root"
    monkeypatch.setattr(os, "getuid", lambda: 1)
    process.refuse_root()


@pytest.fixture(params=["path", "abstract"])
def listening_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A unix_socket_dir where something listens on port 6432."""
    directory = f"@pgmux-{os.getpid()}" if request.param == "abstract" else str(tmp_path)
    name = f"{directory}/.s.PGSQL.6432"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.listen()
        yield directory


def test_a_unix_socket_that_answers_is_in_use(listening_dir: str) -> None:
    with pytest.raises(StartError) as caught:
        process.refuse_second_process(listening_dir, 6432)
    assert str(caught.value) == "unix socket is in use, cannot continue"
    process.refuse_second_process(listening_dir, 6433)


def test_a_unix_socket_that_a_killed_process_left_is_free(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{tmp_path}/.s.PGSQL.6432")
    process.refuse_second_process(str(tmp_path), 6432)
    process.refuse_second_process("", 6432)
    process.refuse_second_process("/" + "x" * 200, 6432)
