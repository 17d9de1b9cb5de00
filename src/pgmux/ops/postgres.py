"""A throw-away PostgreSQL: initdb, start, stop, and nothing left behind.

For `pgmux demo` and the tests. The cluster lives in a temporary directory, listens on 127.0.0.1 and
on a Unix socket, and runs as an unprivileged user where we are root. Nothing is synced to disk:
what is committed survives kill(), not the loss of the machine.

Errors: `PostgresError`, which says what to install or shows the end of the server's own log.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

from pgmux.ops.account import process_account, unprivileged_account
from pgmux.ops.installation import (
    PostgresError,
    find_bindir,
    give_to,
    make_directory,
    server_bindir,
)
from pgmux.ops.owned import Owned

StopMode = Literal["smart", "fast", "immediate"]

STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
TIMEOUT = 30.0  # seconds, of each of: initdb, start, stop
POLL_INTERVAL = 0.02
PORT_ATTEMPTS = 5
LOG_TAIL = 2000
IPC_RMID = 0


class EmbeddedPostgres(Owned):
    """One cluster: made by the first `start()`, gone after `close()`; `with` does both.

    `settings` are postgresql.conf, `hba` the lines of pg_hba.conf (by default `auth_method` for
    everybody). Both may be changed, `reload()` or `restart()` applies them.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, object] | None = None,
        max_connections: int = 100,
        auth_method: str = "scram-sha-256",
        hba: Sequence[str] | None = None,
        superuser: str = "postgres",
        password: str = "postgres",
    ) -> None:
        self.superuser = superuser
        self.password = password
        self.host = "127.0.0.1"
        self.port = 0
        self.settings: dict[str, object] = {
            "max_connections": max_connections,
            "fsync": False,
            "full_page_writes": False,
            # Shared memory that is a file of the cluster goes with it, even after a SIGKILL.
            "dynamic_shared_memory_type": "mmap",
            **(settings or {}),
        }
        self.hba = hba or (f"local all all {auth_method}", f"host all all all {auth_method}")
        self._account = unprivileged_account()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._server_bindir = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._alive_fd = -1

    @property
    def directory(self) -> Path:
        """Holds data/, socket/ and log; everybody may pass through it."""
        if self._directory is None:
            raise PostgresError("this PostgreSQL has not been started")
        return Path(self._directory.name)

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def socket_dir(self) -> Path:
        return self.directory / "socket"

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        if self._process is None:
            raise PostgresError("this PostgreSQL is not running")
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tool(self, name: str) -> Path:
        """psql, pgbench or another client program of the same installation."""
        path = find_bindir() / name
        if not path.is_file():
            raise PostgresError(f"{path} is missing: this PostgreSQL comes without {name}")
        return path

    def dsn(
        self,
        dbname: str = "postgres",
        user: str | None = None,
        password: str | None = None,
        *,
        unix_socket: bool = False,
    ) -> str:
        """A URI for psql, psycopg and asyncpg; the superuser's unless `user` is given."""
        if user is None:
            user, password = self.superuser, self.password
        userinfo = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        if unix_socket:
            where = urlencode({"host": self.socket_dir, "port": self.port})
            return f"postgresql://{userinfo}@/{quote(dbname, safe='')}?{where}"
        return f"postgresql://{userinfo}@{self.host}:{self.port}/{quote(dbname, safe='')}"

    def psql(self, sql: str, dbname: str = "postgres") -> str:
        """Runs SQL as the superuser, answers psql's unaligned output. Raises: PostgresError."""
        options = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(dbname)]
        command = [str(self.tool("psql")), *options]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode != 0:
            raise PostgresError(done.stderr.strip())
        return done.stdout.strip()

    def start(self) -> None:
        """Makes the cluster the first time; returns when it accepts connections."""
        if self.is_running():
            raise PostgresError("this PostgreSQL is running already")
        if self._directory is not None:
            self._launch()
            return
        self._directory = make_directory(self._account)
        self._server_bindir = server_bindir(self._account, self.directory)
        self._initdb()
        self._launch_on_a_free_port()

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server as pg_ctl's mode of that name does; the data stay."""
        if self._process is None:
            return
        self._process.send_signal(STOP_SIGNALS[mode])
        self._wait_for_the_end(f"stop ({mode})")

    def kill(self) -> None:
        """SIGKILL to every process of the server: its connections close without a word."""
        if self._process is None:
            return
        # Stopped first, so that it neither mourns its children nor replaces them.
        self._process.send_signal(signal.SIGSTOP)
        for child in children_of(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.send_signal(signal.SIGKILL)
        self._wait_for_the_end("die")

    def restart(self, mode: StopMode = "fast") -> None:
        """Stops and starts it again on the same port."""
        self.stop(mode)
        self.start()

    def reload(self) -> None:
        """Has the server read `settings` and `hba` again."""
        self._write_configuration()
        os.kill(self.pid, signal.SIGHUP)

    def close(self) -> None:
        """Ends the server whatever its state, and removes every file; may be called twice."""
        try:
            try:
                self.stop("immediate")
            except PostgresError:
                self.kill()
        finally:
            if self._directory is not None:
                self._directory.cleanup()
                self._directory = None

    def _initdb(self) -> None:
        for path in (self.data_dir, self.socket_dir):
            path.mkdir(mode=0o755)
            give_to(self._account, path)
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        give_to(self._account, password_file)
        command = [str(self._server_bindir / "initdb"), f"--pgdata={self.data_dir}"]
        command += [f"--username={self.superuser}", f"--pwfile={password_file}"]
        command += ["--encoding=UTF8", "--no-locale", "--auth=scram-sha-256", "--no-sync"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            cwd=self.directory,
            env=self._environment(),
            **process_account(self._account),
        )
        password_file.unlink()
        if done.returncode != 0:
            raise PostgresError(f"initdb failed: {done.stderr.strip()[-LOG_TAIL:]}")

    def _launch_on_a_free_port(self) -> None:
        for attempt in range(PORT_ATTEMPTS):
            self.port = find_free_port()
            try:
                return self._launch()
            except PostgresError as error:
                # Somebody may have taken the port since; anything else is final.
                if "Address already in use" not in str(error) or attempt == PORT_ATTEMPTS - 1:
                    raise

    def _launch(self) -> None:
        self._write_configuration()
        # Every process of the server inherits the writing end: reading ends when all are gone.
        self._alive_fd, inherited_fd = os.pipe()
        try:
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    [self._server_bindir / "postgres", "-D", self.data_dir],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    env=self._environment(),
                    pass_fds=(inherited_fd,),
                    start_new_session=True,  # a terminal's Ctrl-C is for us alone
                    **process_account(self._account),
                )
        finally:
            os.close(inherited_fd)
        self._wait_until_ready(self._process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not self._is_ready():
            if process.poll() is not None:
                log = self._log_tail()
                self._wait_for_the_end("start")
                raise PostgresError(f"PostgreSQL did not start: {log}")
            if time.monotonic() > deadline:
                self.kill()
                raise PostgresError(
                    f"PostgreSQL was not ready in {TIMEOUT:.0f} s: {self._log_tail()}"
                )
            time.sleep(POLL_INTERVAL)

    def _postmaster_lines(self) -> list[str]:
        """postmaster.pid: the pid first, key and id of the shared memory 7th, the status 8th."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        return lines + [""] * (8 - len(lines))

    def _is_ready(self) -> bool:
        lines = self._postmaster_lines()
        return lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _wait_for_the_end(self, what: str) -> None:
        """Until the last process is gone; then of a crashed server the shared memory goes, too."""
        assert self._process is not None
        gone, _, _ = select.select([self._alive_fd], [], [], TIMEOUT)
        if not gone:
            raise PostgresError(f"PostgreSQL did not {what} in {TIMEOUT:.0f} s: {self._log_tail()}")
        os.close(self._alive_fd)
        self._process.wait(TIMEOUT)
        self._process = None
        for shared_memory_id in self._postmaster_lines()[6].split()[1:2]:
            ctypes.CDLL(None).shmctl(int(shared_memory_id), IPC_RMID, None)

    def _log_tail(self) -> str:
        return self.log_file.read_text(errors="replace").strip()[-LOG_TAIL:]

    def _write_configuration(self) -> None:
        where = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.socket_dir,
        }
        lines = [f"{k} = {quote_setting(v)}\n" for k, v in (where | self.settings).items()]
        (self.data_dir / "postgresql.conf").write_text("".join(lines))
        (self.data_dir / "pg_hba.conf").write_text("".join(f"{line}\n" for line in self.hba))

    def _environment(self) -> dict[str, str]:
        """Ours without PostgreSQL's variables; musl's wheels bring ICU's data in a file."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        icu = self._server_bindir.parent / "share" / "icu"
        return ours | {"TZ": "UTC"} | ({"ICU_DATA": str(icu)} if icu.is_dir() else {})


def quote_setting(value: object) -> str:
    """A value as postgresql.conf takes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "'" + str(value).replace("'", "''") + "'"


def find_free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children_of(pid: int) -> list[int]:
    """Its child processes, where /proc tells; elsewhere they notice their parent's death."""
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []
