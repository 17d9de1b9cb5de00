"""Both Djangos: the tests' own, and 6.1 in an environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.frameworks import require_framework

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


class Django:
    """Runs programs with one of them, and our sources beside it."""

    def __init__(self, python: str | Path) -> None:
        self.python = str(python)
        self._many: subprocess.Popen[str] | None = None

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: Path = HERE / "project",
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments],
            env=_environment(env or {}),
            input=stdin,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(
        self,
        *arguments: str,
        stdin: int | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
        **env: str,
    ) -> subprocess.Popen[str]:
        """The same in the project here, without waiting for its end."""
        return subprocess.Popen(
            [self.python, *arguments],
            env=_environment(env),
            cwd=HERE / "project",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def rules(self) -> list[str]:
        """The ids of all messages. Django isn't imported here: its lazy settings would fail every
        test that looks through the garbage collector's objects.
        """
        source = "from pgmux_apps.django.rules import Rule; print(*(rule.id for rule in Rule))"
        return self.run("-c", source).stdout.split()

    def manage(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """`manage.py …` of the project here; what `settings.py` reads is in the environment."""
        if self._many is None:
            self._many = self.start("manage_many.py", stdin=subprocess.PIPE, stderr=None)
        assert self._many.stdin is not None and self._many.stdout is not None
        asked = {"arguments": arguments, "env": _environment(env)}
        print(json.dumps(asked), file=self._many.stdin, flush=True)
        code, stdout, stderr = json.loads(self._many.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    def close(self) -> None:
        """Ends what `manage` has started."""
        if self._many is not None:
            with self._many as many:
                assert many.stdin is not None
                many.stdin.close()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("PG")}
    ours = {"PYTHONPATH": str(ROOT / "apps/src"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"}
    return inherited | ours | dict(more)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Any]], Any]:
    """`once(name, compute)` is what `compute()` answers as JSON; one of xdist's workers runs it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent

    def result(name: str, compute: Callable[[], Any]) -> Any:
        path = place / f"{name}.json"
        with (place / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(json.dumps(compute()))
        return json.loads(path.read_text())

    return result


@pytest.fixture(scope="session")
def django5() -> Iterator[Django]:
    with closing(Django(sys.executable)) as django:
        yield django


@pytest.fixture(scope="session", params=["5.2", pytest.param("6.1", marks=pytest.mark.frameworks)])
def django(request: pytest.FixtureRequest, django5: Django) -> Iterator[Django]:
    """One after the other."""
    if request.param == "5.2":
        yield django5
    else:
        with closing(Django(require_framework("django6"))) as django:
            yield django
