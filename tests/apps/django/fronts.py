"""Poolers as an alias of DATABASES has them: pgmux, and Debian's PgBouncer or PGMUX_PGBOUNCER."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgmux.ops.pooler import PGMUX, PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.tools import require_pgbouncer

ENGINE = "django.db.backends.postgresql"


class Front(PoolerProcess):
    """One of them, in transaction mode, before the run's PostgreSQL; its user is postgres."""

    version = ""  # of a PgBouncer; empty for pgmux

    def alias(self, database: str, **settings: Any) -> dict[str, Any]:
        """As DATABASES has it."""
        return alias(self.host, self.port, database, **settings)

    @property
    def is_pgmux(self) -> bool:
        return not self.version

    @property
    def tracks_prepared_statements(self) -> bool:
        found = re.search(r"(\d+)\.(\d+)", self.version)
        return found is None or (int(found[1]), int(found[2])) >= (1, 21)

    def need_login_counts(self) -> None:
        """The test is skipped where SHOW STATS doesn't have them (PgBouncer before 1.26)."""
        if not self.is_pgmux:
            pytest.skip(f"{self.version} doesn't count logins")

    def console(self, command: str) -> list[dict[str, Any]]:
        """The rows of a command."""
        where = {"host": self.host, "port": self.port, "dbname": "pgbouncer"}
        with psycopg.connect(
            **where,  # type: ignore[arg-type]
            user="postgres",
            password="postgres",
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            row_factory=dict_row,
        ) as connection:
            cursor = connection.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def reload(self) -> None:
        """With what the attributes say now."""
        self.write_configuration()
        self.console("RELOAD")


def alias(host: str, port: int, database: str, **settings: Any) -> dict[str, Any]:
    """An alias of DATABASES, of user postgres unless told otherwise."""
    said = {"HOST": host, "PORT": port, "NAME": database, "USER": "postgres"}
    return {"ENGINE": ENGINE, **said, "PASSWORD": "postgres", **settings}


def pgmux_front(
    postgres: EmbeddedPostgres, users: Mapping[str, str] | None = None, **settings: object
) -> Front:
    """pgmux, to be started by `with`."""
    return _front(postgres, PGMUX, users or {}, settings)


def pgbouncer_front(
    postgres: EmbeddedPostgres, users: Mapping[str, str] | None = None, **settings: object
) -> Front:
    """PgBouncer; the test skips where there is none."""
    path = require_pgbouncer()
    front = _front(postgres, (path,), users or {}, settings)
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    front.version = said.partition("\n")[0]
    return front


def _front(
    postgres: EmbeddedPostgres,
    command: tuple[str, ...],
    users: Mapping[str, str],
    settings: Mapping[str, object],
) -> Front:
    default = {"auth_type": "scram-sha-256", "pool_mode": "transaction", "admin_users": "postgres"}
    return Front(
        port=find_free_port(),
        databases={"*": f"host={postgres.host} port={postgres.port}"},
        users={"postgres": "postgres", **users},
        settings=default | settings,
        command=command,
    )
