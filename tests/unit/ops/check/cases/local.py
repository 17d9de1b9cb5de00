"""Evidence for the rules that judge files: an ini, and files of variables or compose files beside
it, read as `pgmux check` reads them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pgmux.config.model import Config
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.gather import environment

POOLED = "[databases]\n* = host=db\n[pgbouncer]\npool_mode = transaction\nlisten_port = 6432\n"
UNTRACKED = POOLED + "max_prepared_statements = 0\n"


def evidence(config: Config | None, *, env: str = "", compose: str = "", **parts: Any) -> Evidence:
    """What a .env and a compose.yaml of these texts tell, with nothing else in the environment."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for name, text in ((".env", env), ("compose.yaml", compose)):
            if text:
                (folder / name).write_text(text)
        for name, text in parts.pop("files", {}).items():
            (folder / name).write_text(text)
        ini = folder / "pgbouncer.ini"
        ini.touch()
        told, unread = environment.gather(str(ini), environ={})
        assert unread == []
        return Evidence(str(ini), config=config, environment=told, **parts)


def service(name: str, image: str, *lines: str) -> str:
    """A service of a compose file; `lines` are its other keys, as they stand below it."""
    return "\n".join([f"  {name}:", f"    image: {image}", *(f"    {line}" for line in lines), ""])


def compose(*services: str, besides: str = "") -> str:
    return "services:\n" + "".join(services) + besides


POOLER = service("pgbouncer", "edoburu/pgbouncer:v1.24.1-p1", "volumes: ['.:/etc/pgbouncer']")


def told(variable: str, *, image: str = "shop:1", pooler: str = POOLER) -> str:
    """A pooler, and an application that is given one variable."""
    return compose(pooler, service("app", image, "environment:", f"  {variable}"))
