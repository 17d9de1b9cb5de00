"""Options that commands have in common, by the same words. Those of places are in `where`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pgmux.cli.durations import Duration

Command = TypeVar("Command", bound=Callable[..., Any])

no_password_option = click.option(
    "-w", "--no-password", is_flag=True, help="Never ask for a password."
)


def together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator; --help has them in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def interval_option(
    default: str, least: float = 0.1, most: float = 86400.0
) -> Callable[[Command], Command]:
    """Gives a command the parameter `interval`, seconds."""
    return click.option(
        "-i",
        "--interval",
        type=Duration(least, most),
        default=default,
        show_default=True,
        help="Between two samples.",
    )
