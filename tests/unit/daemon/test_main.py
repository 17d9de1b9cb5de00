"""Process life with an application that is a listening socket and nothing more."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The application: listens, writes what it is told into a file, ends on TERM with exit code 7.
APPLICATION = """
import asyncio, os, sys, threading

from pgmux.daemon.command_line import parse_command_line
from pgmux.daemon.main import run
from pgmux.errors import ConfigError

os.getuid = lambda: 1  # these tests run as whoever runs the tests


class Application:
    def __init__(self, config, tls, reload, log, manager, interpreter):
        self.config, self.reload, self.log = config, reload, log
        self.closed = asyncio.get_running_loop().create_future()

    async def start(self):
        if self.config.settings.job_name == "unlucky":
            raise OSError(98, "Address already in use")
        if self.config.settings.job_name == "threads":
            asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
        self.log.debug("a debug line")
        self.log.log("loop: " + type(asyncio.get_running_loop()).__module__.partition(".")[0])

    def on_signal(self, name):
        if name == "HUP":
            try:
                self.config = self.reload(self.config.settings.conffile)
            except ConfigError as error:
                self.log.warning("config file loading failed")
        if name == "USR2" or self.config.settings.job_name == "failing":
            raise RuntimeError("a bug")
        self.log.log(f"got SIG{name} stats_period={self.config.settings.stats_period}")
        if name == "TERM":
            self.closed.set_result(7)

    async def wait_closed(self):
        return await self.closed


sys.exit(run(parse_command_line(sys.argv[1:]), Application))
"""


class Process:
    """A running one; `until` reads its stderr."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.popen.stderr is not None
        self.stderr = self.popen.stderr
        self.lines: list[str] = []

    def until(self, text: str) -> None:
        """Read log lines up to one that contains `text`; fail if the process ends before."""
        for line in self.stderr:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return
        pytest.fail(f"no {text!r} in {self.lines}")

    def end(self, name: str = "TERM") -> int:
        self.popen.send_signal(getattr(signal, f"SIG{name}"))
        return self.wait()

    def wait(self) -> int:
        self.lines += self.stderr.read().splitlines()
        return self.popen.wait()


Start = Callable[..., Process]


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "pgbouncer.ini"
    path.write_text(f"[databases]\n[pgbouncer]\nunix_socket_dir={tmp_path}\nauth_type=any\n")
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def start(*arguments: object, **environment: str) -> Process:
        started.append(Process([str(argument) for argument in arguments], environment))
        return started[-1]

    yield start
    for process in started:
        process.popen.kill()
        process.popen.wait()
        process.stderr.close()


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text + "\n")


def test_the_application_s_exit_code_is_the_process_s(start: Start, ini: Path) -> None:
    process = start(ini)
    process.until("process up: PgBouncer 1.25.2, pgmux ")
    assert process.end() == 7


def test_a_thread_that_hangs_does_not_keep_the_process(start: Start, ini: Path) -> None:
    add(ini, "job_name=threads")
    process = start(ini)
    process.until("process up")
    assert process.end() == 7


def test_the_lines_of_a_start_are_pgbouncers(start: Start, ini: Path) -> None:
    process = start(ini)
    process.until("process up")
    texts = [line.partition("] ")[2] for line in process.lines]
    assert texts[0].startswith("LOG kernel file descriptor limit: ")
    assert texts[0].endswith("; max_client_conn: 100, max expected fd use: 112")
    assert texts[-1].startswith("LOG process up: PgBouncer 1.25.2")


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1"])
def test_signals_reach_the_application(start: Start, ini: Path, name: str) -> None:
    process = start(ini)
    process.until("process up")
    process.popen.send_signal(getattr(signal, f"SIG{name}"))
    process.until(f"got SIG{name}")
    assert process.end() == 7


