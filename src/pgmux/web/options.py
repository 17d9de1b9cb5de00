"""What the command line of `pgmux web` says. Errors: ValueError, whose text is for the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pgmux.config.listen import is_listen_host

DEFAULT_PORT = 9127  # of PgBouncer's exporters
DEFAULT_LISTEN = f"127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; `host` None is every address of this machine."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or "*"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Options:
    """Where the console is, by `console_fd` or `console`; where to listen; whom to answer.

    Commands need a token: the one in `token_file`, or where `token_from_pooler` is set whatever the
    pooler at `console_fd` takes for right. They go to `admin_console` where that is given.
    """

    listen: Address
    console: str | None = field(default=None, repr=False)  # may have a password
    console_fd: int | None = None
    admin_console: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    token_from_pooler: bool = False
    allowed_hosts: frozenset[str] = frozenset()


def parse_address(text: str) -> Address:
    """`ADDR:PORT`, `[ADDR]:PORT`, `*:PORT`, `ADDR`, or a port alone, which is one of loopback's
    also with a colon in front. Raises: ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not host and port.isdecimal():
        host, colon = DEFAULT_LISTEN.rpartition(":")[0], ":"
    elif not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not text or not port.isdecimal() or not 0 <= int(port) <= 65535 or not is_listen_host(host):
        raise ValueError(
            f"{text!r} is no address to listen at: write ADDR:PORT, as {DEFAULT_LISTEN},"
            " [::1]:9127 or *:9127"
        )
    host = host.removeprefix("[").removesuffix("]")
    return Address(None if host == "*" else host, int(port))
