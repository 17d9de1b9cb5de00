"""Where the web process listens, and the names that a browser may call it by, as texts.

Errors: ValueError, whose message says what would be accepted.
"""

from __future__ import annotations

import ipaddress
import re

LOOPBACK = "127.0.0.1"

_PORT = re.compile("[0-9]{1,5}")
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")
_EXAMPLES = "127.0.0.1:9127, [::1]:9127, *:9127 or 9127, which is 127.0.0.1:9127, is expected"


def parse_listen(text: str) -> str:
    """`address:port`, with IPv6 in brackets, * for all addresses; a port alone, with or without its
    colon, is that of 127.0.0.1, and "" stays that. Raises: ValueError.
    """
    text = text.strip()
    if not text:
        return ""
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or not 0 < int(port) <= 0xFFFF:
        raise ValueError(f"a port from 1 to 65535 is missing: {_EXAMPLES}")
    host = host or LOOPBACK
    if not is_listen_host(host):
        raise ValueError(_EXAMPLES)
    return f"{host}:{int(port)}"


def parse_host_names(text: str) -> tuple[str, ...]:
    """A list by commas of host names, in lower case; * is any. Raises: ValueError."""
    names = tuple(name for part in text.split(",") if (name := part.strip().lower()))
    if not all(name == "*" or _is_host(name) for name in names):
        raise ValueError(
            "host names by commas are expected, as pgmux.example.com: no URLs, no ports"
        )
    return names


def is_listen_host(host: str) -> bool:
    """Whether that can stand in front of the port: a host, or * for all addresses."""
    return host == "*" or _is_host(host)


def _is_host(text: str) -> bool:
    """Whether it is a name, an IPv4 address, or an IPv6 address in brackets."""
    if text.startswith("[") and text.endswith("]"):
        try:
            return bool(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            return False
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return bool(ipaddress.IPv4Address(text))
        except ValueError:
            return False
    return _NAME.fullmatch(text) is not None
