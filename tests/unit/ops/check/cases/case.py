"""What a case is, and configurations for it."""

from __future__ import annotations

from dataclasses import dataclass

from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.ops.check.evidence import Evidence


@dataclass(frozen=True)
class Case:
    """`bad` has `count` findings, which say all of `says`; `good` has none."""

    bad: Evidence
    good: Evidence
    count: int = 1
    says: tuple[str, ...] = ()


def config_of(ini: str, userlist: str = "") -> Config:
    """A configuration of these texts; auth_file is userlist.txt where there is one."""
    texts = {"pgbouncer.ini": ini, "userlist.txt": userlist}

    def read(path: str) -> str:
        if path not in texts:
            raise FileNotFoundError(2, "No such file or directory", path)
        return texts[path]

    return load_config("pgbouncer.ini", read)
