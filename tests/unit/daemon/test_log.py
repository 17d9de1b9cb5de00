"""Log lines: PgBouncer's format, one line a call, and no failure that reaches the caller."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config.model import PgmuxSettings, Settings
from pgmux.daemon.log import Log

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] (\w+) (.*)\n")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(quiet=True)
    log.use_file(str(tmp_path / "log"))
    yield log
    log.use_file("")


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def text_of(log: Log) -> str:
    return Path(log.path).read_text(encoding="utf-8")


def test_a_line_is_pgbouncers(utc: None, capfd: pytest.CaptureFixture[str]) -> None:
    Log(clock=lambda: 1795162925.4309).log("process up: …")
    expected = f"2026-11-20 08:22:05.430 UTC [{os.getpid()}] LOG process up: …\n"
    assert capfd.readouterr().err == expected


def test_the_second_changes_with_the_clock(utc: None, capfd: pytest.CaptureFixture[str]) -> None:
    times = iter([1.0, 1.5, 2.25, 61.0])
    log = Log(clock=lambda: next(times))
    for _ in range(4):
        log.log("x")
    stamps = [line[11:23] for line in capfd.readouterr().err.splitlines()]
    assert stamps == ["00:00:01.000", "00:00:01.500", "00:00:02.250", "00:01:01.000"]


@pytest.mark.parametrize(("at", "zone"), [(1768471200, "CET"), (1784109600, "CEST")])
def test_the_zone_is_the_local_one_with_daylight_saving(
    at: float, zone: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    Log(clock=lambda: at).log("x")
    monkeypatch.undo()
    time.tzset()
    assert f".000 {zone} [" in capfd.readouterr().err


def test_a_line_goes_to_stderr_and_to_the_file(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    log.set_quiet(False)
    log.warning("twice")
    assert capfd.readouterr().err == text_of(log)
    assert text_of(log).endswith("WARNING twice\n")


def test_quiet_leaves_the_file_alone(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    log.error("once")
    assert capfd.readouterr().err == ""
    assert text_of(log).endswith("ERROR once\n")


@pytest.mark.parametrize(
    ("verbose", "levels"),
    [
        (0, ["FATAL", "ERROR", "WARNING", "LOG"]),
        (1, ["FATAL", "ERROR", "WARNING", "LOG", "DEBUG"]),
        (2, ["FATAL", "ERROR", "WARNING", "LOG", "DEBUG", "NOISE"]),
    ],
)
def test_verbose_says_which_levels_are_written(log: Log, verbose: int, levels: list[str]) -> None:
    log.configure(Settings(verbose=verbose), PgmuxSettings())
    for write in (log.fatal, log.error, log.warning, log.log, log.debug, log.noise):
        write("x")
    assert re.findall(r"(\w+) x", text_of(log)) == levels
    assert (log.is_debug, log.is_noise) == (verbose > 0, verbose > 1)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (
            "db/u\n2026-11-20 08:22:05.430 UTC [1] LOG x",
            r"db/u\n2026-11-20 08:22:05.430 UTC [1] LOG x",
        ),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[2Jclear", r"\x1b[2Jclear"),
        ("\x00\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("naïve 数\u00a0!", "naïve 数\u00a0!"),
        ("DOMAIN\\user", "DOMAIN\\user"),
    ],
)
def test_control_characters_are_written_as_escapes(log: Log, text: str, written: str) -> None:
    log.log(text)
    assert text_of(log).endswith(f" LOG {written}\n")


@given(st.text(st.characters()))
def test_whatever_the_text_is_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    log = Log(quiet=True)
    log.use_file(str(tmp_path_factory.mktemp("log") / "log"))
    log.log(text)
    written = text_of(log)
    log.use_file("")
    assert LINE.fullmatch(written)
    assert len(written.splitlines()) == 1


def test_a_long_text_is_cut_where_pgbouncer_cuts_it(log: Log) -> None:
    log.log("x" * 1_000_000)
    match = LINE.fullmatch(text_of(log))
    assert match is not None
    assert len(match[2]) == 2047


def test_a_traceback_is_in_lines_that_begin_with_a_tab(log: Log) -> None:
    try:
        raise ValueError("forged\n2026-11-20 08:22:05.430 UTC [1] LOG x")
    except ValueError as error:
        log.exception("bug", error)
    first, *rest = text_of(log).splitlines()
    assert first.endswith(" ERROR bug")
    assert rest[0] == "\tTraceback (most recent call last):"
    assert any("ValueError: forged" in line for line in rest)
    assert all(line.startswith("\t") for line in rest)


def test_a_file_that_was_moved_away_is_made_anew(log: Log, tmp_path: Path) -> None:
    log.log("before")
    os.rename(tmp_path / "log", tmp_path / "log.1")
    log.log("still the old one")
    log.use_file(log.path)
    log.log("after")
    assert len((tmp_path / "log.1").read_text().splitlines()) == 2
    assert text_of(log).endswith(" LOG after\n")
    assert len(text_of(log).splitlines()) == 1


def test_a_file_that_cannot_be_opened_leaves_the_old_one(log: Log, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log.use_file(str(tmp_path / "nowhere" / "log"))
    log.log("still here")
    assert log.path == str(tmp_path / "log")
    assert text_of(log).endswith("still here\n")


def test_reopening_leaks_no_descriptor(log: Log) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(10):
        log.use_file(log.path)
    assert len(os.listdir("/dev/fd")) == before


def test_the_file_is_not_executable_and_obeys_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        log = Log(quiet=True)
        log.use_file(str(tmp_path / "log"))
        log.use_file("")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_no_error_to_the_caller() -> None:
    log = Log(quiet=True)
    log.use_file("/dev/full")
    log.log("lost")
    log.use_file("")


def test_a_closed_pipe_on_stderr_is_no_error_to_the_caller(log: Log) -> None:
    reader, writer = os.pipe()
    saved = os.dup(2)
    try:
        os.dup2(writer, 2)
        os.close(writer)
        os.close(reader)
        log.set_quiet(False)
        log.log("only in the file")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert text_of(log).endswith("only in the file\n")
