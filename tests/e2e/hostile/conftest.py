"""What every test of this directory has beside it: others who must not notice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import psycopg
import pytest

from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

SLOWEST_QUERY = 3.0  # seconds, on a machine that is busy
BUSY = ("cl_waiting", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active", "sv_login")
BUSY += ("sv_active_cancel", "sv_being_canceled", "sv_tested")


class Bystander:
    """An ordinary client that queries without a pause, and checks every answer."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self.query_count = 0
        self.slowest = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._session()
        except BaseException as error:
            self._error = error

    def _session(self) -> None:
        """A connection for some queries: logging in has to go on working, too."""
        with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
            for number in range(20):
                began = time.monotonic()
                assert connection.execute("select %s::int", [number]).fetchone() == (number,)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.query_count += 1
                self._stop.wait(0.002)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Queries go on from here to the end of the block, and none fails or takes long."""
        self._thread.start()
        try:
            yield
            so_far = self.query_count
            wait_until(lambda: self._error or self.query_count >= so_far + 2)
        finally:
            self._stop.set()
            self._thread.join(10)
        if self._error is not None:
            raise self._error
        assert not self._thread.is_alive()
        assert self.slowest < SLOWEST_QUERY


def busy_pools(pooler: Pooler, database: str) -> list[dict[str, object]]:
    """The pools of a database in which anything waits or works, in login or in a link."""
    rows = [row for row in pooler.console("SHOW POOLS") if row["database"] == database]
    return [row for row in rows if any(row[name] for name in BUSY)]


Others = Callable[[Pooler], AbstractContextManager[None]]


@pytest.fixture
def others_are_served() -> Others:
    """`with others_are_served(pooler):` as many ordinary queries as fit run beside the block."""
    return lambda pooler: Bystander(pooler.dsn("postgres")).watching()
