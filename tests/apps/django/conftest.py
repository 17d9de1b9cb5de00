"""Both Djangos: the tests' own, and 6.1 in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fixtures.frameworks import require_framework

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


class Django:
    """Runs programs with one of them, and our sources beside it."""

    def __init__(self, python: str | Path) -> None:
        self.python = str(python)

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: Path = HERE / "project",
    ) -> subprocess.CompletedProcess[str]:
        inherited = {name: v for name, v in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(
            [self.python, *arguments],
            env={
                **inherited,
                "PYTHONPATH": str(ROOT / "apps/src"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "COLUMNS": "100",
                **(env or {}),
            },
            input=stdin,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def rules(self) -> list[str]:
        """The ids of all messages. Django isn't imported here: its lazy settings would fail every
        test that looks through the garbage collector's objects.
        """
        source = "from pgmux_apps.django.rules import Rule; print(*(rule.id for rule in Rule))"
        return self.run("-c", source).stdout.split()

    def manage(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """`manage.py …` of the project here; what `settings.py` reads is in the environment."""
        return self.run("manage.py", *arguments, env=settings)


@pytest.fixture(scope="session")
def django5() -> Django:
    return Django(sys.executable)


@pytest.fixture(scope="session", params=["5.2", "6.1"])
def django(request: pytest.FixtureRequest) -> Django:
    """One after the other."""
    return Django(sys.executable if request.param == "5.2" else require_framework("django6"))
