"""Django through pgmux: migrations, the ORM in a test suite of its own, in both pool modes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.pooler import MakePooler

PROJECT = Path(__file__).parent / "project"


@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
def test_django_migrates_and_passes_a_projects_own_tests(
    pooler: MakePooler, create_database: Callable[..., str], tmp_path: Path, pool_mode: str
) -> None:
    # ignore_startup_parameters stays empty: Django's `options` are honoured, not dropped
    front = pooler(settings={"pool_mode": pool_mode})
    database = create_database()
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "shop/migrations").mkdir()
    (project / "shop/migrations/__init__.py").touch()

    def django(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env={
                **os.environ,
                "DATABASE_URL": front.dsn(database),
                "DJANGO_SETTINGS_MODULE": "settings",
                "PYTHONPATH": os.pathsep.join([str(project), *sys.path]),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr + front.log()
        return done.stdout + done.stderr

    django("makemigrations", "shop", "--verbosity", "0")
    assert "Applying shop.0001_initial... OK" in django("migrate")
    assert "No planned migration operations" in django("migrate", "--plan")
    assert "Ran 6 tests" in django("test", "--noinput", "shop")
    django("migrate", "shop", "zero")
