"""What the files of a new deployment say, as values. Errors: none."""

from __future__ import annotations

from dataclasses import dataclass

from pgmux.ops.init.facts import Facts
from pgmux.ops.init.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator has decided; None where the default is to be taken."""

    directory: str
    listen: str = "127.0.0.1"
    port: int = 6432
    http_listen: str = ""
    databases: tuple[str, ...] = ()
    users: tuple[str, ...] | None = None
    admin: str = "pgmux_admin"
    stats: str = "pgmux_stats"
    sslmode: str = ""
    ca_file: str = ""
    owner: tuple[int, int] = (0, 0)
    account: str = ""  # the owner's name, for systemd
    program: str = "pgmux"  # the command's path, for systemd


@dataclass(frozen=True, slots=True)
class Values:
    """All that the texts need. `users`: how many share a database."""

    asked: Asked
    facts: Facts
    sizes: Sizes
    databases: tuple[str, ...]
    users: int
    files: int
    sslmode: str
    why_sslmode: str

    @property
    def place(self) -> str:
        return f"{self.facts.host or 'the local socket'}:{self.facts.port}"

    @property
    def is_open(self) -> bool:
        """Whether others than this machine reach the pooler."""
        addresses = [each.strip() for each in self.asked.listen.split(",")]
        return any(not (a.startswith("127.") or a in ("localhost", "::1")) for a in addresses)
