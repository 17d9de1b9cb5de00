"""A PostgreSQL that others replicate, and poolers in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection, PhysicalReplicationConnection

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import MakePooler, Pooler

SETTINGS = {"wal_level": "logical", "max_wal_senders": 20, "max_replication_slots": 20}
# To pg_hba.conf physical replication is a database of its own; `mallory` may not have it.
HBA = (
    "host replication mallory all reject",
    "host replication all all trust",
    "host all all all trust",
)
USERS = {"app": "", "mallory": ""}

Kind = type[LogicalReplicationConnection] | type[PhysicalReplicationConnection]
OpenReplication = Callable[..., Any]


@pytest.fixture(scope="session")
def primary() -> Iterator[EmbeddedPostgres]:
    """Its user `app` lacks REPLICATION."""
    with EmbeddedPostgres(settings=SETTINGS, hba=HBA) as server:
        server.psql("CREATE ROLE app LOGIN; CREATE ROLE mallory LOGIN REPLICATION")
        yield server


@pytest.fixture(scope="module")
def pgmux(module_pooler: MakePooler, primary: EmbeddedPostgres) -> Pooler:
    """In transaction mode; for tests that leave it as it is."""
    return module_pooler(postgres=primary, users=USERS)


@pytest.fixture
def replicate() -> Iterator[OpenReplication]:
    """`replicate(pooler, LogicalReplicationConnection)`: psycopg2's, which ends with the test."""
    with ExitStack() as stack:

        def open_(pooler: Pooler, kind: Kind, user: str = "postgres", **parameters: Any) -> Any:
            dsn = pooler.dsn("postgres", user)
            connection = psycopg2.connect(dsn, connection_factory=kind, **parameters)
            return stack.enter_context(closing(connection))

        yield open_
