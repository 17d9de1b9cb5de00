"""The service manager: what it gives to this process, and what it is told.

It gives listening sockets (socket activation), a socket to tell it things, and how often it wants a
sign of life; all in the environment, which is cleaned of it, so that no child takes it for its own.

Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Errors: StartError for a descriptor
that is no listening socket; a manager that is gone is not our failure.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

from pgmux.daemon.process import StartError

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"

_FIRST_FD = 3
# A manager that reads nothing, and whose queue is full, holds us up for so long; seconds.
_PATIENCE = 0.1


def reloading() -> str:
    """The message that a Type=notify-reload unit waits for before READY."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def status(text: str) -> str:
    """The message that makes `text` the status that systemctl shows."""
    return f"STATUS={text}"


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """What there is of it; without one all is empty. `watchdog` is after how many seconds without
    ALIVE it ends the process, 0 is never.
    """

    address: str = ""
    watchdog: float = 0.0
    sockets: tuple[socket.socket, ...] = ()

    def notify(self, message: str) -> None:
        """Send `message`, where a service manager listens."""
        if not self.address:
            return
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with sender, contextlib.suppress(OSError):
            sender.settimeout(_PATIENCE)
            sender.sendto(message.encode(), path)


def find_service_manager(environment: MutableMapping[str, str], pid: int) -> ServiceManager:
    """What the environment says to process `pid`, and is then gone from it. Raises: StartError."""
    names = (
        "NOTIFY_SOCKET",
        *("WATCHDOG_USEC", "WATCHDOG_PID"),
        *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
    )
    found = {name: environment.pop(name, "") for name in names}
    watchdog = 0.0
    if found["WATCHDOG_PID"] in ("", str(pid)):
        watchdog = _number(found["WATCHDOG_USEC"]) / 1e6
    count = _number(found["LISTEN_FDS"]) if found["LISTEN_PID"] == str(pid) else 0
    sockets = tuple(_take_socket(fd) for fd in range(_FIRST_FD, _FIRST_FD + count))
    return ServiceManager(found["NOTIFY_SOCKET"], watchdog, sockets)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _take_socket(fd: int) -> socket.socket:
    """Raises: StartError."""
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise _bad_socket(fd, error.strerror or str(error)) from error
    if not listens or sock.type != socket.SOCK_STREAM:
        raise _bad_socket(fd, "it is no listening stream socket; see ListenStream=")
    return sock


def _bad_socket(fd: int, why: str) -> StartError:
    text = f"failed to set up socket passed from service manager (fd {fd}): {why}"
    return StartError(text)