def test_a_bug_in_a_callback_is_logged_and_the_process_goes_on(start: Start, ini: Path) -> None:
    process = start(ini)
    process.until("process up")
    process.popen.send_signal(signal.SIGUSR2)
    process.until("RuntimeError: a bug")
    assert process.end() == 7


def test_the_pidfile_lives_as_long_as_the_pooler_listens(start: Start, ini: Path) -> None:
    pidfile = ini.with_name("pid")
    add(ini, f"pidfile={pidfile}")
    process = start(ini)
    process.until("process up")
    assert pidfile.read_text() == f"{process.popen.pid}\n"
    assert process.end() == 7
    assert not pidfile.exists()


def test_a_start_that_fails_says_why_and_leaves_no_pidfile(start: Start, ini: Path) -> None:
    add(ini, f"pidfile={ini.with_name('pid')}\njob_name=unlucky")
    process = start(ini)
    assert process.wait() == 1
    assert process.lines[-1].endswith("FATAL [Errno 98] Address already in use")
    assert not ini.with_name("pid").exists()


def test_a_pidfile_that_appears_while_starting_is_not_removed(start: Start, ini: Path) -> None:
    add(ini, f"pidfile={ini.with_name('pid')}")
    first = start(ini)
    first.until("process up")
    second = start(ini)
    assert second.wait() == 1
    assert second.lines[-1].endswith("exists, another instance running?")
    assert ini.with_name("pid").exists()
    assert first.end() == 7


def test_hup_reads_the_files_again(start: Start, ini: Path) -> None:
    process = start(ini)
    process.until("process up")
    add(ini, "stats_period=30\nverbose=1")
    process.popen.send_signal(signal.SIGHUP)
    process.until("got SIGHUP stats_period=30")
    assert process.end() == 7


def test_hup_reopens_the_log_file_even_with_a_bad_configuration(start: Start, ini: Path) -> None:
    logfile = ini.with_name("log")
    add(ini, f"logfile={logfile}")
    process = start(ini)
    process.until("process up")
    logfile.rename(ini.with_name("log.1"))
    add(ini, "zork=1")
    process.popen.send_signal(signal.SIGHUP)
    process.until("config file loading failed")
    process.until("got SIGHUP")
    assert "config file loading failed" in logfile.read_text()
    assert process.end() == 7


def test_quiet_writes_to_the_log_file_alone(start: Start, ini: Path) -> None:
    logfile = ini.with_name("log")
    add(ini, f"logfile={logfile}\njob_name=unlucky")
    process = start("-q", ini)
    assert process.wait() == 1
    assert process.lines == []
    assert "FATAL" in logfile.read_text()


def test_a_bad_configuration_is_said_though_quiet(start: Start, ini: Path) -> None:
    add(ini, "zork=1")
    process = start("-q", ini)
    assert process.wait() == 1
    assert process.lines[-1].endswith("FATAL cannot load config file")


def test_a_log_file_that_cannot_be_opened_is_said_though_quiet(start: Start, ini: Path) -> None:
    add(ini, "logfile=/nonexistent/log")
    process = start("-q", ini)
    assert process.wait() == 1
    expected = "FATAL Cannot open logfile: '/nonexistent/log': No such file or directory"
    assert [line.partition("] ")[2] for line in process.lines] == [expected]


@pytest.mark.parametrize(
    ("arguments", "text", "is_debug"),
    [([], "", False), (["-v"], "", True), ([], "verbose=1", True)],
)
def test_verbose_is_asked_for_with_v_or_in_the_file(
    start: Start, ini: Path, arguments: list[str], text: str, is_debug: bool
) -> None:
    add(ini, text)
    process = start(*arguments, ini)
    process.until("process up")
    assert any("DEBUG a debug line" in line for line in process.lines) is is_debug


def test_every_problem_of_a_bad_file_is_said_at_once(start: Start, ini: Path) -> None:
    add(ini, "pool_mode=zork\nzork=1")
    process = start(ini)
    assert process.wait() == 1
    text = "\n".join(process.lines)
    assert "pool_mode" in text
    assert "pgbouncer/zork" in text
    assert process.lines[-1].endswith("FATAL cannot load config file")


