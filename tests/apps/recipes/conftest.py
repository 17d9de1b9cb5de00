"""The poolers that the recipes run through: pgmux, and Debian's PgBouncer, with two servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.tools import require_tool

SERVERS = 2  # fewer than any of the programs has connections


@pytest.fixture(scope="module")
def front(module_pooler: MakePooler) -> Pooler:
    """pgmux in transaction mode, with fewer servers than the programs have connections."""
    return module_pooler(settings={"default_pool_size": SERVERS})


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    """Debian's 1.18, which tracks no prepared statements; otherwise as `front`."""
    with PoolerProcess(
        port=find_free_port(),
        databases={"*": f"host={postgres.host} port={postgres.port}"},
        users={postgres.superuser: postgres.password},
        settings={
            "auth_type": "trust",
            "pool_mode": "transaction",
            "default_pool_size": SERVERS,
        },
        command=(str(require_tool("pgbouncer")),),
    ) as process:
        yield process


@pytest.fixture
def database(create_database: Callable[..., str]) -> str:
    """An empty database of the test's own."""
    return create_database()
