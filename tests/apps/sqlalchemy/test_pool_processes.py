"""Forked processes, and several that share PROMETHEUS_MULTIPROC_DIR: real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMON = """
import os, sqlite3, sys, threading
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool, QueuePool
from pgmux_apps.sqlalchemy import *

def make(name="default", poolclass=QueuePool, **arguments):
    connect = lambda: sqlite3.connect(":memory:", check_same_thread=False)
    engine = create_engine("sqlite://", creator=connect, poolclass=poolclass, **arguments)
    setup_sqlalchemy_pool_metrics(engine, name, leak_seconds=1e-6)
    return engine

def scrape(registry=REGISTRY):
    def of(name, pool_name="default", **labels):
        labels["pool_name"] = pool_name
        value = registry.get_sample_value("sqlalchemy_pool_" + name, labels)
        return None if value is None else float(value)
    return of

def together():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return scrape(registry)

def forked(child):
    # what the child has printed, after it has ended well
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            child()
        except BaseException as error:
            print("child:", repr(error))
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(pid, 0)
    return pid
"""


def run(program: str, directory: Path | None = None) -> list[str]:
    """The lines that a program prints, which has COMMON before it."""
    environment = {name: value for name, value in os.environ.items() if "MULTIPROC" not in name}
    if directory is not None:
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", COMMON + program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_forked_process_begins_with_nothing_counted_held_or_waiting() -> None:
    assert run("""
engine = make(pool_size=1, max_overflow=0)
holder = engine.connect()
thread = threading.Thread(target=lambda: engine.connect().close())
thread.start()
while not check_pool_health(engine)["waiters"]:
    pass
def child():
    holder.close()              # the parent's; nobody should, and it isn't this process's checkin
    engine.dispose(close=False)
    of = scrape()
    assert of("checkins_total") == 0
    print(of("checkouts_total"), of("connects_total"), of("waiters"), of("checked_out"))
    print(check_pool_health(engine)["held_too_long"])
    with engine.connect():
        print(of("checkouts_total"), of("connects_total"), of("checked_out"))
forked(child)
print(scrape()("waiters"), scrape()("checkouts_total"))
holder.close()
thread.join()
print(scrape()("waiters"), scrape()("checkouts_total"))
""") == ["0.0 0.0 0.0 0.0", "[]", "1.0 1.0 1.0", "1.0 1.0", "0.0 2.0"]


def test_a_lock_that_is_taken_when_a_process_forks_is_free_in_the_child() -> None:
    """A thread that the child doesn't have may have been counting."""
    assert run("""
from pgmux_apps.sqlalchemy import measurement
engine = make(poolclass=NullPool)
with engine.connect():
    held, done = threading.Event(), threading.Event()
    def hold():
        with measurement._lock, measurement._named["default"].counts.lock:
            held.set()
            done.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    def child():
        print(scrape()("checked_out"))
        with engine.connect():
            print(scrape()("checked_out"))
    forked(child)
    done.set()
    thread.join()
    print(scrape()("checked_out"))
""") == ["0.0", "1.0", "1.0"]


def test_processes_of_one_directory_are_added_and_the_fullest_is_the_utilisation(
    tmp_path: Path,
) -> None:
    assert run(
        """
engine = make(pool_size=2, max_overflow=2)          # as gunicorn --preload: before the fork
ready, go_on = os.pipe(), os.pipe()
pids = []
for count in (1, 3):
    pid = os.fork()
    if not pid:
        connections = [engine.connect() for _ in range(count)]
        os.write(ready[1], b".")
        os.read(go_on[0], 1)
        for connection in connections:
            connection.close()
        os._exit(0)
    pids.append(pid)
os.read(ready[0], 1), os.read(ready[0], 1)
of = together()
print(of("size"), of("capacity"), of("checked_out"), of("overflow"), of("waiters"))
print(of("utilization_ratio"), of("checkouts_total"), of("connects_total"))
print(of("checkout_duration_seconds_count"), of("checkout_hold_seconds_count"))
os.write(go_on[1], b"..")
for pid in pids:
    os.waitpid(pid, 0)
print(of("checked_out"), of("checked_in"), of("checkins_total"), of("disconnects_total"))
for pid in pids:
    mark_process_dead(pid)
print(of("size"), of("checkins_total"))
""",
        tmp_path,
    ) == [
        "4.0 8.0 4.0 1.0 0.0",
        "0.75 4.0 4.0",
        "4.0 0.0",
        "0.0 3.0 4.0 1.0",
        "None 4.0",
    ]


