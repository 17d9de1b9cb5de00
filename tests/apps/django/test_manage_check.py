"""The system checks in a project: with each command, by their tag, silenced, and at nonsense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.apps.django.conftest import Django
from tests.apps.django.fronts import alias


def project(**changes: Any) -> str:
    """A pooled alias that costs a login a request, and nothing else."""
    default = alias("127.0.0.1", 6432, "shop", USER="app", DISABLE_SERVER_SIDE_CURSORS=True)
    direct = alias("127.0.0.1", 5432, "shop", TEST={"MIRROR": "default"})
    return json.dumps({"DATABASES": {"default": default, "direct": direct}} | changes)


def test_a_project_as_startproject_makes_it_hears_nothing(django: Django, tmp_path: Path) -> None:
    made = django.run("-m", "django", "startproject", "mysite", str(tmp_path))
    assert made.returncode == 0, made.stderr
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["pgmux_apps.django"]\n')
    done = django.run(
        *("manage.py", "check", "--tag", "pgmux", "--fail-level", "INFO"),
        env={"DJANGO_SETTINGS_MODULE": "mysite.settings"},
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "no issues" in done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [("check",), ("check", "--tag", "pgmux")])
def test_the_checks_run_always_and_by_their_tag(django: Django, arguments: tuple[str, ...]) -> None:
    done = django.manage(*arguments, PROJECT=project())
    assert "DATABASES['default']: (pgmux.W001) Behind a pooler" in done.stderr
    assert "HINT: Write" in done.stderr and "1 issue (0 silenced)" in done.stderr
    assert done.returncode == 0


def test_the_fail_level_counts_them_and_silenced_ones_are_silent(django5: Django) -> None:
    level = ("--fail-level", "WARNING")
    assert django5.manage("check", *level, PROJECT=project()).returncode == 1
    quiet = project(SILENCED_SYSTEM_CHECKS=["pgmux.W001"])
    done = django5.manage("check", *level, PROJECT=quiet)
    assert (done.returncode, "1 silenced" in done.stdout) == (0, True)


def test_aliases_that_arent_asked_for_are_left_out(django: Django) -> None:
    done = django.manage("check", "--database", "direct", "--tag", "pgmux", PROJECT=project())
    assert "pgmux.W001" not in done.stderr and done.returncode == 0


def test_the_settings_say_what_serves_and_what_is_pooled(django5: Django) -> None:
    asgi = project(ASGI_APPLICATION="site.asgi.application")
    assert "pgmux" not in django5.manage("check", PROJECT=asgi).stderr
    unpooled = project(USE_PGBOUNCER=False)
    assert "pgmux" not in django5.manage("check", PROJECT=unpooled).stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PGMUX": "postgresql://u:hunter2@h/db"}, "(pgmux.E001) PGMUX is "),
        ({"PGMUX": {"aliases": {"defualt": {}}}}, "is 'defualt'; its keys are default, direct."),
        ({"USE_PGBOUNCER": "perhaps"}, "(pgmux.E001) USE_PGBOUNCER='perhaps'"),
        (
            {"DATABASES": {"default": alias("h", 6432, "shop", CONN_MAX_AGE="60")}},
            "(pgmux.E002) DATABASES['default']['CONN_MAX_AGE'] is '60'",
        ),
        (
            {"DATABASES": {"default": alias("h", 6432, "shop", OPTIONS="sslmode=require")}},
            "(pgmux.E002) DATABASES['default']['OPTIONS'] is a str",
        ),
    ],
)
def test_nonsense_is_an_error_and_no_traceback(
    django5: Django, changes: dict[str, Any], said: str
) -> None:
    for command in ("check", "pgmux_check"):
        done = django5.manage(command, PROJECT=project(**changes))
        assert done.returncode == 1
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        ({"default": {"ENGINE": "no.such"}}, "DATABASES['default'] has an ENGINE that can't"),
        ({"default": alias("h", 6432, "", CONN_MAX_AGE=9)}, "Please supply the NAME"),
        # where no application has models; else Django ends before any check
        ({"other": alias("h", 6432, "shop")}, "You must define a 'default' database"),
        ("postgresql://u:hunter2@h/db", "DATABASES is a str"),
    ],
)
def test_what_django_itself_cant_use_is_named_by_pgmux_check(
    django5: Django, databases: Any, said: str
) -> None:
    settings = {"DATABASES": databases, "INSTALLED_APPS": ["pgmux_apps.django"]}
    done = django5.manage("pgmux_check", "-v", "0", PROJECT=json.dumps(settings))
    assert said in done.stdout, done.stderr
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "hunter2" not in done.stdout + done.stderr
