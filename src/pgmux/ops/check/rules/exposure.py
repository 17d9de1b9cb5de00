"""EXPO: who could come in, or read what he shouldn't."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity


@rule("EXPO004", Severity.ERROR, "a user with an empty password", needs=("config",))
def empty_password(evidence: Evidence) -> Iterator[Found]:
    assert evidence.config is not None
    for name, secret in evidence.config.userlist.items():
        if not secret:
            yield Found(
                f'"{name}" has an empty password in auth_file',
                f"give {name} one in PostgreSQL, then: pgmux userlist",
                evidence.config.settings.auth_file or "",
            )


RULES = (empty_password,)
