"""The console script `pgmux`, also as `python -m pgmux`.

`pgmux run` is PgBouncer's command line, flags and messages included: its arguments go to the daemon
as they stand, before Click (which would parse and word them differently) is even imported.
"""

from __future__ import annotations

import sys

from pgmux._pure import StaleModule


def main() -> None:
    """Runs the daemon for `run`, else the Click commands; ends the process."""
    if sys.argv[1:2] == ["run"]:
        sys.exit(run_daemon(sys.argv[2:], "pgmux run"))
    if sys.argv[1:2] == ["container"]:
        _end_on_early_signals()
    try:
        from pgmux.cli.main import commands

        commands(prog_name="pgmux")
    except StaleModule as error:
        sys.exit(f"pgmux: {error}")


def run_daemon(argv: list[str], prog: str) -> int:
    """PgBouncer's command line under the name `prog`; returns the exit code, if at all."""
    _end_on_early_signals()
    try:
        from pgmux.daemon.main import main

        return main(argv, prog)
    except StaleModule as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1


def _end_on_early_signals() -> None:
    """Before the other imports, which take most of a start."""
    from pgmux.daemon import process

    process.end_on_early_signals()


if __name__ == "__main__":
    main()
