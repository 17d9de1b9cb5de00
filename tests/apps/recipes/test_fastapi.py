"""docs/apps/fastapi.md: its program under load in two processes, and what it says goes wrong."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pgmux.ops.pooler import end
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.apps.recipes.conftest import SERVERS
from tests.fixtures.documents import ROOT, environment, write_files
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

PAGE = "docs/apps/fastapi.md"
WORKERS = 2
POOL_TIMEOUT = 3.0  # seconds
# Routes beside the page's, which take their time or fail at COMMIT.
MORE = """

@app.get("/slow")
async def slow(connection: Reading) -> str:
    await connection.execute(text("SELECT pg_sleep(0.5)"))
    return "done"


TWICE = text("INSERT INTO visit (page, once) VALUES ('twice', 1), ('twice', 1)")


@app.post("/early")
async def early(connection: Annotated[AsyncConnection, Depends(writing)]) -> str:
    await connection.execute(TWICE)
    return "saved"


@app.post("/late")
async def late(connection: Writing) -> str:
    await connection.execute(TWICE)
    return "saved"
"""


class Served:
    """The program, served by uvicorn."""

    def __init__(self, directory: Path, database: str, env: dict[str, str]) -> None:
        self.database = database
        self.url = f"http://127.0.0.1:{(port := find_free_port())}"
        self.log = directory / "uvicorn.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "app:app"),
                    *("--workers", str(WORKERS), "--port", str(port)),
                    *("--timeout-graceful-shutdown", "20"),
                ],
                cwd=directory,
                env=env,
                stdout=log,
                stderr=log,
            )

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text().count("Application startup complete") == WORKERS


@pytest.fixture(scope="module")
def served(
    front: Pooler, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("fastapi")
    write_files(PAGE, directory)
    with (directory / "app.py").open("a") as program:
        program.write(MORE)
    postgres.psql("CREATE DATABASE visits")
    postgres.psql(
        "CREATE TABLE visit (page text, once integer UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        dbname="visits",
    )
    env = environment(front.dsn("visits")) | {"DB_POOL_TIMEOUT": str(POOL_TIMEOUT)}
    served = Served(directory, "visits", env)
    try:
        wait_until(served.is_ready, timeout=20)
        yield served
    finally:
        end(served.process)
        postgres.psql("DROP DATABASE visits WITH (FORCE)")


def pool_of(front: Pooler, database: str) -> dict[str, int]:
    rows = front.console("SHOW POOLS")
    return next((row for row in rows if row["database"] == database), {})


async def ask(served: Served, *requests: str, at_a_time: int = 100) -> list[httpx.Response]:
    """The answers to requests like "GET /healthz", each on a connection of its own."""
    limits = httpx.Limits(max_connections=at_a_time, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=served.url, limits=limits, timeout=30) as client:
        return await asyncio.gather(*(client.request(*each.split()) for each in requests))


def test_forty_requests_at_a_time_are_served_by_two_servers(front: Pooler, served: Served) -> None:
    answers = asyncio.run(ask(served, *["POST /visits/home"] * 200, at_a_time=40))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["worker"] for answer in answers}) == WORKERS
    assert httpx.get(f"{served.url}/visits/home").json() == 200
    pool = pool_of(front, served.database)
    assert pool["sv_active"] + pool["sv_idle"] + pool["sv_used"] <= SERVERS
    assert SERVERS < pool["cl_active"] <= WORKERS * 15


def is_critical(served: Served) -> bool:
    """Whether the process that answers has all its connections in use."""
    with httpx.Client(timeout=30) as client:
        return bool(client.get(f"{served.url}/healthz").json()["status"] == "critical")


def test_who_finds_no_connection_is_told_to_come_again_and_the_others_are_served(
    front: Pooler, served: Served
) -> None:
    async def crowd() -> list[httpx.Response]:
        with (
            psycopg.connect(front.dsn("visits")) as one,
            psycopg.connect(front.dsn("visits")) as two,
        ):
            for each in (one, two):
                each.execute("SELECT 1")  # and leaves its transaction open
            asked = [asyncio.create_task(ask(served, "GET /visits/home")) for _ in range(60)]
            await asyncio.to_thread(wait_until, lambda: is_critical(served))
            (ready,) = await ask(served, "GET /readyz")
            assert (ready.status_code, ready.json()) == (503, "no")
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)  # by DB_POOL_TIMEOUT
        return [answer for each in asked for answer in await each]

    by_status: dict[int, list[httpx.Response]] = {}
    for answer in asyncio.run(crowd()):
        by_status.setdefault(answer.status_code, []).append(answer)
    assert len(by_status[200]) >= 15  # one process's pool at least
    assert {answer.headers["retry-after"] for answer in by_status[503]} == {"1"}
    assert by_status.keys() == {200, 503}
    assert httpx.get(f"{served.url}/readyz").json() == "yes"


def test_without_scope_function_the_answer_goes_out_before_the_commit(served: Served) -> None:
    answers = asyncio.run(ask(served, "POST /early", "POST /late"))
    assert [answer.status_code for answer in answers] == [200, 500]
    assert httpx.get(f"{served.url}/visits/twice").json() == 0


def test_sigterm_lets_requests_end_and_then_no_client_is_left(
    front: Pooler, served: Served
) -> None:
    async def stop_while_they_are_served() -> list[httpx.Response]:
        asked = asyncio.create_task(ask(served, *["GET /slow"] * 4))
        await asyncio.to_thread(
            wait_until, lambda: pool_of(front, served.database).get("cl_waiting") == 2
        )
        served.process.send_signal(signal.SIGTERM)
        return await asked

    answers = asyncio.run(stop_while_they_are_served())
    assert [answer.json() for answer in answers] == ["done"] * 4
    assert served.process.wait(10) == 0, served.log.read_text()
    wait_until(lambda: not pool_of(front, served.database).get("cl_active"))
    assert "unexpected eof" not in front.log()


def explains(text: str) -> bool:
    """Whether the page has a section about this message."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    return any(text in line for line in page.splitlines() if line.startswith("### "))


def test_an_engine_that_two_event_loops_use_fails_as_the_page_says(front: Pooler) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    engine = create_async_engine(front.dsn().replace("postgresql", "postgresql+asyncpg"))
    asyncio.run(work(engine))
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        asyncio.run(work(engine))
    assert explains("attached to a different loop")


def test_a_pool_that_is_too_small_is_said_as_the_page_has_it(front: Pooler) -> None:
    engine = sa.create_engine(
        front.dsn().replace("postgresql", "postgresql+psycopg"),
        pool_size=5,
        max_overflow=10,
        pool_timeout=0,
    )
    held = [engine.connect() for _ in range(15)]
    with pytest.raises(sa.exc.TimeoutError) as failed:
        engine.connect()
    for each in held:
        each.close()
    engine.dispose()
    assert explains(str(failed.value).split(",")[0])