def test_pgmux_ini_beside_the_file_is_read(start: Start, ini: Path) -> None:
    ini.with_name("pgmux.ini").write_text("[pgmux]\nloop = asyncio\n")
    process = start(ini)
    process.until("process up")
    assert any("loop: asyncio" in line for line in process.lines)
    assert any("WARNING running on asyncio's event loop" in line for line in process.lines)


def test_pgmuxs_own_loop_runs_where_nothing_else_is_asked_for(start: Start, ini: Path) -> None:
    process = start(ini)
    process.until("process up")
    assert any("loop: pgmux" in line for line in process.lines)


def test_uvloop_runs_where_it_is_asked_for(start: Start, ini: Path) -> None:
    ini.with_name("pgmux.ini").write_text("[pgmux]\nloop = uvloop\n")
    process = start(ini)
    process.until("process up")
    assert any("loop: uvloop" in line for line in process.lines)


def test_without_uvloop_asyncio_runs_and_says_so(start: Start, ini: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError('not here')")
    ini.with_name("pgmux.ini").write_text("[pgmux]\nloop = uvloop\n")
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    process = start(ini, PYTHONPATH=path)
    process.until("process up")
    assert any("WARNING running on asyncio's event loop" in line for line in process.lines)


def test_the_environment_and_the_second_argument_name_pgmux_ini(
    start: Start, ini: Path, tmp_path: Path
) -> None:
    asyncio_ini, bad_ini = tmp_path / "a.ini", tmp_path / "b.ini"
    asyncio_ini.write_text("[pgmux]\nloop = asyncio\n")
    bad_ini.write_text("zork")
    process = start(ini, PGMUX_CONFIG=str(asyncio_ini))
    process.until("loop: asyncio")
    process = start(ini, asyncio_ini, PGMUX_CONFIG=str(bad_ini))
    process.until("loop: asyncio")
    process = start(ini, PGMUX_CONFIG=str(tmp_path / "nowhere.ini"))
    assert process.wait() == 1
    assert any("nowhere.ini" in line for line in process.lines)


@pytest.mark.parametrize("job_name", ["", "failing"])
def test_the_service_manager_hears_of_ready_and_of_a_reload_that_may_fail(
    start: Start, ini: Path, tmp_path: Path, job_name: str
) -> None:
    add(ini, f"job_name={job_name}")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        process = start(ini, NOTIFY_SOCKET=address)
        assert manager.recv(100) == b"READY=1"
        process.popen.send_signal(signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1"


def test_a_start_imports_nothing_that_only_tools_need() -> None:
    code = textwrap.dedent(
        """
        import sys, json
        import pgmux.daemon.main
        print(json.dumps(sorted(sys.modules)))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded.isdisjoint({"click", "rich", "argparse", "importlib.metadata", "Cython"})


def test_a_signal_during_the_imports_ends_the_start_without_a_traceback() -> None:
    code = textwrap.dedent(
        """
        import os, signal, sys, types
        slow = types.ModuleType("pgmux.daemon.main")
        slow.main = lambda argv, prog: os.kill(os.getpid(), signal.SIGINT)
        sys.modules["pgmux.daemon.main"] = slow
        from pgmux.__main__ import run_daemon
        run_daemon([], "pgmux run")
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_file_of_tls_that_is_not_there_keeps_it_from_starting(start: Start, ini: Path) -> None:
    add(ini, f"server_tls_sslmode=verify-ca\nserver_tls_ca_file={ini.parent}/none")
    process = start(ini)
    assert process.wait() == 1
    missing = f"server_tls_ca_file: cannot read {ini.parent}/none: No such file or directory"
    assert process.lines[-2].endswith(f"ERROR {ini}:6: {missing}")
    assert process.lines[-1].endswith("FATAL TLS setup failed")
