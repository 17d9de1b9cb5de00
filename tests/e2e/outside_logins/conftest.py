"""Clients whose passwords somebody else knows: LDAP, PAM."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from tests.fixtures.pooler import Pooler
from tests.fixtures.raw import RawClient

PASSWORD = "LDAP s3cret"  # ldapuser's, also PostgreSQL's
LogIn = Callable[..., str]


@pytest.fixture(scope="module")
def ldapuser(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A role whose password PostgreSQL knows, too: in no auth_file."""
    postgres.psql(f"CREATE ROLE ldapuser LOGIN PASSWORD '{PASSWORD}'")
    yield "ldapuser"
    postgres.psql("DROP OWNED BY ldapuser CASCADE; DROP ROLE ldapuser")


@pytest.fixture
def log_in(ldapuser: str) -> LogIn:
    """`log_in(pooler, password, user=…, db=…)`: who PostgreSQL says that it is, or the refusal."""

    def try_it(
        pooler: Pooler, password: str = PASSWORD, *, user: str = ldapuser, db: str = "postgres"
    ) -> str:
        try:
            dsn = pooler.dsn(db, user, password)
            with psycopg.connect(dsn, autocommit=True, connect_timeout=20) as connection:
                query = "SHOW VERSION" if db == "pgbouncer" else "SELECT current_user"
                row = connection.execute(query.encode()).fetchone()
                assert row is not None
                return str(row[0])
        except psycopg.OperationalError as error:
            return str(error).partition("FATAL:")[2].strip() or str(error)

    return try_it


class SilentServer:
    """Takes connections and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(20)
        self._kept: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def wait_for_client(self) -> None:
        """Returns when somebody has connected and asked something."""
        client, _ = self._listener.accept()
        client.settimeout(20)
        assert client.recv(1)
        self._kept.append(client)

    def close(self) -> None:
        """Breaks all connections."""
        self._listener.close()
        for client in self._kept:
            client.close()


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


@pytest.fixture
def waiting_login(ldapuser: str) -> Iterator[Callable[..., RawClient]]:
    """`waiting_login(pooler, db)`: a client that has sent its password."""
    with ExitStack() as stack:

        def begin(pooler: Pooler, db: str = "postgres") -> RawClient:
            client = stack.enter_context(RawClient(pooler))
            startup = build.build_startup_message({"user": ldapuser, "database": db})
            client.send(startup, build.build_password_message(PASSWORD))
            return client

        yield begin
