"""Sample after sample: on a terminal, as lines or JSON, into a recording, until it is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from rich.live import Live

from pgmux.ops.cutover.look import Looker
from pgmux.ops.cutover.progress import Progress
from pgmux.ops.cutover.recording import Recorder
from pgmux.ops.cutover.sample import Sample, to_line
from pgmux.ops.cutover.screen import changes_of, draw, line_of
from pgmux.ops.printing import terminal

DONE, STILL_DIRECT = 0, 1

Show = Callable[[Progress, list[str]], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`seconds`: how long, None is for ever; `is_once`: one sample; `until_done`: till nobody
    connects directly.
    """

    interval: float
    seconds: float | None = None
    is_once: bool = False
    until_done: bool = False


def follow(
    looker: Looker, progress: Progress, wanted: Wanted, recorder: Recorder | None, show: Show
) -> int:
    """To its end; the exit code says whether anybody still connects directly.

    Raises: RecordingError; KeyboardInterrupt.
    """
    end = None if wanted.seconds is None else time.monotonic() + wanted.seconds
    while True:
        due = time.monotonic() + wanted.interval
        sample = looker.take()
        if recorder is not None:
            recorder.add(sample)
        changed = progress.add(sample)
        show(progress, changes_of(changed))
        if wanted.is_once or (wanted.until_done and progress.is_done):
            break
        if end is not None and due > end:
            break
        time.sleep(max(0.0, due - time.monotonic()))
    is_unknown = progress.told is None and looker.has_pooler
    return STILL_DIRECT if progress.direct or is_unknown else DONE


def shower(stack: ExitStack, message: str, *, as_json: bool, is_once: bool) -> Show:
    """How samples are shown: as JSON, as one table, on a terminal in one place, else as lines."""
    if as_json:
        return lambda progress, _: _print(to_line(_latest(progress)))
    if is_once:
        return lambda progress, _: terminal().print(draw(progress))
    if sys.stdout.isatty():
        live = stack.enter_context(Live(console=terminal(), auto_refresh=False))
        return lambda progress, _: live.update(draw(progress, message), refresh=True)
    return lambda progress, changes: _print("\n".join([line_of(progress), *changes]))


def show_nothing(progress: Progress, changes: list[str]) -> None:
    """For a recording without a screen: only what couldn't be read is told, on stderr."""
    sample = _latest(progress)
    if sample.server_error or sample.pooler_error:
        print(line_of(progress), file=sys.stderr, flush=True)


def _latest(progress: Progress) -> Sample:
    assert progress.latest is not None
    return progress.latest


def _print(text: str) -> None:
    print(text, flush=True)