def test_a_process_that_does_not_use_its_engine_does_not_count(tmp_path: Path) -> None:
    assert run(
        """
engine = make()
print(together()("size"))
with engine.connect():
    print(together()("size"))
engine.dispose()
print(together()("size"), together()("capacity"), together()("checked_in"))
with engine.connect():
    print(together()("size"), together()("checked_out"))
""",
        tmp_path,
    ) == ["None", "5.0", "0.0 0.0 0.0", "5.0 1.0"]


def test_who_waits_and_who_times_out_is_in_the_files_at_once(tmp_path: Path) -> None:
    assert run(
        """
engine = make(pool_size=1, max_overflow=0, pool_timeout=0.05)
holder = engine.connect()
seen = []
def wait():
    try:
        engine.connect()
    except Exception as error:
        print(type(error).__name__)
thread = threading.Thread(target=wait)
thread.start()
while not together()("waiters") and thread.is_alive():
    pass
thread.join()
print(together()("waiters"), together()("timeouts_total"))
""",
        tmp_path,
    ) == ["TimeoutError", "0.0 1.0"]


def test_updating_writes_what_is_so_now(tmp_path: Path) -> None:
    assert run(
        """
engine = make()
with engine.connect():
    update_sqlalchemy_pool_metrics(engine, "default")
    print(together()("checked_out"))
""",
        tmp_path,
    ) == ["1.0"]


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    assert run(
        """
engine = make(pool_size=2, max_overflow=1)
def work():
    for _ in range(200):
        with engine.connect():
            pass
threads = [threading.Thread(target=work) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
of = together()
print(of("checkouts_total"), of("checkins_total"), of("checkout_hold_seconds_count"))
print(of("checked_out"), of("waiters"))
""",
        tmp_path,
    ) == ["1600.0 1600.0 1600.0", "0.0 0.0"]


def test_a_connection_that_is_collected_while_files_are_written_is_written_next(
    tmp_path: Path,
) -> None:
    """The garbage collector runs where it likes, and prometheus-client's lock isn't reentrant."""
    assert run(
        """
from prometheus_client import Histogram
engine = make()
forgotten = [engine.raw_connection()]
observe = Histogram.observe
def collect_meanwhile(self, amount):
    observe(self, amount)
    forgotten.clear()
Histogram.observe = collect_meanwhile
engine.connect().close()
print(together()("checkins_total"), together()("checkout_hold_seconds_count"))
print(together()("checked_out"))
""",
        tmp_path,
    ) == ["2.0 2.0", "0.0"]


def test_files_that_cannot_be_written_cost_the_application_nothing(tmp_path: Path) -> None:
    assert run(
        """
import logging
from prometheus_client import Histogram
engine = make()
said = []
class Said(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("pgmux_apps.sqlalchemy").addHandler(Said())
logging.getLogger("pgmux_apps").propagate = False
def full(self, amount):
    raise OSError("No space left on device")
Histogram.observe = full
for _ in range(20):
    with engine.connect():
        pass
print(check_pool_health(engine)["checked_out"])
print([each for each in said if "held" not in each])
""",
        tmp_path,
    ) == ["0", '["the metrics of pool default can\'t be written"]']


def test_threads_that_count_at_once_lose_nothing() -> None:
    assert run("""
engine = make(pool_size=2, max_overflow=1)
def work():
    for _ in range(500):
        with engine.connect():
            pass
threads = [threading.Thread(target=work) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
of = scrape()
print(of("checkouts_total"), of("checkins_total"), of("checkout_duration_seconds_count"))
print(of("checked_out"), of("waiters"), of("connects_total") - of("disconnects_total") <= 2)
""") == ["4000.0 4000.0 4000.0", "0.0 0.0 True"]


@pytest.mark.parametrize("fork_first", [True, False])
def test_a_multiprocess_child_counts_for_itself_alone(tmp_path: Path, fork_first: bool) -> None:
    use = "" if fork_first else "engine.connect().close()"
    lines = run(
        f"""
engine = make()
{use}
def child():
    engine.dispose(close=False)
    engine.connect().close()
forked(child)
print(together()("checkouts_total"), together()("size"))
""",
        tmp_path,
    )
    assert lines == (["1.0 5.0"] if fork_first else ["2.0 10.0"])
