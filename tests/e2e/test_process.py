"""Process life and command line, through the executables, held against the real PgBouncer.

The pooler of these tests is the executable `pgbouncer` that `pgmux shim` writes. Root runs it as
`nobody`, as it runs PgBouncer.
"""

from __future__ import annotations

import math
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgmux.cli.shim import write_script
from tests.fixtures.tools import require_tool

IS_ROOT = os.getuid() == 0
AS_USER = ["-u", "nobody"] if IS_ROOT else []
PATIENCE = 20.0  # seconds after which a condition counts as never
STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] ", re.MULTILINE)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return when `condition` holds; fail if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


@dataclass(frozen=True)
class Result:
    """How a command ended; log lines without their time and pid."""

    code: int
    out: str
    err: str


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that `nobody` may write to too; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory(prefix="pgmux-") as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


@pytest.fixture(scope="module")
def pgmux() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pgmux-") as name:
        os.chmod(name, 0o755)
        path = Path(name, "pgbouncer")
        write_script(path)
        yield str(path)


@pytest.fixture(scope="module")
def real() -> str:
    return str(require_tool("pgbouncer"))


@pytest.fixture
def ini(place: Path) -> Path:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = place / "pgbouncer.ini"
    path.write_text(
        f"[databases]\na = host=127.0.0.1\n[pgbouncer]\nauth_type=any\nlisten_addr=127.0.0.1\n"
        f"listen_port={port}\nunix_socket_dir={place}\n"
    )
    return path


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text + "\n")


def run(program: str, arguments: list[str], place: Path) -> Result:
    """Run to the end, from `place`, with the same argv[0] whatever the program."""
    done = subprocess.run(
        ["pgbouncer", *arguments],
        executable=program,
        cwd=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return Result(done.returncode, done.stdout, STAMP.sub("", done.stderr))


class Pooler:
    """A running one in the foreground; `until` reads its log."""

    def __init__(self, program: str | list[str], arguments: list[str]) -> None:
        command = [program] if isinstance(program, str) else program
        self.lines: list[str] = []
        self.popen = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        assert self.popen.stderr is not None
        self.stderr = self.popen.stderr

    def until(self, text: str) -> None:
        """Read log lines up to one that contains `text`; fail if the process ends before."""
        for line in self.stderr:
            self.lines.append(STAMP.sub("", line).rstrip("\n"))
            if text in line:
                return
        pytest.fail(f"no {text!r} in {self.lines}")

    def end(self, name: str) -> int:
        self.popen.send_signal(getattr(signal, f"SIG{name}"))
        self.lines += STAMP.sub("", self.stderr.read()).splitlines()
        return self.popen.wait(PATIENCE)


Start = Callable[..., Pooler]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Pooler] = []

    def start(program: str | list[str], *arguments: object) -> Pooler:
        started.append(Pooler(program, [*AS_USER, *map(str, arguments)]))
        return started[-1]

    yield start
    for pooler in started:
        pooler.popen.kill()
        pooler.popen.wait()
        pooler.stderr.close()


def comm_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


# The command line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-d"],
        ["a.ini", "b.ini", "c.ini"],
        ["--zork", "a.ini"],
        ["-x", "a.ini"],
        ["-u"],
        ["--user"],
        ["--quiet=3", "a.ini"],
        ["--ver", "a.ini"],
        ["missing.ini"],
        ["--", "-missing.ini"],
        ["-v", "missing.ini"],
        ["missing.ini", "-v"],
        ["-d", "missing.ini"],
        [*AS_USER, "-d", "plain.ini"],
        ["-u", "no-such-user", "plain.ini"],
        ["no-such-user.ini"],
    ],
    ids=" ".join,
)
def test_what_pgbouncer_refuses_is_refused_in_its_words(
    pgmux: str, real: str, place: Path, ini: Path, arguments: list[str]
) -> None:
    (place / "plain.ini").write_text(ini.read_text())
    (place / "no-such-user.ini").write_text(ini.read_text() + "user = no-such-user\n")
    assert run(pgmux, arguments, place) == run(real, arguments, place)


@pytest.mark.parametrize("arguments", [["-q", "missing.ini"], ["missing.ini", "-q"]], ids=" ".join)
def test_a_configuration_that_cannot_be_used_is_said_though_quiet(
    pgmux: str, real: str, place: Path, arguments: list[str]
) -> None:
    assert run(pgmux, arguments, place) == run(real, ["missing.ini"], place)


