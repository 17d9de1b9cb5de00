"""What a service manager gives to the process, and what it is told."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgmux.daemon import systemd
from pgmux.daemon.process import StartError
from pgmux.daemon.systemd import ServiceManager, find_service_manager

PID = 4711


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(abstract: bool, tmp_path: Path) -> None:
    address = f"@pgmux-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    found = find_service_manager({"NOTIFY_SOCKET": address}, PID)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        found.notify(systemd.READY)
        assert manager.recv(100) == b"READY=1"


def test_no_manager_is_no_error(tmp_path: Path) -> None:
    ServiceManager().notify(systemd.READY)
    ServiceManager(str(tmp_path / "gone")).notify(systemd.READY)


def test_a_manager_that_reads_nothing_holds_up_nobody_for_long(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler,
    ):
        manager.bind(address)
        filler.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                filler.sendto(b"x", address)
        ServiceManager(address).notify(systemd.ALIVE)


def test_reloading_carries_the_monotonic_clock() -> None:
    first, second = systemd.reloading().split("\n")
    assert first == "RELOADING=1"
    assert abs(int(second.removeprefix("MONOTONIC_USEC=")) - time.monotonic() * 1e6) < 1e6


def test_the_status_is_one_assignment() -> None:
    assert systemd.status("stats: 0 xacts/s") == "STATUS=stats: 0 xacts/s"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4711"}, 30.0),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_a_watchdog_counts_if_it_is_for_this_process(
    environment: dict[str, str], seconds: float
) -> None:
    assert find_service_manager(environment, PID).watchdog == seconds


def test_nothing_of_it_is_left_to_a_child() -> None:
    environment = {
        "NOTIFY_SOCKET": "/x",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "a",
        "PATH": "/bin",
    }
    assert find_service_manager(environment, PID).sockets == ()
    assert environment == {"PATH": "/bin"}


# Socket activation, with descriptors that begin elsewhere than at 3, which pytest has in use


Give = Callable[[socket.socket], dict[str, str]]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Iterator[Give]:
    """`give(sock)`: a descriptor of its own for it, and the environment that says so."""

    def give_(sock: socket.socket) -> dict[str, str]:
        number = os.dup(sock.fileno())
        os.set_inheritable(number, True)
        monkeypatch.setattr(systemd, "_FIRST_FD", number)
        return {"LISTEN_FDS": "1", "LISTEN_PID": str(PID)}

    yield give_


def test_a_socket_that_listens_is_taken_and_not_handed_on(give: Give) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (sock,) = find_service_manager(give(listening), PID).sockets
        with sock:
            assert sock.getsockname() == listening.getsockname()
            assert not sock.get_inheritable()


def test_sockets_for_another_process_are_left_alone(give: Give) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        environment = give(listening) | {"LISTEN_PID": "1"}
        assert find_service_manager(environment, PID).sockets == ()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_one_that_does_not_listen_is_refused(give: Give, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as sock, pytest.raises(StartError) as error:
        find_service_manager(give(sock), PID)
    assert "failed to set up socket passed from service manager (fd " in str(error.value)
    assert "see ListenStream=" in str(error.value)


def test_what_is_no_socket_is_refused(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as file:
        monkeypatch.setattr(systemd, "_FIRST_FD", file.fileno())
        environment = {"LISTEN_FDS": "1", "LISTEN_PID": str(PID)}
        with pytest.raises(StartError, match=r"\(fd \d+\): Socket operation on non-socket"):
            find_service_manager(environment, PID)
