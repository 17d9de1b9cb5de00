"""Poolers that run the files of five deployments, before a PostgreSQL with all they need."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import Pooler

INI_FILES = Path(__file__).parents[2] / "unit/config/deployments"
DATABASES = ("crm_db", "mt5_trading", "okx_hft", "tracksolid_db")
ROLES = {"trader": "secret", "admin": "password123", "user": "password", "okx_admin": "secret"}
Deploy = Callable[..., "Deployment"]


class Deployment(Pooler):
    """A pooler that runs one of the files; `changes` are what is different here."""

    def __init__(self, postgres: EmbeddedPostgres, name: str, users: Mapping[str, str]) -> None:
        super().__init__(postgres, {}, {}, users, {})
        self._text = (INI_FILES / f"{name}.ini").read_text()

    def write_configuration(self) -> None:
        super().write_configuration()
        changes = {
            r"host=\S+ port=5432": f"host={self.server.host} port={self.server.port}",
            r"listen_addr = .*": f"listen_addr = {self.host}",
            r"listen_port = .*": f"listen_port = {self.port}",
            r"auth_file = .*": f"auth_file = {self.directory}/userlist.txt\n"
            f"logfile = {self.directory}/log\nunix_socket_dir = {self.directory}",
        }
        text = self._text
        for pattern, replacement in changes.items():
            text, count = re.subn(pattern, replacement, text)
            assert count > 0, pattern
        (self.directory / "pgbouncer.ini").write_text(text)

    def warnings(self) -> list[str]:
        """What it said of the file at its start."""
        return re.findall(r"WARNING (?!\w+-).*", self.log())

    def show(self, what: str, user: str) -> list[dict[str, Any]]:
        dsn = self.dsn("pgbouncer", user)
        with closing(psycopg.connect(dsn, autocommit=True, row_factory=dict_row)) as console:
            return console.execute(f"SHOW {what}".encode()).fetchall()


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL with the databases and roles of all five."""
    for database in DATABASES:
        postgres.psql(f"CREATE DATABASE {database} STRATEGY file_copy")
    for role, password in ROLES.items():
        # An md5 secret in the userlist logs in to a server that has an md5 secret, no other.
        encryption = "md5" if role == "trader" else "scram-sha-256"
        postgres.psql(f"ALTER ROLE postgres SET password_encryption = '{encryption}'")
        postgres.psql(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'")
    postgres.psql("ALTER ROLE postgres RESET password_encryption")
    yield postgres
    for database in DATABASES:
        postgres.psql(f"DROP DATABASE {database} WITH (FORCE)")
    for role in ROLES:
        postgres.psql(f'DROP ROLE "{role}"')


@pytest.fixture
def deploy(server: EmbeddedPostgres) -> Iterator[Deploy]:
    """`deploy("name", user=secret, …)` runs that file with that userlist."""
    with ExitStack() as stack:

        def start(name: str, **users: str) -> Deployment:
            return stack.enter_context(Deployment(server, name, users))

        yield start