@pytest.mark.parametrize("flags", [[], ["-d"]], ids=" ".join)
def test_a_pidfile_of_a_living_process_is_refused(
    pgmux: str, place: Path, ini: Path, flags: list[str]
) -> None:
    add(ini, "pidfile = locked.pid")
    (place / "locked.pid").write_text(f"{os.getpid()}\n")
    result = run(pgmux, [*AS_USER, *flags, str(ini)], place)
    text = "FATAL pidfile 'locked.pid' exists, another instance running?\n"
    assert result == Result(1, "", text)


@pytest.mark.skipif(not IS_ROOT, reason="only root is refused")
@pytest.mark.parametrize("arguments", [[], ["-u", ""], ["-u", "root"]], ids=" ".join)
def test_root_is_refused(
    pgmux: str, real: str, place: Path, ini: Path, arguments: list[str]
) -> None:
    refused = run(pgmux, [*arguments, str(ini)], place)
    assert refused == Result(1, "", "FATAL PgBouncer should not run as root\n")
    assert run(real, [*arguments, str(ini)], place) == refused


@pytest.mark.parametrize("text", ["zork", "pool_mode = zork", "zork = 1"])
def test_a_bad_file_ends_in_pgbouncers_words(
    pgmux: str, real: str, place: Path, ini: Path, text: str
) -> None:
    add(ini, text)
    ours, theirs = (run(program, [str(ini)], place) for program in (pgmux, real))
    assert (ours.code, ours.out) == (theirs.code, theirs.out) == (1, "")
    assert ours.err.splitlines()[-1] == theirs.err.splitlines()[-1]
    assert ours.err.splitlines()[0].startswith("ERROR ")


def test_the_version_s_first_line_is_pgbouncers(pgmux: str, real: str, place: Path) -> None:
    for option in ("-V", "--version"):
        ours, theirs = (run(program, [option], place) for program in (pgmux, real))
        assert ours.out.splitlines()[0] == "PgBouncer 1.25.2"
        # Debian's is older, its line is of the same form.
        assert re.fullmatch(r"PgBouncer \d+\.\d+\.\d+", theirs.out.splitlines()[0])
        assert re.fullmatch(r"pgmux \S+ \((compiled|pure|mixed)\)", ours.out.splitlines()[1])
        assert (ours.code, ours.err) == (0, "")


def test_the_help_has_every_option_of_pgbouncers(pgmux: str, real: str, place: Path) -> None:
    ours, theirs = (run(program, ["--help"], place) for program in (pgmux, real))
    options = re.findall(r"^  (-\w, --\S+)", theirs.out, re.MULTILINE)
    assert len(options) == 7
    assert re.findall(r"^  (-\w, --\S+)", ours.out, re.MULTILINE) == options
    assert (ours.code, ours.err) == (0, "")


def test_reboot_says_what_to_do_instead(pgmux: str, place: Path, ini: Path) -> None:
    result = run(pgmux, ["-R", str(ini)], place)
    assert (result.code, result.out) == (1, "")
    assert "so_reuseport=1" in result.err


# A running process


@pytest.mark.parametrize("name", ["QUIT", "TERM", "INT"])
def test_a_signal_ends_it_with_exit_code_0_and_no_pidfile(
    pgmux: str, start: Start, place: Path, ini: Path, name: str
) -> None:
    pidfile = place / "pid"
    add(ini, f"pidfile = {pidfile}")
    pooler = start(pgmux, ini)
    pooler.until("process up: PgBouncer 1.25.2")
    assert pidfile.read_text() == f"{pooler.popen.pid}\n"
    assert pooler.end(name) == 0
    assert any(line.startswith(f"LOG got SIG{name}, ") for line in pooler.lines)
    assert not pidfile.exists()


def test_a_start_logs_what_pgbouncer_logs(pgmux: str, real: str, start: Start, ini: Path) -> None:
    logs = []
    for program in (pgmux, real):
        pooler = start(program, ini)
        pooler.until("process up")
        pooler.end("QUIT")
        lines = [line.partition(", ")[0] for line in pooler.lines]
        up = next(i for i, line in enumerate(lines) if "process up" in line)
        logs.append([re.sub(r"PgBouncer [\d.]+", "PgBouncer", line) for line in lines[: up + 1]])
    assert logs[0] == logs[1]


