"""The web process (`pgmux web`): started, looked after and ended by the pooler that it shows.

It is a child with one end of a socket pair, on which the pooler answers as the console does; that
end is also how it notices that the pooler has gone. Whatever becomes of it, the pools don't notice:
one that has ended is started again, after a second and then ever later, and one that was told to
end and doesn't is killed. It is looked at by the janitor's rounds (`maintain`), its stderr too.

Errors: none; what keeps it from running is in the log and in SHOW WEB.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from enum import StrEnum

from pgmux.admin.pooler import AdminPooler
from pgmux.config import Config
from pgmux.daemon.interpreter import Interpreter
from pgmux.daemon.token import Token
from pgmux.daemon.web_command import WEB, missing_libraries, web_arguments, web_environment
from pgmux.metrics.snapshot import WebRow
from pgmux.net.loop import open_transport
from pgmux.net.web_console import WebConsole
from pgmux.session.log import Log
from pgmux.session.pooler import Pooler

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0  # seconds till the next start
RAN_WELL = 60.0  # seconds after which an end is no longer the last start's fault
PATIENCE = 5.0  # seconds from SIGTERM to SIGKILL
LAST_PATIENCE = 1.0  # the same where the pooler itself ends
_LONGEST_LINE = 1000
_MOST_STDERR = 65536  # bytes of a round
_LINE = re.compile("pgmux-web: (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)")


class WebState(StrEnum):
    """What SHOW WEB says of it."""

    OFF = "off"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"  # to be started again
    UNAVAILABLE = "unavailable"  # a library is missing


class Child:
    """One process: its end is not to be missed, and its stderr not to be left unread."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: int, console: WebConsole) -> None:
        self.process = process
        self.console = console
        self.started_at = time.monotonic()
        self.kill_at: float | None = None
        self.last_line = ""
        self._stderr = stderr
        self._rest = b""

    def terminate(self, patience: float) -> None:
        """Ask it to end, within so many seconds; the least of those that were said counts."""
        kill_at = time.monotonic() + patience
        self.kill_at = kill_at if self.kill_at is None else min(self.kill_at, kill_at)
        self.process.terminate()

    def kill_if_overdue(self) -> None:
        """SIGKILL, where it was asked to end for long enough, or has let go of its console."""
        now = time.monotonic()
        if self.kill_at is None:
            if not self.console.is_open:
                self.kill_at = now + PATIENCE
        elif now >= self.kill_at:
            self.process.kill()

    def lines(self) -> list[str]:
        """What it has written since the last look; of long lines the beginning."""
        data = b""
        with contextlib.suppress(OSError):  # BlockingIOError: nothing more now
            data = os.read(self._stderr, _MOST_STDERR)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:_LONGEST_LINE]
        found = [line[:_LONGEST_LINE].decode(errors="replace").rstrip() for line in lines]
        found = [line for line in found if line]
        self.last_line = found[-1] if found else self.last_line
        return found

    def close(self) -> None:
        """It has ended: let go of what was its."""
        self.console.close()
        os.close(self._stderr)


