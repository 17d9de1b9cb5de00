"""sd_notify: one datagram where a manager listens, silence where none does."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from pgmux.daemon import systemd


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"@pgmux-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        systemd.notify(systemd.READY)
        assert manager.recv(100) == b"READY=1"


def test_no_manager_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify(systemd.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.notify(systemd.READY)


def test_reloading_carries_the_monotonic_clock() -> None:
    first, second = systemd.reloading().split("\n")
    assert first == "RELOADING=1"
    assert abs(int(second.removeprefix("MONOTONIC_USEC=")) - time.monotonic() * 1e6) < 1e6


def test_the_status_is_one_assignment() -> None:
    assert systemd.status("stats: 0 xacts/s") == "STATUS=stats: 0 xacts/s"
