"""A database for each module, behind a pooler whose servers take turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient
from tests.fixtures.rotation import ROTATE, open_servers


@pytest.fixture(scope="module")
def rotating(module_pooler: MakePooler) -> Pooler:
    """Transaction mode, three servers in each pool, used in turn once they are open."""
    return module_pooler(settings=ROTATE)


@pytest.fixture(scope="module")
def module_db(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = "protocol"
    postgres.psql(f"CREATE DATABASE {name} STRATEGY file_copy")
    yield name
    postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(postgres: EmbeddedPostgres, rotating: Pooler, module_db: str) -> str:
    """An empty database with three servers open in `rotating`."""
    postgres.psql("DROP SCHEMA public CASCADE; CREATE SCHEMA public", module_db)
    open_servers(rotating, module_db)
    return module_db


@pytest.fixture
def raw(rotating: Pooler, db: str) -> Iterator[RawClient]:
    """A client of `rotating`, logged in to `db`."""
    with RawClient(rotating) as client:
        yield client.start(db)
