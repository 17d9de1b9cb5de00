"""What the tests of troubleshooting.md have in common: the symptom, a pooler of `shop`, clients.

A test says by its marker which heading it is about. It has to see what the heading quotes
(`symptom.seen(text)`), and may have the page's commands run (`symptom.told(pooler)`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.conftest import connect
from tests.e2e.symptoms.page import Shown, Symptom, is_like, occurs, rows, symptoms
from tests.fixtures.documents import replace
from tests.fixtures.pooler import MakePooler, Pooler

__all__ = ["connect"]

# Columns whose numbers are other ones each time.
VARY = {"maxwait", "duration", "server_pid", "client_id", "port", "since", "age", "longest", "pid"}

Shop = Callable[..., Pooler]


class Seen:
    """What a test has seen of its symptom."""

    def __init__(self, symptom: Symptom) -> None:
        self.symptom = symptom
        self.missing = set(symptom.messages)

    def seen(self, text: object) -> None:
        """The client or the log said this; some of what the heading quotes must be in it."""
        found = {each for each in self.symptom.messages if occurs(each, str(text))}
        assert found, f"{self.symptom.title} is not in: {text}"
        self.missing -= found

    def told(self, pooler: Pooler) -> None:
        """The section's commands print what it shows, at this pooler and its PostgreSQL."""
        for shown in self.symptom.shown():
            output = run(shown.command, pooler)
            assert output, shown.command
            assert missing(shown, output) == [], "\n".join(output)


def run(command: str, pooler: Pooler) -> list[str]:
    """The lines that a command of the page prints; its files and addresses are this pooler's."""
    server = pooler.server
    console = f"pgmux console -h {pooler.host} -p {pooler.port} -U postgres"
    places = {
        "pgmux console": console,
        "/var/log/pgbouncer/pgbouncer.log": str(pooler.directory / "log"),
        "/etc/pgbouncer": str(pooler.directory),
        "6432": str(pooler.port),
    }
    path = [Path(sys.executable).parent, server.tool("psql").parent, os.environ["PATH"]]
    env = {
        **os.environ,
        "PATH": os.pathsep.join(map(str, path)),
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PGPASSWORD": server.password,
        "PGDATABASE": "postgres",
    }
    done = subprocess.run(
        ["sh", "-c", replace(command, places)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    return [line for line in done.stdout.splitlines() if line.strip()]


def missing(shown: Shown, output: list[str]) -> list[object]:
    """What the page shows and the command hasn't printed: lines, or the cells of a table."""
    if expected := rows(shown.output):
        actual = rows(output)
        return [row for row in expected if not any(is_row(row, each) for each in actual)]
    return [line for line in shown.output if not any(is_like(line, each) for each in output)]


def is_row(shown: dict[str, str], row: dict[str, str]) -> bool:
    """Whether a row has these cells; the page may leave columns out."""
    return all(
        name in row
        and (is_like(cell, row[name]) if name in VARY or "…" in cell else cell == row[name])
        for name, cell in shown.items()
    )


@pytest.fixture
def symptom(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """The section that the test's marker names."""
    marker = request.node.get_closest_marker("symptom")
    found = [each for each in symptoms() if each.title == marker.args[0]]
    assert found, f"troubleshooting.md has no {marker.args[0]}"
    seen = Seen(found[0])
    yield seen
    assert not seen.missing, f"never seen: {seen.missing}"


@pytest.fixture(scope="module", autouse=True)
def app(postgres: EmbeddedPostgres) -> Iterator[None]:
    """User `app`, as on the page."""
    postgres.psql("CREATE ROLE app LOGIN PASSWORD 'secret'")
    yield
    postgres.psql("DROP OWNED BY app; DROP ROLE app")


@pytest.fixture
def shop(pooler: MakePooler) -> Shop:
    """`shop(default_pool_size=1)`: database `shop` for user `app`, in transaction mode."""

    def make(entry: str = "", *, users: dict[str, str] | None = None, **settings: object) -> Pooler:
        return pooler(
            databases={"shop": f"dbname=postgres {entry}".strip()},
            users={"app": "secret"} if users is None else users,
            settings=settings,
        )

    return make


def refused(dsn: str, **parameters: object) -> str:
    """What a client is told that isn't let in."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(dsn, **parameters).close()  # type: ignore[arg-type]
    return re.sub(r"\s+", " ", str(caught.value))
