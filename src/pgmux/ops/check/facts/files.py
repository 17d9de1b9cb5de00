"""Files of the configuration and of secrets: who can read them, and whether git has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileFacts:
    """`kind`: config, userlist, hba, key, env. `is_committed`: whether git tracks it, None where
    that can't be told.
    """

    path: str
    kind: str
    mode: int
    owner: str
    has_secrets: bool
    is_committed: bool | None = None
