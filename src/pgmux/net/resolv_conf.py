"""The setting `resolv_conf`: another file in the place of /etc/resolv.conf.

It is read here, as pycares 5 hands c-ares a path that it has freed already. Lines that mean
nothing are skipped, as every resolver does; a nameserver may have a port: `127.0.0.1:5353`,
`[::1]:5353`.

Source: resolv.conf(5). Errors: OSError, of the file.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TypedDict


class ChannelOptions(TypedDict, total=False):
    """What of a resolv.conf a c-ares channel is told; times in seconds."""

    servers: list[str]
    domains: list[str]
    ndots: int
    timeout: float
    tries: int
    rotate: bool


_MOST = 30  # as glibc caps them, about
# What applies where the file doesn't say; "." is the root: no other domain is tried.
_NO_SERVERS = ["127.0.0.1"]
_NO_DOMAINS = ["."]


def read_resolv_conf(path: str) -> ChannelOptions:
    """What the file says. Raises: OSError."""
    return parse_resolv_conf(Path(path).read_text(errors="replace"))


def parse_resolv_conf(text: str) -> ChannelOptions:
    """What the text of such a file says."""
    options = ChannelOptions()
    servers: list[str] = []
    domains: list[str] = []
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        if keyword == "nameserver" and words and _is_server(words[0]):
            servers.append(words[0])
        elif keyword in ("search", "domain"):
            domains = words if keyword == "search" else words[:1]
        elif keyword == "options":
            for word in words:
                _take_option(options, word)
    options["servers"] = servers or _NO_SERVERS
    options["domains"] = [each for each in domains if each.isascii()] or _NO_DOMAINS
    return options


def _take_option(options: ChannelOptions, word: str) -> None:
    name, _, value = word.partition(":")
    if name == "rotate":
        options["rotate"] = True
    elif value.isdecimal():
        number = min(int(value), _MOST)
        match name:
            case "ndots":
                options["ndots"] = number
            case "timeout":
                options["timeout"] = max(1, number)
            case "attempts":
                options["tries"] = max(1, number)


def _is_server(text: str) -> bool:
    """Whether it is an IP address, with or without a port."""
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, port = text[1:].rpartition("]:")
        if not bracket:
            return False
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return port.isdecimal() and 0 < int(port) < 1 << 16
