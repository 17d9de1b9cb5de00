"""A server that nobody uses keeps no database from being dropped, copied or renamed; who still uses
it does.
"""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tests.e2e.pools.clients import Connect, answer, send
from tests.fixtures.pooler import MakePooler, Pooler


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooler(module_pooler: MakePooler, request: pytest.FixtureRequest) -> Pooler:
    return module_pooler(databases={"*": ""}, settings={"pool_mode": request.param})


def use(pooler: Pooler, db: str) -> None:
    """A client that comes, asks and goes."""
    with psycopg.connect(pooler.dsn(db), autocommit=True) as connection:
        connection.execute("SELECT 1")


def test_a_database_comes_and_goes(pooler: Pooler, connect: Connect) -> None:
    admin = connect(pooler)
    admin.execute("CREATE DATABASE comes STRATEGY file_copy")
    use(pooler, "comes")
    admin.execute("CREATE DATABASE copied TEMPLATE comes STRATEGY file_copy")
    use(pooler, "comes")
    admin.execute("ALTER DATABASE comes RENAME TO goes")
    use(pooler, "goes")
    use(pooler, "copied")
    admin.execute("DROP DATABASE IF EXISTS copied")
    admin.execute("DROP DATABASE goes", prepare=True)
    found = admin.execute("SELECT datname FROM pg_database").fetchall()
    assert not {("comes",), ("goes",), ("copied",)} & set(found)


def test_a_database_goes_right_behind_its_last_client(pooler: Pooler, connect: Connect) -> None:
    admin = connect(pooler)
    for _ in range(3):  # its goodbye may be read before the statement, or after it
        admin.execute("CREATE DATABASE brief STRATEGY file_copy")
        last = connect(pooler, "brief")
        last.execute("SELECT 1")
        last.close()
        admin.execute("DROP DATABASE brief")


def test_two_may_drop_it_at_once(pooler: Pooler, connect: Connect) -> None:
    clients = [connect(pooler) for _ in range(2)]
    clients[0].execute("CREATE DATABASE twice STRATEGY file_copy")
    use(pooler, "twice")
    for client in clients:
        send(client, "DROP DATABASE twice")
    answers = sorted(answer(client) for client in clients)
    assert answers[0] == ""
    assert "does not exist" in answers[1]


def test_a_database_that_somebody_uses_is_in_use(pooler: Pooler, connect: Connect) -> None:
    admin = connect(pooler)
    admin.execute("CREATE DATABASE used STRATEGY file_copy")
    user = connect(pooler, "used")
    user.execute("BEGIN")
    user.execute("SELECT 1")
    with pytest.raises(errors.ObjectInUse):
        admin.execute("DROP DATABASE used")
    user.execute("COMMIT")
    user.close()
    admin.execute("DROP DATABASE used")
