"""Where lines go, and what becomes of them where nobody takes them."""

from __future__ import annotations

import os
import re
import resource
import socket
import syslog
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgmux.config.model import LogFormat, PgmuxSettings, Settings
from pgmux.daemon.log import Log
from pgmux.session.log import Name
from tests.fixtures.clock import Clock

PIPE = 1 << 20  # bytes that no pipe holds unread


@contextmanager
def stderr_is(fd: int) -> Iterator[None]:
    saved = os.dup(2)
    try:
        os.dup2(fd, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[socket.socket]:
    """A syslog daemon or journal that listens at `place`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "place"))
        sock.settimeout(5)
        yield sock


def received(sock: socket.socket) -> list[str]:
    sock.setblocking(False)
    found = []
    while True:
        try:
            found.append(sock.recv(100_000).decode())
        except BlockingIOError:
            return found


def texts(path: Path) -> list[str]:
    return [line.partition("] ")[2] for line in path.read_text().splitlines()]


# syslog


def with_syslog(tmp_path: Path) -> Log:
    log = Log(quiet=True, syslog=str(tmp_path / "place"))
    log.configure(Settings(syslog=True), PgmuxSettings())
    return log


def test_syslog_gets_each_line_under_its_name_and_facility(
    tmp_path: Path, daemon: socket.socket
) -> None:
    log = with_syslog(tmp_path)
    log.log("one")
    settings = Settings(syslog=True, syslog_facility="local3", syslog_ident="pool-7")
    log.configure(settings, PgmuxSettings())
    log.warning("two")
    log.configure(Settings(), PgmuxSettings())
    log.warning("three")
    first, second = received(daemon)
    assert re.fullmatch(rf"<{syslog.LOG_DAEMON | 6}>\w{{3}} .* pgbouncer\[\d+\]: one", first)
    assert re.fullmatch(rf"<{syslog.LOG_LOCAL3 | 4}>\w{{3}} .* pool-7\[\d+\]: two", second)


def test_a_facility_that_does_not_exist_is_daemon(tmp_path: Path, daemon: socket.socket) -> None:
    log = Log(quiet=True, syslog=str(tmp_path / "place"))
    log.configure(Settings(syslog=True, syslog_facility="zork"), PgmuxSettings())
    log.log("x")
    assert received(daemon)[0].startswith(f"<{syslog.LOG_DAEMON | 6}>")


def test_debug_lines_do_not_go_to_syslog(tmp_path: Path, daemon: socket.socket) -> None:
    log = Log(quiet=True, verbose=2, syslog=str(tmp_path / "place"))
    log.configure(Settings(syslog=True), PgmuxSettings())
    log.debug("x")
    log.noise("x")
    assert received(daemon) == []


def test_a_syslog_daemon_that_hangs_holds_nobody_up(tmp_path: Path, daemon: socket.socket) -> None:
    log = with_syslog(tmp_path)
    log.use_file(str(tmp_path / "log"))
    for _ in range(1000):
        log.log("x")
    taken = len(received(daemon))
    assert taken < 1000
    log.log("on")
    first, second = received(daemon)
    assert first.endswith(f"{1000 - taken} log lines lost: syslog: nobody reads it")
    assert second.endswith("]: on")
    in_file = texts(tmp_path / "log")
    assert len(in_file) == 1002
    assert in_file.count("WARNING log lines are being lost: syslog: nobody reads it") == 1


def test_a_syslog_daemon_may_come_later(tmp_path: Path) -> None:
    log = with_syslog(tmp_path)
    log.log("lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(str(tmp_path / "place"))
        log.log("on")
        lost, on = received(late)
    assert lost.endswith("1 log line lost: syslog: No such file or directory")
    assert on.endswith("on")


def test_what_a_place_has_lost_is_said_after_a_change_of_its_settings_too(tmp_path: Path) -> None:
    log = with_syslog(tmp_path)
    log.log("lost")
    log.configure(Settings(syslog=True, syslog_ident="other"), PgmuxSettings())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(str(tmp_path / "place"))
        log.log("on")
        lost, _ = received(late)
    assert lost.endswith("1 log line lost: syslog: No such file or directory")


def test_syslog_can_be_chosen_while_no_descriptor_is_free(
    tmp_path: Path, daemon: socket.socket
) -> None:
    log, limits = with_syslog(tmp_path), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        log.configure(Settings(syslog=True, syslog_ident="other"), PgmuxSettings())
        log.log("lost")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    log.log("on")
    lost, on = received(daemon)
    assert lost.endswith("1 log line lost: syslog: Too many open files")
    assert on.endswith("on")


# the journal


@contextmanager
def journal_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """stderr as systemd makes it: a stream socket that $JOURNAL_STREAM names."""
    ours, theirs = socket.socketpair()
    found = os.fstat(ours.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    with ours, theirs, stderr_is(ours.fileno()):
        yield theirs


def test_a_stderr_that_is_the_journal_gets_entries_with_fields(
    tmp_path: Path, daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with journal_stderr(monkeypatch) as stderr:
        log = Log(journal=str(tmp_path / "place"))
        log.configure(Settings(syslog_ident="pool-7"), PgmuxSettings())
        log.warning("pooler error: x", Name("client", 1, "app", "bob", None))
        assert received(stderr) == []
    (entry,) = received(daemon)
    assert "MESSAGE=C-0x1: app/bob@(bad-af):0 pooler error: x\nPRIORITY=4\n" in entry
    assert "\nSYSLOG_IDENTIFIER=pool-7\n" in entry
    assert "\nPGMUX_DATABASE=app\n" in entry


def test_without_the_journals_socket_stderr_gets_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with journal_stderr(monkeypatch) as stderr:
        Log(journal=str(tmp_path / "place")).log("x")
        (line,) = received(stderr)
    assert re.fullmatch(r"\d{4}-.* \[\d+\] LOG x\n", line)


def test_a_stderr_that_is_not_what_the_variable_names_is_ordinary(
    tmp_path: Path,
    daemon: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    Log(journal=str(tmp_path / "place")).log("x")
    assert received(daemon) == []
    assert capfd.readouterr().err.endswith("LOG x\n")


# a stderr that nobody reads


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    clock = Clock()
    with stderr_is(writer):
        os.close(writer)
        log = Log(monotonic=clock)
        log.use_file(str(tmp_path / "log"))
        for _ in range(PIPE // 1000):
            log.log("x" * 1000)
        assert os.get_blocking(2)  # others may write to the same pipe
        os.set_blocking(reader, False)
        got = os.read(reader, PIPE).decode()
        log.log("on")
        got += os.read(reader, PIPE).decode()
    os.close(reader)
    lines = [line.partition("] ")[2] for line in got.splitlines()]
    lost = PIPE // 1000 - (len(lines) - 2)
    assert lines[-2] == f"WARNING {lost} log lines lost: stderr: nobody reads it"
    assert lines[-1] == "LOG on"
    in_file = texts(tmp_path / "log")
    assert len(in_file) == PIPE // 1000 + 2
    assert in_file.count("WARNING log lines are being lost: stderr: nobody reads it") == 1


def test_a_traceback_longer_than_the_pipe_leaves_whole_lines_behind_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    error: BaseException = ValueError("x")
    error.add_note("\n".join(["y" * 2000] * (PIPE // 2000)))
    with stderr_is(writer):
        os.close(writer)
        log = Log()
        log.exception("bug", error)
        os.set_blocking(reader, False)
        assert " ERROR bug\n\t" in os.read(reader, PIPE).decode()
        log.log("on")
        notice, on = os.read(reader, PIPE).decode().strip().splitlines()
    os.close(reader)
    assert "WARNING 1 log line lost" in notice
    assert on.endswith(" LOG on")


def test_a_fifo_as_log_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    log = Log(quiet=True)
    with pytest.raises(OSError, match="No such device"):
        log.use_file(str(tmp_path / "fifo"))
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    log.use_file(str(tmp_path / "fifo"))
    for _ in range(PIPE // 1000):
        log.log("x" * 1000)
    os.close(reader)


def test_a_closed_stderr_is_no_error_to_the_caller(tmp_path: Path) -> None:
    with stderr_is(0):
        os.close(2)
        log = Log()
        log.use_file(str(tmp_path / "log"))
        log.log("x")
    assert texts(tmp_path / "log")[0] == "LOG x"


# the log file


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_said_where_there_is_room(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.use_file("/dev/full")
    log.log("one")
    log.log("two")
    log.use_file("")
    said = [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]
    notice = "WARNING log lines are being lost: logfile: No space left on device"
    assert said == ["LOG one", notice, "LOG two"]


def test_a_line_that_was_cut_by_a_full_disk_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    os.truncate(path, PIPE - 10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Log(quiet=True)
    log.use_file(str(path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (PIPE, limits[1]))
    try:
        log.log("cut")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.log("whole")
    cut, lost, whole = path.read_bytes()[PIPE - 10 :].decode().splitlines()
    assert len(cut) == 10
    assert lost.endswith("WARNING 1 log line lost: logfile: File too large")
    assert whole.endswith("LOG whole")


def test_losses_are_said_again_after_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    log = Log(monotonic=clock)
    log.use_file("/dev/full")
    for _ in range(3):
        log.log("x")
        clock.now += 30
    log.use_file("")
    assert capfd.readouterr().err.count("are being lost") == 2


def test_a_directory_that_is_gone_keeps_the_file_that_is_open(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log = Log()
    log.use_file(str(directory / "log"))
    directory.rename(tmp_path / "away")
    log.reopen()
    log.log("on")
    said = texts(tmp_path / "away" / "log")
    assert said[0].endswith(
        f"Cannot open logfile: '{directory / 'log'}': No such file or directory"
    )
    assert said[1] == "LOG on"
    directory.mkdir()
    log.reopen()
    log.log("back")
    assert texts(directory / "log") == ["LOG back"]


def test_the_format_changes_from_one_line_to_the_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = Log()
    log.use_file(str(tmp_path / "log"))
    log.log("text")
    log.configure(Settings(), PgmuxSettings(log_format=LogFormat.JSON))
    log.log("json")
    log.use_file(str(tmp_path / "other"))
    log.log("json too")
    log.configure(Settings(), PgmuxSettings())
    log.log("text again")
    first, second, third, fourth = capfd.readouterr().err.splitlines()
    assert '"message": "json"' in second
    assert (tmp_path / "log").read_text().splitlines() == [first, second]
    assert (tmp_path / "other").read_text().splitlines() == [third, fourth]


def test_switching_leaks_no_descriptor(tmp_path: Path) -> None:
    log = Log(quiet=True)
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        log.configure(Settings(syslog=True), PgmuxSettings())
        log.configure(Settings(syslog=True, syslog_ident="x"), PgmuxSettings())
        log.configure(Settings(), PgmuxSettings())
    assert len(os.listdir("/dev/fd")) == before
