"""From the command line's file names to a `Config`: which files, and reading them.

Errors: `ConfigError`, with every problem of every file.
"""

from __future__ import annotations

import os
from dataclasses import replace

from pgmux.config import Config, load_config, with_access_after_set
from pgmux.daemon.command_line import Options
from pgmux.daemon.extras import require_extras
from pgmux.daemon.log import Log
from pgmux.errors import Problem


def read_configuration(options: Options) -> Config:
    """Read all files that `options` name, anew, and import the libraries that they ask for.

    Raises: ConfigError.
    """
    config = load_config(options.config_file, _read_text, find_pgmux_file(options))
    require_extras(config)
    return config


def read_after_set(old: Config, new: Config) -> Config:
    """`new`, which SET has made of `old`, with the files and libraries that it asks for; its
    warnings are what is new to say. Raises: ConfigError.
    """
    config = with_access_after_set(old, new, _read_text)
    require_extras(config)
    return config


def find_pgmux_file(options: Options) -> str | None:
    """The second argument, else $PGMUX_CONFIG, else pgmux.ini beside the first if it exists."""
    named = options.pgmux_file or os.environ.get("PGMUX_CONFIG")
    if named:
        return named
    beside = os.path.join(os.path.dirname(options.config_file), "pgmux.ini")
    return beside if os.path.exists(beside) else None


def describe(problem: Problem) -> str:
    """The problem's text; with its place in front unless it is said in PgBouncer's way already."""
    if problem.file not in problem.message:
        return str(problem)
    return str(replace(problem, file="", line=0))


def say_problems(config: Config, log: Log) -> None:
    """What is wrong without keeping the configuration from being used."""
    for problem in config.warnings:
        write = log.error if problem.is_grave else log.warning
        write(describe(problem))


def _read_text(path: str) -> str:
    """The file as it is: newlines kept, and bytes that aren't UTF-8 (a comment's, say) too."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()
