"""`pgmux-airflow`: what there is to do about Airflow beside the policy plugin.

Each sub-command is a module that has `NAME`, `HELP`, `add_arguments(parser)` and
`run(arguments) -> exit code`. None imports Airflow before it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from pgmux_apps import __version__
from pgmux_apps.airflow import advice, check, pool


class Command(Protocol):
    """A sub-command's module."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


COMMANDS: tuple[Command, ...] = (check, pool, advice)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="pgmux-airflow", description="Airflow's tasks and a PostgreSQL pooler."
    )
    parser.add_argument("--version", action="version", version=f"pgmux-apps {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        each = commands.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        each.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_arguments(each)
        each.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the return value is the exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except BrokenPipeError:  # `pgmux-airflow check dags | head`
        sys.stderr.close()
        return 2  # not all of it was read: no answer
    return code


if __name__ == "__main__":
    sys.exit(main())
