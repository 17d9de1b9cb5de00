"""The web process as the pooler looks after it: stand-ins for `pgmux web`, real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pgmux.config import Config
from pgmux.config.model import PgmuxSettings, Settings
from pgmux.daemon import web_process
from pgmux.daemon.admin import DaemonAdmin, WebAdmin
from pgmux.daemon.interpreter import Interpreter
from pgmux.daemon.web_command import admin_conninfo, web_arguments, web_environment
from pgmux.daemon.web_process import WebProcess
from tests.unit.session.rig import Rig

# Reads its console till the end, as `pgmux web` does.
PATIENT = """
import os, sys
fd = int(sys.argv[sys.argv.index("--console-fd") + 1])
while os.read(fd, 100):
    pass
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pgmux-web: INFO up", flush=True)
time.sleep(60)
"""
BROKEN = """
import sys
print("Traceback", file=sys.stderr)
sys.exit("pgmux-web: ERROR cannot listen: in use")
"""
CURIOUS = """
import os, sys
fd = int(sys.argv[sys.argv.index("--console-fd") + 1])
os.write(fd, b"Q\\0\\0\\0\\x11SHOW VERSION\\0")
print("pgmux-web: INFO",  "answer", b"1.25.2" in os.read(fd, 1000), flush=True)
os.read(fd, 1)
"""
INHERITS = """
import os, sys
def is_open(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False
fds = [fd for fd in range(1000) if is_open(fd)]
fd = int(sys.argv[sys.argv.index("--console-fd") + 1])
print("pgmux-web: INFO",  "fds", fds == [0, 1, 2, fd], flush=True)
print("pgmux-web: INFO",  "secret", "PGPASSWORD" in os.environ, flush=True)
os.read(fd, 1)
"""


def listening_at(address: str, **settings: Any) -> Config:
    return Config(pgmux=PgmuxSettings(http_listen=address, **settings))


class Supervisor:
    """A `WebProcess` that runs a stand-in."""

    def __init__(self, code: str, interpreter: Interpreter) -> None:
        self.rig = Rig()
        self.missing: list[str] = []
        app: Any = SimpleNamespace(
            pooler=self.rig.pooler, log=self.rig.log, snapshot=None, is_shutting_down=False
        )
        self.web = WebProcess(
            asyncio.get_running_loop(),
            self.rig.pooler,
            DaemonAdmin(app),
            WebAdmin(app),
            interpreter,
            arguments=("-S", "-E", "-c", code),
            find_missing=lambda: self.missing,
        )

    @property
    def lines(self) -> list[str]:
        return self.rig.log.lines

    @property
    def pid(self) -> int:
        pid = self.web.row().pid
        assert pid is not None
        return pid

    async def until(self, condition: Callable[[], object]) -> None:
        """Rounds of the janitor till it is so."""
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, (self.web.row(), self.lines)
            self.web.maintain()
            await asyncio.sleep(0.005)

    async def said(self, text: str) -> None:
        await self.until(lambda: any(text in line for line in self.lines))


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_process, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(web_process, "LONGEST_DELAY", 0.04)
    monkeypatch.setattr(web_process, "PATIENCE", 0.1)
    monkeypatch.setattr(web_process, "LAST_PATIENCE", 0.1)


def run(
    code: str,
    test: Callable[[Supervisor], Awaitable[None]],
    interpreter: Interpreter | None = None,
) -> None:
    async def main() -> None:
        supervisor = Supervisor(code, interpreter or Interpreter())
        try:
            await test(supervisor)
        finally:
            await supervisor.web.close()

    asyncio.run(main())


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_without_http_listen_there_is_none() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(Config())
        supervisor.web.maintain()
        row = supervisor.web.row()
        assert (row.pid, row.state, row.starts) == (None, "off", 0)

    run(PATIENT, test)


def test_a_process_that_is_killed_is_started_again_and_counted() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        assert supervisor.web.row().state == "running"
        first = supervisor.pid
        os.kill(first, signal.SIGKILL)
        await supervisor.until(lambda: supervisor.web.starts == 2)
        row = supervisor.web.row()
        assert (row.state, row.address) == ("running", "127.0.0.1:9127")
        assert row.last_end == "killed by SIGKILL" and row.pid != first
        ends = [line for line in supervisor.lines if "ended" in line]
        assert len(ends) == 1
        assert ends[0].endswith("killed by SIGKILL; it is started again in 0.01 s")

    run(PATIENT, test)


def test_one_that_ends_by_itself_is_tried_ever_more_seldom_and_says_why() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        await supervisor.until(lambda: supervisor.web.starts == 5)
        assert supervisor.web.row().last_end == "exit code 1: cannot listen: in use"
        delays = [line.split()[-2] for line in supervisor.lines if "started again" in line]
        assert delays[:4] == ["0.01", "0.02", "0.04", "0.04"]
        assert "web process: cannot listen: in use" in supervisor.lines
        assert "web process: Traceback" in supervisor.lines

    run(BROKEN, test)


def test_it_asks_on_the_console_that_it_inherits() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        await supervisor.said("web process: answer True")

    run(CURIOUS, test)


def test_it_inherits_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")

    async def test(supervisor: Supervisor) -> None:
        read, write = os.pipe()
        os.set_inheritable(write, True)
        try:
            supervisor.web.use_config(listening_at("127.0.0.1:9127"))
            await supervisor.said("fds True")
            await supervisor.said("secret False")
        finally:
            os.close(read)
            os.close(write)

    run(INHERITS, test)


def test_a_changed_address_means_another_process_once_the_old_one_is_gone() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        first = supervisor.pid
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        assert supervisor.pid == first, "nothing has changed"
        supervisor.web.use_config(listening_at("127.0.0.1:9128"))
        assert supervisor.web.row().state == "stopping"
        await supervisor.until(lambda: supervisor.web.starts == 2)
        assert is_gone(first)
        assert supervisor.web.row().address == "127.0.0.1:9128"
        supervisor.web.use_config(Config())
        await supervisor.until(lambda: supervisor.web.row().state == "off")
        assert supervisor.web.row().pid is None

    run(PATIENT, test)


def test_one_that_doesnt_end_when_told_to_is_killed() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        await supervisor.said("web process: up")
        pid = supervisor.pid
        supervisor.web.use_config(Config())
        await supervisor.until(lambda: supervisor.web.row().state == "off")
        assert is_gone(pid)
        assert supervisor.web.row().last_end == "killed by SIGKILL"

    run(STUBBORN, test)


def test_the_end_of_the_pooler_leaves_no_process_behind() -> None:
    pids = []

    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        await supervisor.said("web process: up")
        pids.append(supervisor.pid)

    run(STUBBORN, test)
    assert is_gone(pids[0])


def test_a_command_that_cant_be_run_is_said_and_tried_again() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        await supervisor.until(lambda: supervisor.web.starts == 3)
        assert "No such file" in supervisor.web.row().last_end

    run(PATIENT, test, Interpreter("/nowhere/python"))


def test_a_missing_library_is_said_once_and_not_tried_again_before_a_reload() -> None:
    async def test(supervisor: Supervisor) -> None:
        supervisor.missing = ["aiohttp"]
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        for _ in range(3):
            supervisor.web.maintain()
        assert supervisor.web.row().state == "unavailable"
        (line,) = supervisor.lines
        assert line.startswith("http_listen needs aiohttp, which can't be found (pip install")
        supervisor.missing.clear()
        supervisor.web.use_config(listening_at("127.0.0.1:9127"))
        assert supervisor.web.row().state == "running"

    run(PATIENT, test)


def test_what_it_is_told() -> None:
    config = Config(
        settings=Settings(listen_addr=("*",), listen_port=6543),
        pgmux=PgmuxSettings(
            http_listen="127.0.0.1:9127",
            http_token_file="/etc/pgmux/token",
            http_allowed_hosts=("pool.example.com",),
        ),
    )
    told = web_arguments(config, has_own_sockets=True)
    assert told[:5] == (
        *("--listen", "127.0.0.1:9127", "--allowed-host", "pool.example.com"),
        "--token-from-pooler",
    )
    assert told[5:] == (
        "--admin-console",
        "host='127.0.0.1' port='6543' dbname='pgbouncer' require_auth='password,md5,scram-sha-256'",
    )
    assert "/etc/pgmux/token" not in told
    assert "--admin-console" not in web_arguments(config, has_own_sockets=False)
    assert web_arguments(Config(), has_own_sockets=True) == ()


def test_the_console_s_address_is_quoted_for_libpq() -> None:
    settings = Settings(unix_socket_dir="/tmp/it's here")
    assert r"host='/tmp/it\'s here'" in admin_conninfo(settings)
    assert admin_conninfo(Settings(unix_socket_dir="")) == ""


def test_its_environment_has_no_secret() -> None:
    ours = {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "src", "DB_PASSWORD": "x", "AWS": "y"}
    assert web_environment(ours) == {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "src"}
