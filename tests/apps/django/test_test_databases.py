"""Test databases of Django's runner: through pgmux, through PgBouncer, and with a direct alias."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.apps.django.conftest import Django
from tests.apps.django.fronts import Front, alias, pgbouncer_front, pgmux_front

MakeFront = Callable[..., Front]


@pytest.fixture
def error_of(
    postgres: EmbeddedPostgres, create_database: Callable[..., str], django5: Django
) -> Callable[..., str]:
    """What making and dropping them ends with; `direct` is what that alias's TEST says."""

    def run(make: MakeFront, direct: dict[str, Any] | None) -> str:
        database = create_database()
        tests = {"MIGRATE": False}
        with make(postgres) as front:
            databases = {"default": front.alias(database, TEST=tests)}
            if direct is not None:
                databases["direct"] = alias(
                    postgres.host, postgres.port, database, TEST=tests | direct
                )
            project = json.dumps({"DATABASES": databases})
            done = django5.run("claims.py", env={"PROJECT": project}, stdin='{"": ["tests", {}]}')
        postgres.psql(f"DROP DATABASE IF EXISTS test_{database} WITH (FORCE)")
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return run


def test_through_pgmux_they_come_and_go(error_of: Callable[..., str]) -> None:
    assert error_of(pgmux_front, {"MIRROR": "default"}) == ""


def test_pgbouncer_keeps_a_connection_to_them(error_of: Callable[..., str]) -> None:
    assert "is being accessed by other users" in error_of(pgbouncer_front, None)


def test_a_direct_alias_without_mirror_makes_them_twice(error_of: Callable[..., str]) -> None:
    assert "already exists" in error_of(pgmux_front, {})
