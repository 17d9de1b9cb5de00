"""Recordings: one sample a line, appended whole; what isn't a sample is told by its line."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from pgmux.ops.cutover.recording import Recorder, RecordingError, read_recording
from pgmux.ops.cutover.sample import from_line, to_line
from tests.unit.ops.cutover.samples import count, refused, sample


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "before.jsonl"


def test_a_sample_comes_back_as_it_was() -> None:
    for each in (
        sample(0.5, count("a|\x1b\n", 3), pooler={"errors": 7}),
        refused(1),
        replace(sample(2), pooler_error="gone"),
    ):
        line = to_line(each)
        assert "\n" not in line
        assert from_line(line) == each


def test_runs_append_to_the_same_file(file: Path) -> None:
    for seconds in (5, 0):
        with Recorder(str(file)) as recorder:
            recorder.add(sample(seconds))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = read_recording(str(file))
    assert [each.at - found.samples[0].at for each in found.samples] == [0, 5]
    assert found.broken == ()


def test_what_a_crash_left_half_written_is_a_line_of_its_own(file: Path) -> None:
    with Recorder(str(file)) as recorder:
        recorder.add(sample())
    with file.open("a") as half:
        half.write(to_line(sample(1))[:100])
    with Recorder(str(file)) as recorder:
        recorder.add(sample(2))
    found = read_recording(str(file))
    assert len(found.samples) == 2
    assert [(each.number, each.reason) for each in found.broken] == [
        (2, "not JSON, perhaps cut off")
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello", "not JSON, perhaps cut off"),
        (b"[" * 100_000, "not JSON, perhaps cut off"),
        (b'{"a":1}', "JSON, but not of a recording"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"pgmux_cutover":9}', "of another version of pgmux"),
        (b'{"pgmux_cutover":1,"at":"yesterday"}', "`at` is no time"),
        (b'{"pgmux_cutover":1,"at":"2026-01-01"}', "there is no server"),
        (to_line(sample()).replace('"commits":1000', '"commits":"x"').encode(), "commits is no"),
        (to_line(sample()).replace('"apps":[]', '"apps":[1]').encode(), "AppCount is no object"),
        (b"x" * 3_000_000, "longer than any sample"),
    ],
)
def test_lines_that_are_no_samples_are_told_by_number(file: Path, line: bytes, reason: str) -> None:
    file.write_bytes(to_line(sample()).encode() + b"\n\n" + line + b"\n")
    [broken] = read_recording(str(file)).broken
    assert broken.number == 3
    assert reason in broken.reason


def test_a_file_without_a_sample_is_refused_with_its_first_line(file: Path) -> None:
    file.write_text("time,connections\n1,2\n")
    with pytest.raises(RecordingError, match=r"has no sample .*; line 1 is not JSON"):
        read_recording(str(file))
    file.write_text("")
    with pytest.raises(RecordingError, match=r"has no sample of pgmux cutover$"):
        read_recording(str(file))
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(str(file) + "x")


def test_nothing_is_appended_to_a_file_of_somebody_else(file: Path) -> None:
    file.write_text(json.dumps({"mine": 1}))
    with pytest.raises(RecordingError, match="is no recording"):
        Recorder(str(file))
    assert file.read_text() == '{"mine": 1}'
    os.mkfifo(file.parent / "pipe")
    with pytest.raises(RecordingError, match="not a regular file"):
        Recorder(str(file.parent / "pipe"))


def test_two_cannot_record_into_one_file(file: Path) -> None:
    with Recorder(str(file)), pytest.raises(RecordingError, match="another process is recording"):
        Recorder(str(file))


def test_a_recording_is_bounded(file: Path) -> None:
    with Recorder(str(file), most_bytes=700) as recorder:
        recorder.add(sample())
        with pytest.raises(RecordingError, match="go on in another file"):
            recorder.add(sample(1))
    assert len(read_recording(str(file)).samples) == 1
