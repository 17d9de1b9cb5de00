"""PostgreSQL at three addresses, names for them, and connections that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.ops.account import unprivileged_account
from pgmux.ops.installation import make_directory
from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.conftest import connect
from tests.fixtures.dns import DnsServer, dns, running_dns_server

__all__ = ["connect", "dns"]

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server, which tells by `inet_server_addr()` where a connection has come in."""
    settings = {"listen_addresses": ",".join(ADDRESSES)}
    with EmbeddedPostgres(settings=settings, auth_method="trust") as server:
        yield server


@pytest.fixture(scope="module")
def module_dns() -> Iterator[DnsServer]:
    """As `dns`; it ends with the test module."""
    with running_dns_server() as server:
        yield server


@pytest.fixture(scope="module")
def readable() -> Iterator[Path]:
    """A directory that the pooler's account can read."""
    with make_directory(unprivileged_account()) as path:
        yield Path(path)