def test_a_second_one_on_the_same_unix_socket_is_refused(
    pgmux: str, real: str, start: Start, place: Path, ini: Path
) -> None:
    start(pgmux, ini).until("process up")
    refused = Result(1, "", "FATAL unix socket is in use, cannot continue\n")
    for program in (pgmux, real):
        assert run(program, [*AS_USER, str(ini)], place) == refused


def test_a_stale_pidfile_is_removed(pgmux: str, start: Start, place: Path, ini: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (place / "pid").write_text(f"{gone.pid}\n")
    add(ini, f"pidfile = {place / 'pid'}")
    pooler = start(pgmux, ini)
    pooler.until("process up")
    assert "LOG stale pidfile, removing" in pooler.lines
    assert (place / "pid").read_text() == f"{pooler.popen.pid}\n"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_root_becomes_the_user_with_its_groups_alone(pgmux: str, start: Start, ini: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    pooler = start(pgmux, ini)
    pooler.until("process up")
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pooler.popen.pid}/status").read_text().splitlines()
    )
    assert {int(word) for word in status["Uid"].split()} == {nobody.pw_uid}
    assert {int(word) for word in status["Gid"].split()} == {nobody.pw_gid}
    groups = set(os.getgrouplist("nobody", nobody.pw_gid))
    assert {int(word) for word in status["Groups"].split()} == groups


@pytest.mark.skipif(not os.path.exists("/proc/self/comm"), reason="only Linux has /proc/self/comm")
def test_killall_finds_each_command_by_its_name(pgmux: str, start: Start, ini: Path) -> None:
    names = {
        "pgbouncer": [pgmux],
        "pgmux": [sys.executable, "-m", "pgmux", "run"],
    }
    for name, command in names.items():
        pooler = start(command, ini)
        pooler.until("process up")
        assert comm_of(pooler.popen.pid) == name
        assert pooler.end("QUIT") == 0


# In the background


@dataclass(frozen=True)
class Daemon:
    """A daemon, found by its pidfile."""

    pid: int
    logfile: Path


@pytest.fixture
def daemon(pgmux: str, place: Path, ini: Path) -> Iterator[Daemon]:
    logfile, pidfile = place / "log", place / "pid"
    add(ini, f"pidfile = {pidfile}\nlogfile = {logfile}")
    result = run(pgmux, ["-d", *AS_USER, str(ini)], place)
    assert (result.code, result.out, result.err) == (0, "", "")
    wait_until(lambda: logfile.exists() and "process up" in logfile.read_text(), "process up")
    pid = int(pidfile.read_text())
    yield Daemon(pid, logfile)
    if pidfile.exists():
        os.kill(pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


linux = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads Linux's /proc")


@linux
def test_a_daemon_has_its_own_session_no_streams_and_its_name(daemon: Daemon) -> None:
    assert comm_of(daemon.pid) == "pgbouncer"
    assert os.getsid(daemon.pid) not in (os.getsid(0), daemon.pid)
    for stream in (0, 1, 2):
        assert os.readlink(f"/proc/{daemon.pid}/fd/{stream}") == os.devnull


@linux
def test_a_daemon_ends_with_a_signal_and_removes_its_pidfile(daemon: Daemon) -> None:
    os.kill(daemon.pid, signal.SIGINT)
    wait_until(lambda: is_gone(daemon.pid), "the daemon's end")
    assert not daemon.logfile.with_name("pid").exists()
    assert "got SIGINT, shutting down" in daemon.logfile.read_text()


@linux
def test_a_daemon_reopens_its_log_on_hup(daemon: Daemon) -> None:
    daemon.logfile.rename(daemon.logfile.with_name("log.1"))
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(daemon.logfile.exists, "a new log file")
    os.kill(daemon.pid, signal.SIGQUIT)
    wait_until(lambda: "got SIGQUIT, fast exit" in daemon.logfile.read_text(), "the last line")


# Time


@linux
def test_it_listens_within_half_a_second_of_cpu(pgmux: str, start: Start, ini: Path) -> None:
    took = [math.inf]
    while min(took) >= 0.5 and len(took) < 5:  # caches of a machine that is busy elsewhere are cold
        pooler = start(pgmux, ini)
        pooler.until("listening on")
        took.append(cpu_time(pooler.popen.pid))
        pooler.until("process up")
        assert pooler.end("QUIT") == 0
    assert min(took) < 0.5


def cpu_time(pid: int) -> float:
    """Seconds that a process has computed, in its own code and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
