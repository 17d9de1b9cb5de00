"""The process itself: its name, its end, and what it makes of hostile HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgmux.web.door import MAX_CONNECTIONS
from pgmux.wire import build
from tests.fixtures.pooler import MakePooler
from tests.fixtures.waiting import wait_until
from tests.fixtures.web import HOST, RunWeb, WebProcess

NOWHERE = "host=127.0.0.1 port=1 user=x"


def open_socket(served: WebProcess) -> socket.socket:
    return socket.create_connection((HOST, served.port), timeout=15)


def test_it_is_named_so_that_killall_of_the_pooler_spares_it(web: RunWeb) -> None:
    served = web("--console", NOWHERE)
    assert Path(f"/proc/{served.process.pid}/comm").read_text() == "pgmux-web\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_also_with_connections_open(
    web: RunWeb, pooler: MakePooler, signum: signal.Signals
) -> None:
    served = web("--console", pooler().dsn("pgbouncer"))
    served.metrics()
    with open_socket(served), open_socket(served) as half:
        half.sendall(b"GET /metrics HTTP/1.1\r\n")
        began = time.monotonic()
        assert served.terminate(signum) == 0
        assert time.monotonic() - began < 4  # 2 s, and patience with a busy machine


def test_it_ends_with_the_pooler_that_has_started_it(web: RunWeb) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-P", "-m", "pgmux", "web", "--listen", f"{HOST}:0"]
            process = subprocess.Popen(
                [*command, "--console-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )
        ours.settimeout(15)
        assert ours.recv(1024) == build.build_query("SHOW VERSION")
        ours.close()
        _, stderr = process.communicate(timeout=15)
    assert process.returncode == 0
    assert b"the pooler has ended the connection" in stderr and b"Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say where the console is"),
        (["--console", "host=x", "--console-fd", "0"], "say where the console is"),
        (["--console", "pass word"], "not a connection string"),
        (["--console", NOWHERE, "--listen", "::1:80"], "no address to listen at"),
        (["--console", NOWHERE, "--listen", "192.0.2.1:80"], "cannot listen on 192.0.2.1:80"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pgmux", "web", *arguments], capture_output=True, text=True
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_without_its_libraries_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise ModuleNotFoundError(name='aiohttp')")
    done = subprocess.run(
        [sys.executable, "-m", "pgmux", "web", "--console", NOWHERE],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 1
    assert "pgmux web needs aiohttp: pip install 'pgmux[web]'" in done.stderr


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "added.example:80"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "https://localhost"}, 200),
    ],
)
def test_a_page_of_a_stranger_reads_nothing(
    web: RunWeb, headers: dict[str, str], status: int
) -> None:
    served = web("--console", NOWHERE, "--allowed-host", "Added.Example")
    for path in ("/healthz", "/metrics"):
        answer = served.get(path, **headers)
        assert answer.status == status
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 10_000,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(10_000)) + b"\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        + b"a" * 200_000,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\nTransfer-Encoding: x\r\n\r\n",
    ],
)
def test_garbage_ends_its_own_connection(web: RunWeb, noise: bytes) -> None:
    served = web("--console", NOWHERE)
    with open_socket(served) as garbage:
        try:
            garbage.sendall(noise)
            garbage.shutdown(socket.SHUT_WR)
            assert b" 200 " not in garbage.recv(65536)
        except ConnectionError:
            pass  # it has read enough
    assert served.get("/healthz").status == 200
    assert "Traceback" not in served.log()


def test_connections_beyond_the_bound_are_told_so_and_the_others_serve_on(web: RunWeb) -> None:
    served = web("--console", NOWHERE)
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 10):  # a busy machine's backlog may lose a few
            stack.enter_context(open_socket(served))
        wait_until(lambda: served.get("/healthz").status == 503)
    wait_until(lambda: served.get("/healthz").status == 200)
