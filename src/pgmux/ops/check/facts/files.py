"""Files of the configuration and of secrets: who can read them, and whether git has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FileKind(StrEnum):
    CONFIG = "config"
    USERLIST = "userlist"
    HBA = "hba"
    KEY = "key"
    ENV = "env"
    COMPOSE = "compose"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """`secrets`: what of secrets is in it, in words without one, empty where there are none;
    `has_usable_secrets`: one of them lets somebody log in as it stands (a password, an MD5 hash, a
    private key), a SCRAM verifier doesn't. `is_open`: whoever has an account here can read it.
    `is_committed`: whether git tracks it, None where that can't be told.
    """

    path: str
    kind: FileKind
    mode: int
    owner: str
    secrets: str = ""
    has_usable_secrets: bool = False
    is_open: bool = False
    is_committed: bool | None = None
