"""Connections that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from tests.e2e.pools.clients import Connect, Connection
from tests.fixtures.pooler import Pooler


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`connect(pooler, "db", "user")` opens a connection in autocommit; it ends with the test."""
    with ExitStack() as stack:

        def open_(
            pooler: Pooler, db: str = "postgres", user: str = "postgres", **parameters: Any
        ) -> Connection:
            dsn = pooler.dsn(db, user, **parameters)
            return stack.enter_context(closing(psycopg.connect(dsn, autocommit=True)))

        yield open_