class WebProcess:
    """See the module."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pooler: Pooler,
        admin: AdminPooler,
        web_admin: AdminPooler,
        interpreter: Interpreter,
        *,
        has_own_sockets: bool = True,
        arguments: Sequence[str] = WEB,
        find_missing: Callable[[], list[str]] = missing_libraries,
    ) -> None:
        """`admin` answers what anybody may ask, `web_admin` does what a token allows. `arguments`
        are the interpreter's, up to those that the configuration decides.
        """
        self._loop = loop
        self._log: Log = pooler.log
        self._pooler = pooler
        self._admin = admin
        self._has_own_sockets = has_own_sockets
        self._interpreter = interpreter
        self._arguments = tuple(arguments)
        self._find_missing = find_missing
        self._token = Token(pooler.log, pooler.clock, web_admin)
        self._wanted: tuple[str, ...] = ()
        self._address = ""
        self._child: Child | None = None
        self._state = WebState.OFF
        self._start_at = 0.0
        self._delay = FIRST_DELAY
        self._opening: asyncio.Task[None] | None = None
        self._is_over = False
        self.starts = 0
        self.last_end = ""

    # ---- the configuration

    def use_config(self, config: Config) -> None:
        """Go by the http_* settings, and read the token anew; at start, RELOAD and SET."""
        self._token.use_file(config.pgmux.http_token_file if config.pgmux.http_listen else "")
        wanted = web_arguments(config, has_own_sockets=self._has_own_sockets)
        if wanted == self._wanted and self._state is not WebState.UNAVAILABLE:
            return
        self._wanted, self._address = wanted, config.pgmux.http_listen
        self._delay = FIRST_DELAY
        if self._child is not None:
            self._state = WebState.STOPPING
            self._child.terminate(PATIENCE)
        else:
            self._start()

    # ---- the janitor's rounds

    def maintain(self) -> None:
        """Look after it; to be called some times a second."""
        child = self._child
        if child is not None:
            self._say(child.lines())
            if child.process.poll() is not None:
                self._on_end(child)
            else:
                child.kill_if_overdue()
        elif self._state is WebState.WAITING and time.monotonic() >= self._start_at:
            self._start()

    def row(self) -> WebRow:
        """SHOW WEB."""
        pid = None if self._child is None else self._child.process.pid
        return WebRow(pid, self._state, self._address, self.starts, self.last_end)

    async def close(self) -> None:
        """The pooler ends: so does this, at once."""
        self._is_over, self._wanted = True, ()
        child = self._child
        if child is None:
            return
        child.terminate(LAST_PATIENCE)
        while child.process.poll() is None:
            child.kill_if_overdue()
            await asyncio.sleep(0.01)

    # ---- start and end

    def _start(self) -> None:
        if self._is_over or not self._wanted:
            self._state = WebState.OFF
            return
        missing = self._find_missing()
        if missing:
            self._state = WebState.UNAVAILABLE
            text = f"http_listen needs {' and '.join(missing)}, which can't be found"
            self._log.error(f"{text} (pip install 'pgmux[web]', then RELOAD)")
            return
        self.starts += 1
        try:
            self._child = self._spawn()
        except OSError as error:
            self.last_end = f"can't be started: {error}"
            self._log.error(f"web process {self.last_end}")
            self._retry()
            return
        self._state = WebState.RUNNING
        pid = self._child.process.pid
        self._log.log(f"web process started (pid {pid}): {self._address}")

    def _spawn(self) -> Child:
        """Raises: OSError.

        Python starts it by vfork and closes everything else of ours in it, so how many clients
        there are makes no difference.
        """
        ours, theirs = socket.socketpair()
        stderr, their_stderr = os.pipe()
        try:
            process = subprocess.Popen(
                self._command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=their_stderr,
                stderr=their_stderr,
                pass_fds=(theirs.fileno(), *self._interpreter.fds),
                env=web_environment(os.environ) | dict(self._interpreter.environment),
                process_group=0,  # ^C is for the pooler, which ends it when it is time
            )
        except OSError:
            ours.close()
            os.close(stderr)
            raise
        finally:
            theirs.close()
            os.close(their_stderr)
        ours.setblocking(False)
        os.set_blocking(stderr, False)
        console = WebConsole(self._pooler, self._admin, self._token.elevate)
        self._opening = self._loop.create_task(open_transport(self._loop, console, ours))
        return Child(process, stderr, console)

    def _command(self, console_fd: int) -> list[str]:
        fd = ("--console-fd", str(console_fd))
        return [self._interpreter.path, *self._arguments, *fd, *self._wanted]

    def _on_end(self, child: Child) -> None:
        self._say(child.lines())
        child.close()
        self._child = None
        self.last_end = _describe_end(child.process.returncode, child.last_line)
        text = f"web process ended (pid {child.process.pid}): {self.last_end}"
        if self._state is WebState.STOPPING:
            self._log.log(text)
            self._start()
            return
        if time.monotonic() - child.started_at >= RAN_WELL:
            self._delay = FIRST_DELAY
        self._log.warning(f"{text}; it is started again in {self._delay:g} s")
        self._retry()

    def _retry(self) -> None:
        self._state = WebState.WAITING
        self._start_at = time.monotonic() + self._delay
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    def _say(self, lines: list[str]) -> None:
        """What it writes to stderr, in our log; what has no level is a warning."""
        for line in lines:
            match = _LINE.match(line)
            level, text = (match[1], match[2]) if match else ("WARNING", line)
            if level == "DEBUG":
                self._log.debug(f"web process: {text}")
            else:
                write = {"INFO": self._log.log, "WARNING": self._log.warning}
                say = write.get(level, self._log.error)
                say(f"web process: {text}", limit="web process")


def _describe_end(code: int, last_line: str) -> str:
    """How it ended, and its last words."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"
    match = _LINE.match(last_line)
    last_words = match[2] if match else last_line
    return f"exit code {code}" + (f": {last_words}" if last_words and code else "")
