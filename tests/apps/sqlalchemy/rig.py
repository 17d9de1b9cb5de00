"""Engines whose connections cost nothing, and what a scrape of their pools has."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool

from pgmux_apps.sqlalchemy import check_pool_health
from tests.fixtures.waiting import wait_until


def make_engine(**arguments: Any) -> Engine:
    """An engine with a real pool in front of SQLite; 5 + 10 connections unless told otherwise."""
    arguments = {"poolclass": QueuePool, "creator": connect} | arguments
    return create_engine("sqlite://", **arguments)


def connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


class Scrape:
    """What a registry has now: `scrape["sqlalchemy_pool_size"]`, of one pool alone by default."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> float | None:
        return self.of("default", name)

    def of(self, pool_name: str, name: str, **labels: str) -> float | None:
        labels = {"pool_name": pool_name} | labels
        return self._registry.get_sample_value(f"sqlalchemy_pool_{name}", labels)


@contextmanager
def somebody_waits(engine: Engine, count: int = 1) -> Iterator[list[threading.Thread]]:
    """Threads that ask for a connection, of which there is none; they are waiting now, and have
    ended when this has.
    """

    def ask() -> None:
        with engine.connect():
            pass

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(count)]
    before = waiters(engine)
    for thread in threads:
        thread.start()
    wait_until(lambda: waiters(engine) == before + count)
    yield threads
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def waiters(engine: Any) -> int:
    number: int = check_pool_health(engine)["waiters"]
    return number
