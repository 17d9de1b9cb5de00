"""docs/apps/celery.md: its programs in a real worker that forks, and what it says goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from pgmux.ops.pooler import end
from tests.apps.recipes.conftest import SERVERS
from tests.fixtures.documents import ROOT, environment, write_files
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

PAGE = "docs/apps/celery.md"
CHILDREN = 3
# The broker is a directory. Nobody else is there to gossip with, and a poll of it is a second.
BROKER = """
broker_transport_options = {
    "data_folder_in": "queue",
    "data_folder_out": "queue",
    "control_folder": "control",
    "polling_interval": 0.05,
}
"""
USED_BY_THE_PARENT = """
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))
"""


@contextmanager
def worker(directory: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with three children, ready."""
    log = directory / "worker.log"
    command = [
        *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO"),
        *("--concurrency", str(CHILDREN), "--without-gossip", "--without-mingle"),
        "--without-heartbeat",  # with which its end takes 2 s more
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: " ready." in log.read_text() or process.poll() is not None, timeout=20)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        end(process)


def start(command: tuple[str, ...], directory: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=directory, env=env, stdout=pipe, stderr=pipe, text=True)


def clients_of(front: Pooler, database: str) -> list[dict[str, object]]:
    return [row for row in front.console("SHOW CLIENTS") if row["database"] == database]


def test_children_of_a_worker_share_two_servers_though_their_parent_has_used_the_engine(
    front: Pooler, database: str, tmp_path: Path
) -> None:
    write_files(PAGE, tmp_path)
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    for name, more in (("celeryconfig.py", BROKER), ("tasks.py", USED_BY_THE_PARENT)):
        with (tmp_path / name).open("a") as program:
            program.write(more)
    sizes = {"DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0", "CELERY_BROKER_URL": "filesystem://"}
    env = environment(front.dsn(database)) | sizes
    with psycopg.connect(front.dsn(database), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (amount integer)")
    sender = start((sys.executable, "send.py"), tmp_path, env)
    # This broker loses a message that is taken while it is being written.
    wait_until(lambda: len(list((tmp_path / "queue").iterdir())) == 30)
    with worker(tmp_path, env) as process:
        answer, error = sender.communicate(timeout=30)
        assert answer == f"30 orders by {CHILDREN} processes\n", (
            error + (tmp_path / "worker.log").read_text()
        )
        # each child's engine and result backend; the parent's one of its own
        assert len(clients_of(front, database)) <= 2 * CHILDREN + 1
        (pool,) = [r for r in front.console("SHOW DATABASES") if r["name"] == database]
        assert pool["current_connections"] <= SERVERS
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, (tmp_path / "worker.log").read_text()
    with psycopg.connect(front.dsn(database)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (30,)
    wait_until(lambda: clients_of(front, database) == [])


def explains(text: str) -> bool:
    """Whether the page has a section about this message."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    return any(text in line for line in page.splitlines() if line.startswith("### "))


def in_a_child(action: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("close", [False, True])
def test_a_childs_dispose_leaves_the_parents_connections_alone_only_with_close_false(
    front: Pooler, database: str, close: bool
) -> None:
    url = front.dsn(database).replace("postgresql", "postgresql+psycopg")
    engine = sa.create_engine(url, pool_size=1)

    def ask() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))

    ask()
    in_a_child(lambda: engine.dispose(close=close))
    if close:
        with pytest.raises(sa.exc.OperationalError) as failed:
            ask()
        assert explains(str(failed.value.orig).splitlines()[0])
    else:
        ask()
    engine.dispose()
