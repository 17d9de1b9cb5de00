"""A pooler as a child process, with configuration files of its own: for the demo and the tests.

It is started by its command line, so PgBouncer itself can be run in pgmux's place. As root it is
given an unprivileged user to become (`-u`), as an operator would.

Errors: `PoolerProcessError` with the end of the pooler's log.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pgmux.config.userlist import userlist_line
from pgmux.ops.account import unprivileged_account
from pgmux.ops.installation import give_to, make_directory
from pgmux.ops.owned import Owned

PGMUX = (sys.executable, "-P", "-m", "pgmux", "run")
START_TIMEOUT = 15.0  # seconds
STOP_TIMEOUT = 5.0  # seconds, for each signal
POLL_INTERVAL = 0.01
LOG_TAIL = 2000


class PoolerProcessError(RuntimeError):
    """The pooler did not start."""


class PoolerProcess(Owned):
    """One pooler: runs from `start()` to `close()`; `with` does both.

    `databases` and `settings` are pgbouncer.ini's sections, `users` is userlist.txt, `pgmux` is the
    section of that name of pgmux.ini. It listens on 127.0.0.1 at `port` and on a Unix socket in
    `directory`, and logs to the file `log` there.
    """

    def __init__(
        self,
        *,
        port: int,
        databases: Mapping[str, str],
        users: Mapping[str, str],
        settings: Mapping[str, object],
        pgmux: Mapping[str, object] | None = None,
        command: Sequence[str] = PGMUX,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self.databases = dict(databases)
        self.users = dict(users)
        self.settings = dict(settings)
        self.pgmux = dict(pgmux or {})
        self._command = command
        self._account = unprivileged_account()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Holds pgbouncer.ini, userlist.txt, log and the Unix socket."""
        if self._directory is None:
            raise PoolerProcessError("the pooler has not been started")
        return Path(self._directory.name)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise PoolerProcessError("the pooler is not running")
        return self._process.pid

    def start(self) -> None:
        """Returns when it accepts connections."""
        self._directory = make_directory(self._account)
        self.write_configuration()
        give_to(self._account, self.directory)
        become = ("-u", self._account.pw_name) if self._account else ()
        with (self.directory / "stderr").open("wb") as stderr:
            command = [*self._command, "-q", *become, str(self.directory / "pgbouncer.ini")]
            self._process = self.spawn(command, stderr)
        self._wait_until_ready(self._process)

    def spawn(self, command: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts the process; what it prints goes to `output`."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a terminal's Ctrl-C is for us alone
        )

    def write_configuration(self) -> None:
        """Writes the files from the attributes; SIGHUP or RELOAD has the pooler read them."""
        where = {
            "listen_addr": self.host,
            "listen_port": self.port,
            "unix_socket_dir": self.directory,
            "auth_file": self.directory / "userlist.txt",
            "logfile": self.directory / "log",
        }
        lines = ["[databases]", *(f"{k} = {v}" for k, v in self.databases.items())]
        lines += ["[pgbouncer]", *(f"{k} = {v}" for k, v in (where | self.settings).items())]
        users = [userlist_line(name, secret) for name, secret in self.users.items()]
        own = ["[pgmux]", *(f"{k} = {v}" for k, v in self.pgmux.items())]
        files = {"pgbouncer.ini": lines, "userlist.txt": users, "pgmux.ini": own}
        for name, content in files.items():
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_text("".join(f"{line}\n" for line in content))
            give_to(self._account, path)

    def send_signal(self, signum: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def log(self) -> str:
        """Everything that it has logged so far."""
        paths = (self.directory / "stderr", self.directory / "log")
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def close(self) -> None:
        """Ends it, with SIGINT at first, and removes its files; may be called twice."""
        try:
            if self._process is not None:
                end(self._process)
                self._process = None
        finally:
            if self._directory is not None:
                self._directory.cleanup()
                self._directory = None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """It says so last, when all its sockets listen and signals are handled."""
        deadline = time.monotonic() + START_TIMEOUT
        while "process up" not in self.log() or not is_listening(self.host, self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                command = " ".join(self._command)
                raise PoolerProcessError(
                    f"`{command}` did not start (exit code {process.returncode}): "
                    f"{self.log().strip()[-LOG_TAIL:]}"
                )
            time.sleep(POLL_INTERVAL)


def is_listening(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks, asks again, and then doesn't ask."""
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(signum)
        try:
            process.wait(STOP_TIMEOUT)
            return
        except subprocess.TimeoutExpired:
            continue
