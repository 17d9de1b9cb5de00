"""This machine: the pooler's process, file descriptors, who listens where, the firewall."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """How many descriptors `whose` may have: "pgbouncer, process 123", or "this shell"."""

    soft: int
    hard: int
    whose: str
    is_pooler: bool


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that listens here; `address` "" is all addresses, IPv4's or IPv6's."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Firewall:
    """`tool`: ufw, nftables or iptables. `closes`: what it doesn't name is refused from outside.
    `open_ports`: of those that were asked about, the ports that a rule lets in.
    """

    tool: str
    is_active: bool
    closes: bool
    open_ports: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """`pooler`: "pgmux" or "pgbouncer", where its process was found. `firewall` is None where it
    couldn't be read. `libpq`: which PostgreSQL's the system's
    psycopg uses, as 17; None without.
    """

    open_files: OpenFiles
    pooler: str = ""
    listeners: tuple[Listener, ...] = ()
    firewall: Firewall | None = None
    libpq: int | None = None
