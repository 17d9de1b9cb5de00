"""The configuration, as `pgmux run` and PgBouncer would read it."""

from __future__ import annotations

import os

from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.errors import ConfigError
from pgmux.ops.check.evidence import Unread
from pgmux.ops.files import read_text


def gather(config_file: str) -> Config | Unread:
    """What the ini file says, with pgmux.ini beside it."""
    beside = os.path.join(os.path.dirname(config_file), "pgmux.ini")
    pgmux_file = os.environ.get("PGMUX_CONFIG") or (beside if os.path.exists(beside) else None)
    try:
        return load_config(config_file, read_text, pgmux_file)
    except ConfigError as error:
        first = str(error.problems[0])
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        advice = f"pgmux run --check {config_file} says all of it"
        return Unread("config", f"{first}{more}", advice)
