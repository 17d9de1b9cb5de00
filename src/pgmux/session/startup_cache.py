"""Startup packets that have been seen before: the clients of one application all send the same.

A packet gets in here when a client that sent it has authenticated, so nobody else can fill it; and
all is forgotten when the configuration changes. A startup packet has no password in it.
"""

from __future__ import annotations

from pgmux.config import Config
from pgmux.session.startup import Startup

MAX_PACKETS = 256
MAX_PACKET_LEN = 1024  # longer ones are taken apart each time
MAX_WAYS = 64  # of one packet: with an HBA file, one for each address that it comes from


class StartupCache:
    """What the packets say, by their bytes, under one configuration."""

    __slots__ = ("_config", "_startups")

    def __init__(self) -> None:
        self._config: Config | None = None
        self._startups: dict[bytes, Startup] = {}

    def find(self, packet: bytes, config: Config) -> Startup | None:
        """What the packet says under this configuration, where that is known."""
        if config is not self._config:
            self._forget(config)
        return self._startups.get(packet)

    def add(self, packet: bytes, config: Config, startup: Startup) -> None:
        """Remember what the packet says. Where there are too many, the oldest goes."""
        if config is not self._config:
            self._forget(config)
        if len(packet) <= MAX_PACKET_LEN:
            while len(self._startups) >= MAX_PACKETS:
                del self._startups[next(iter(self._startups))]
            self._startups[packet] = startup

    def _forget(self, config: Config) -> None:
        """All that was found under another configuration, secrets too."""
        self._config = config
        self._startups = {}
