"""What the checks claim about Django behind a pooler, tried through pgmux and PgBouncer 1.18.

All claims of a Django and a pooler are tried by one process, tests/apps/django/project/claims.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.apps.django.conftest import Django
from tests.apps.django.fronts import Front, pgbouncer_front, pgmux_front

REQUESTS = 12  # as in claims.py
ROLE = "assumed"
MEMBER = "member_of_assumed"

CLAIMS: dict[str, tuple[str, dict[str, Any]]] = {
    "iterator": ("iterator", {}),
    "iterator in atomic": ("iterator_in_a_transaction", {}),
    "iterator without cursors": ("iterator", {"DISABLE_SERVER_SIDE_CURSORS": True}),
    "options": (
        "options",
        {"OPTIONS": {"options": "-c statement_timeout=30000 -c lock_timeout=1s"}},
    ),
    "assume_role": ("role", {"OPTIONS": {"assume_role": ROLE}}),
    "role at login": ("role", {"USER": MEMBER, "PASSWORD": "secret"}),
    "threshold": ("prepared", {"OPTIONS": {"prepare_threshold": 0}}),
    "threshold and binding": (
        "prepared",
        {"OPTIONS": {"prepare_threshold": 0, "server_side_binding": True}},
    ),
    "autocommit": ("held_server", {}),
    "no autocommit": ("held_server", {"AUTOCOMMIT": False}),
    "WSGI, 0": ("wsgi", {"CONN_MAX_AGE": 0}),
    "WSGI, None": ("wsgi", {"CONN_MAX_AGE": None}),
    "ASGI, 0": ("asgi", {"CONN_MAX_AGE": 0}),
    "ASGI, None": ("asgi", {"CONN_MAX_AGE": None}),
    "ASGI, pool": (
        "asgi",
        {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 0, "max_size": 4}}},
    ),
}
BY_LOGINS = ("WSGI", "ASGI")  # which only pgmux counts

Found = dict[str, Any]


@contextmanager
def made_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """With 2,500 rows, and a role that PostgreSQL lets assume another at each login."""
    postgres.psql(
        f"CREATE DATABASE django_claims; CREATE ROLE {ROLE};"
        f"CREATE ROLE {MEMBER} LOGIN PASSWORD 'secret' IN ROLE {ROLE};"
        f"ALTER ROLE {MEMBER} SET role = '{ROLE}'"
    )
    postgres.psql(
        "CREATE TABLE django_content_type (id int, app_label text, model text);"
        "INSERT INTO django_content_type"
        " SELECT n, 'shop', 'm' || n FROM generate_series(1, 2500) n;"
        f"GRANT SELECT ON django_content_type TO {ROLE}",
        "django_claims",
    )
    yield "django_claims"
    postgres.psql("DROP DATABASE django_claims WITH (FORCE)")
    postgres.psql(f"DROP ROLE {MEMBER}; DROP ROLE {ROLE}")


@pytest.fixture(scope="module", params=["pgmux", "PgBouncer"])
def front(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Front:
    """Started only where the claims are tried."""
    users = {MEMBER: "secret"}
    if request.param == "pgmux":
        return pgmux_front(postgres, users)
    return pgbouncer_front(postgres, users, ignore_startup_parameters="options")


@pytest.fixture(scope="module")
def found(
    django: Django, front: Front, postgres: EmbeddedPostgres, once: Callable[..., Any]
) -> Found:
    """What each claim came to."""

    def tried() -> Found:
        with made_database(postgres) as database, front:
            return try_all(django, front, database)

    name = f"claims-{Path(django.python).parents[1].name}-{front.version or 'pgmux'}"
    found: Found = once(name.replace(" ", "-"), tried)
    return found


def try_all(django: Django, front: Front, database: str) -> Found:
    claims = {
        name: claim
        for name, claim in CLAIMS.items()
        if front.is_pgmux or not name.startswith(BY_LOGINS)
    }
    alias = front.alias(database, CONN_MAX_AGE=None)
    done = django.run(
        "claims.py",
        env={"PROJECT": json.dumps({"DATABASES": {"default": alias, "other": alias}})},
        stdin=json.dumps(claims),
    )
    assert done.returncode == 0, done.stderr + front.log()
    result: Found = json.loads(done.stdout)
    return result


def test_iterator_loses_its_cursor_and_leaves_it_on_a_server(found: Found) -> None:
    assert "does not exist" in found["iterator"]["error"]
    assert found["iterator"]["left"] == 1


@pytest.mark.parametrize("way", ["iterator in atomic", "iterator without cursors"])
def test_iterator_reads_everything(found: Found, way: str) -> None:
    assert found[way] == {"read": 2500, "error": "", "left": 0}


def test_options_arrive_through_pgmux_and_are_dropped_by_pgbouncer(
    found: Found, front: Front
) -> None:
    assert found["options"] == (["30s", "1s"] if front.is_pgmux else ["0", "0"])


def test_an_assumed_role_is_lost_and_is_the_next_clients(found: Found) -> None:
    assert found["assume_role"] == {"first": ROLE, "moved": "postgres", "other": ROLE}


def test_a_role_that_postgres_sets_at_login_is_neither(found: Found) -> None:
    assert found["role at login"] == {"first": ROLE, "moved": ROLE, "other": "postgres"}


def test_statements_are_prepared_only_with_both_options(found: Found, front: Front) -> None:
    assert found["threshold"] == ""
    if front.tracks_prepared_statements:
        assert found["threshold and binding"] == ""
    else:
        assert "prepared statement" in found["threshold and binding"]


def test_without_autocommit_a_server_is_held_after_the_query(found: Found) -> None:
    assert (found["autocommit"], found["no autocommit"]) == (0, 1)


def test_under_wsgi_conn_max_age_0_is_a_login_a_request_and_none_is_one(
    found: Found, front: Front
) -> None:
    front.need_login_counts()
    assert (found["WSGI, 0"], found["WSGI, None"]) == (REQUESTS, 1)


def test_under_asgi_kept_connections_are_never_used_again_and_pile_up(
    found: Found, front: Front
) -> None:
    front.need_login_counts()
    assert found["ASGI, None"] == {"logins": REQUESTS, "stay": REQUESTS}
    assert found["ASGI, 0"] == {"logins": REQUESTS, "stay": 0}


def test_djangos_pool_saves_the_logins_under_asgi(found: Found, front: Front) -> None:
    front.need_login_counts()
    assert found["ASGI, pool"]["logins"] <= 4 and found["ASGI, pool"]["stay"] <= 4
