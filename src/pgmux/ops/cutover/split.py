"""One recording -> before and after a moment. Errors: `SplitError`."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from pgmux.errors import PgmuxError
from pgmux.ops.cutover.recording import Recording
from pgmux.ops.cutover.sample import Sample, timestamp

Samples = tuple[Sample, ...]


class SplitError(PgmuxError):
    """That is no time, or none within the recording."""


def split_at(recording: Recording, text: str) -> tuple[Samples, Samples]:
    """What is older than that time, and what isn't. `text` is local unless it has a zone.

    Raises: SplitError.
    """
    start, end = recording.samples[0].at, recording.samples[-1].at
    moments = [moment for moment in _moments(text, start, end) if start < moment <= end]
    if len(moments) != 1:
        many = "more than once within" if moments else "not within"
        raise SplitError(
            f"{text} is {many} {recording.path}, which is from {timestamp(start)} to"
            f" {timestamp(end)}"
        )
    at = moments[0]
    older = tuple(sample for sample in recording.samples if sample.at < at)
    return older, recording.samples[len(older) :]


def _moments(text: str, start: float, end: float) -> list[float]:
    """The moments that may be meant: of a mere time of day, that of each day."""
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        try:
            return [datetime.fromisoformat(text).timestamp()]
        except (ValueError, OverflowError):
            raise SplitError(f"{text} is no time: write 2026-03-01T14:00, or 14:00") from None
    first, last = date.fromtimestamp(start), date.fromtimestamp(end)
    # A zone of its own may be on another day than ours.
    days = [first + timedelta(days=number) for number in range(-1, (last - first).days + 2)]
    return [datetime.combine(day, clock).timestamp() for day in days]
