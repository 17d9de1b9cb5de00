"""`pgmux cutover report`.

Exit codes: 0; 1 where lines of a recording were passed over; 2 where they can't be read or are too
few.
"""

from __future__ import annotations

import sys

import click

from pgmux.cli.place import make_streams_tolerant
from pgmux.cli.where import json_option
from pgmux.ops.console.client import tell
from pgmux.ops.cutover.recording import Recording, RecordingError, read_recording
from pgmux.ops.cutover.report import Comparison, json_of, print_report, to_markdown
from pgmux.ops.cutover.sample import Sample
from pgmux.ops.cutover.split import SplitError, split_at
from pgmux.ops.cutover.summary import LEAST_SAMPLES, TooLittle, summarize
from pgmux.ops.printing import terminal
from pgmux.ops.severity import UNUSABLE

BROKEN_LINES = 1
_SHOWN = 5  # broken lines of a file


@click.command("report")
@click.argument("files", nargs=-1, metavar="BEFORE AFTER")
@click.option("--before", metavar="FILE", help="The recording of before, instead of the argument.")
@click.option("--after", metavar="FILE", help="That of after.")
@click.option(
    "--at",
    metavar="TIME",
    help="Of one recording: what is older is before. As 2026-03-01T14:00, or 14:00 of its day.",
)
@click.option(
    "--least",
    type=click.IntRange(1),
    default=LEAST_SAMPLES,
    show_default=True,
    help="Of how many samples a period has to be.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="For a ticket.")
@json_option
def report(
    files: tuple[str, ...],
    before: str | None,
    after: str | None,
    at: str | None,
    least: int,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Compare two recordings of `watch --record` or `record`: before and after.

    \b
    pgmux cutover report before.jsonl after.jsonl --markdown
    pgmux cutover report all.jsonl --at 14:00
    """
    make_streams_tolerant()
    paths = find_paths(files, before, after, at)
    try:
        recordings = [read_recording(path) for path in paths]
        if at is not None:
            older, newer = split_at(recordings[0], at)
        else:
            older, newer = (recording.samples for recording in recordings)
        names = (f"{paths[0]} (before)", f"{paths[-1]} (after)")
        made = compare(older, newer, names, least)
    except (RecordingError, SplitError, TooLittle) as error:
        tell(f"pgmux cutover: {error}")
        sys.exit(UNUSABLE)
    if as_json:
        click.echo(json_of(made))
    elif as_markdown:
        click.echo(to_markdown(made), nl=False)
    else:
        print_report(made, terminal())
    for recording in recordings:
        tell_broken(recording)
    sys.exit(BROKEN_LINES if any(recording.broken for recording in recordings) else 0)


def find_paths(
    files: tuple[str, ...], before: str | None, after: str | None, at: str | None
) -> list[str]:
    """One with --at, else two. Raises: click.UsageError."""
    paths = [*files, *(path for path in (before, after) if path is not None)]
    if (before is None) != (after is None) or (before is not None and files):
        raise click.UsageError("name both: BEFORE AFTER, or --before FILE --after FILE")
    if at is not None and len(paths) != 1:
        raise click.UsageError("--at splits one recording")
    if at is None and len(paths) != 2:
        raise click.UsageError("two recordings are needed, BEFORE AFTER; or one and --at TIME")
    return paths


def compare(
    before: tuple[Sample, ...], after: tuple[Sample, ...], names: tuple[str, str], least: int
) -> Comparison:
    """Raises: TooLittle."""
    return Comparison(summarize(before, names[0], least), summarize(after, names[1], least))


def tell_broken(recording: Recording) -> None:
    """The lines that aren't samples, on stderr."""
    for line in recording.broken[:_SHOWN]:
        tell(f"{recording.path}:{line.number}: passed over: {line.reason}")
    if len(recording.broken) > _SHOWN:
        tell(f"{recording.path}: and {len(recording.broken) - _SHOWN} more lines")
