"""query_wait_notify: a client is told of each wait once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pgmux.config import Config, Settings
from pgmux.config.model import Database
from pgmux.pool.pool import Pool, PoolKey, limits_of
from pgmux.session.maintenance import _notify

CONFIG = Config(settings=Settings(query_wait_notify=5))


class Client:
    """As the janitor sees a client of the queue."""

    def __init__(self) -> None:
        self.state = 0
        self.owner = SimpleNamespace(welcomed=True, notified_wait=0.0)
        self.transport = self
        self.query_start = self.wait_start = self.request_time = 0.0
        self.linked_server = None
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_a_client_is_told_once_of_each_wait() -> None:
    pool = Pool(PoolKey("d", "u"), limits_of(CONFIG, Database("d", "d"), "u"), ())
    control: Any = SimpleNamespace(pool=pool, pooler=SimpleNamespace(config=CONFIG))
    client = Client()
    pool.lists.add_client(client)
    told = []
    for start in (100.0, 200.0):
        client.wait_start = client.query_start = start
        pool.lists.wait(client)
        for waited in (5.0, 6.0, 7.0):
            _notify(control, start + waited)
            told.append(len(client.written))
        pool.lists.stop_waiting(client)
    assert told == [0, 1, 1, 1, 2, 2]
