"""`pgmux demo`, as a user runs it: on real connections, and nothing left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from pgmux.ops.demo_traffic import APPLICATIONS
from pgmux.ops.postgres import find_free_port
from tests.fixtures.waiting import wait_until

COMMAND = (sys.executable, "-m", "pgmux", "demo", "--clients=120", "--seconds=1")


@pytest.fixture
def temporary_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo's directories are, and nothing else."""
    path = Path("/tmp", f"demo-{os.getpid()}")
    path.mkdir(mode=0o755)
    monkeypatch.setenv("TMPDIR", str(path))
    yield path
    path.rmdir()  # fails unless it is empty: the demo left nothing


def names_of_applications(url: str) -> set[str]:
    """Those that the dashboard's process tells Prometheus of."""
    try:
        with urlopen(f"{url}metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return set()  # it is being started
    return set(re.findall(r'^pgmux_app_queries_total\{.*application_name="([^"]+)"', text, re.M))


def processes_with(text: str) -> list[str]:
    """Command lines of running processes that mention it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone since
        if text in line:
            found.append(line)
    return found


def test_the_problem_and_the_cure_as_json(temporary_directory: Path) -> None:
    command = [*COMMAND, "--once", "--json", f"--port={find_free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["direct"]["connected"] == 100
    assert shown["direct"]["refused"] == {"sorry, too many clients already": 20}
    assert shown["pgmux"]["connected"] == 120
    assert shown["pgmux"]["errors"] == {}
    assert 0 < shown["pgmux"]["server_connections"] <= 20
    assert shown["pgmux"]["transactions"] > shown["direct"]["transactions"] / 2
    assert processes_with(str(temporary_directory)) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_interrupted(
    signum: signal.Signals, temporary_directory: Path
) -> None:
    command = [*COMMAND, f"--port={find_free_port()}", f"--http-port={find_free_port()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        shown = ""
        for line in demo.stdout:
            shown += line
            if line.startswith("Ctrl-C"):
                break
        uri = re.search(r"Connect: psql (\S+)", shown)
        assert uri is not None, shown
        with psycopg.connect(uri[1]) as connection:
            assert connection.execute("select count(*) from account").fetchone() == (10_000,)
        console = re.search(r"Console: \S+ (console -d \S+) 'SHOW POOLS'", shown)
        assert console is not None, shown
        asked = [*COMMAND[:3], *console[1].split(), "SHOW POOLS"]
        assert "demo" in subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        dashboard = re.search(r"Dashboard: (\S+)", shown)
        assert dashboard is not None, shown
        wait_until(lambda: names_of_applications(dashboard[1]) >= {a.name for a in APPLICATIONS})
        demo.send_signal(signum)
        assert demo.wait(20) == 0
    assert processes_with(str(temporary_directory)) == []


def test_an_interrupt_in_the_middle_leaves_nothing(temporary_directory: Path) -> None:
    command = [*COMMAND, "--seconds=60"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()  # PostgreSQL is being started
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(20) == 130
    assert processes_with(str(temporary_directory)) == []


def test_no_postgresql_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGMUX_PG_BINDIR", "/nonexistent")
    done = subprocess.run([*COMMAND, "--once"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install 'pgmux[demo]'" in done.stderr
    assert "Traceback" not in done.stderr
