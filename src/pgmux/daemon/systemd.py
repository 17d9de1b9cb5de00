"""Telling the service manager: ready, reloading, stopping, what `systemctl status` shows
(Debian's unit for it is Type=notify).

Source: sd_notify(3), a datagram to the socket that $NOTIFY_SOCKET names. Errors: none; a manager
that is gone is not our failure.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

READY = "READY=1"
STOPPING = "STOPPING=1"


def reloading() -> str:
    """The message that a Type=notify-reload unit waits for before READY."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def status(text: str) -> str:
    """The message that makes `text` the status that systemctl shows."""
    return f"STATUS={text}"


def notify(message: str) -> None:
    """Send `message`, where a service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, contextlib.suppress(OSError):
        sender.sendto(message.encode(), address)
