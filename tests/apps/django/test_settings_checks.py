"""Each system check fires where it should and is silent where it shouldn't, in both Djangos."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.apps.django.conftest import HERE, Django

SECRET = "hunter2 secret"
PG = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": "pool",
    "PORT": "5432",
    "NAME": "shop",
    "USER": "app",
    "PASSWORD": SECRET,
}
# Behind a pooler, with nothing to be said about it.
FINE = PG | {
    "PORT": "6432",
    "CONN_MAX_AGE": 300,
    "CONN_HEALTH_CHECKS": True,
    "DISABLE_SERVER_SIDE_CURSORS": True,
}
DIRECT = PG | {"HOST": "db", "TEST": {"MIRROR": "default"}}
ASGI = {"server": "asgi"}
POOL = {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 0, "max_size": 4}}}


def pooled(**changes: Any) -> dict[str, Any]:
    return {"default": FINE | changes, "direct": DIRECT}


def options(**values: Any) -> dict[str, Any]:
    return pooled(OPTIONS=values)


def asks(pooler: object) -> dict[str, Any]:
    return {"aliases": {"default": {"pooler": pooler}}}


def without(*names: str) -> dict[str, Any]:
    return {k: v for k, v in FINE.items() if k not in names}


# What the settings say; what is found: the ids without "pgmux.".
CASES: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    # nobody goes through a pooler
    "startproject's SQLite": ({"default": {"ENGINE": "django.db.backends.sqlite3"}}, {}, {}, ""),
    "no database at all": ({}, {}, {}, ""),
    "a default without ENGINE": ({"default": {}}, {}, {}, ""),
    "PostgreSQL as it is": ({"default": PG}, {}, {}, ""),
    "everything on PostgreSQL": (
        {
            "default": PG
            | {"CONN_MAX_AGE": None, "OPTIONS": {"assume_role": "x", "options": "-c a=b"}}
        },
        {},
        {},
        "",
    ),
    "MySQL on a pooler's port": ({"default": {"ENGINE": "django.db.backends.mysql"}}, {}, {}, ""),
    "an engine that isn't installed here, not the default": (
        {"default": PG, "erp": {"ENGINE": "mssql", "PORT": 6432}},
        {},
        {},
        "",
    ),
    # what says that somebody does
    "as it should be": (pooled(), {}, {}, ""),
    "port 6543": ({"default": without("CONN_MAX_AGE") | {"PORT": 6543}}, {}, {}, "W001 W030"),
    "no port, PGPORT": (
        {"default": {**without("PORT"), "CONN_MAX_AGE": 0}, "direct": DIRECT},
        {},
        {"environment": {"PGPORT": "6432"}},
        "W001",
    ),
    "PGMUX says no": ({"default": PG | {"PORT": 6432}}, asks(False), {}, ""),
    "PGMUX says yes": ({"default": PG | {"CONN_MAX_AGE": 9}}, asks(True), {}, "W003 W010 W030"),
    "USE_PGBOUNCER": ({"default": PG}, {}, {"use_pgbouncer": True}, "W001 W010 W030"),
    "USE_PGBOUNCER, as a variable": (
        {"default": PG},
        {},
        {"environment": {"USE_PGBOUNCER": "yes"}},
        "W001 W010 W030",
    ),
    "USE_PGBOUNCER is false": ({"default": PG | {"PORT": 6432}}, {}, {"use_pgbouncer": False}, ""),
    "USE_PGBOUNCER, and a port says whom": (pooled(), {}, {"use_pgbouncer": True}, ""),
    "USE_PGBOUNCER, an alias beside it": (
        {"default": FINE | {"PORT": 5432}, "direct": DIRECT},
        {},
        {"use_pgbouncer": True},
        "",
    ),
    # how long connections are kept
    "CONN_MAX_AGE 0": (pooled(CONN_MAX_AGE=0), {}, {}, "W001"),
    "CONN_MAX_AGE below 0": (pooled(CONN_MAX_AGE=-1), {}, {}, "W001"),
    "CONN_MAX_AGE 0, lazily": (pooled(CONN_MAX_AGE={"lazy": 0}), {}, {}, "W001"),
    "CONN_MAX_AGE 0 under ASGI": (pooled(CONN_MAX_AGE=0), ASGI, {}, ""),
    "CONN_MAX_AGE 0, and a pool": (pooled(**POOL), {}, {}, ""),
    "CONN_MAX_AGE under ASGI": (pooled(), ASGI, {}, "W002"),
    "CONN_MAX_AGE, ASGI_APPLICATION": (pooled(), {}, {"looks_like_asgi": True}, "W002"),
    "that, but PGMUX says WSGI": (pooled(), {"server": "wsgi"}, {"looks_like_asgi": True}, ""),
    "CONN_MAX_AGE None under gevent": (
        pooled(CONN_MAX_AGE=None),
        {"server": "gevent"},
        {},
        "W002",
    ),
    "no health checks": (pooled(CONN_HEALTH_CHECKS=False), {}, {}, "W003"),
    "no health checks of a pool": (pooled(**POOL, CONN_HEALTH_CHECKS=False), {}, {}, "W003"),
    "no health checks, nothing kept": (
        pooled(CONN_HEALTH_CHECKS=False, CONN_MAX_AGE=0),
        ASGI,
        {},
        "",
    ),
    "flags as texts": (pooled(CONN_HEALTH_CHECKS="False", AUTOCOMMIT="1"), {}, {}, "W004 W004"),
    "a pool below the threads": (pooled(**POOL), {"threads": 8}, {}, "W005"),
    "that, lazily": (pooled(**POOL), {"threads": {"lazy": 8}}, {}, "W005"),
    "pool: True, four threads": (
        pooled(CONN_MAX_AGE=0, OPTIONS={"pool": True}),
        {"threads": 4},
        {},
        "",
    ),
    "pool: True, five threads": (
        pooled(CONN_MAX_AGE=0, OPTIONS={"pool": True}),
        {"threads": 5},
        {},
        "W005",
    ),
    "no autocommit": (pooled(AUTOCOMMIT=False), {}, {}, "W006"),
    "a pool and CONN_MAX_AGE": (pooled(**POOL | {"CONN_MAX_AGE": 60}), {}, {}, "E003"),
    "that on PostgreSQL": ({"default": PG | POOL | {"CONN_MAX_AGE": None}}, {}, {}, "E003"),
    "a pool of less than none": (
        pooled(CONN_MAX_AGE=0, OPTIONS={"pool": {"min_size": 5, "max_size": 2}}),
        {},
        {},
        "E004",
    ),
    "a pool of none": (
        pooled(CONN_MAX_AGE=0, OPTIONS={"pool": {"min_size": 0}}),
        {},
        {},
        "E004",
    ),
    "a pool of words": (
        pooled(CONN_MAX_AGE=0, OPTIONS={"pool": {"max_size": "10"}}),
        {"threads": 3},
        {},
        "E004",
    ),
    "a pool's unknown word": (
        pooled(CONN_MAX_AGE=0, OPTIONS={"pool": {"maxsize": 4}}),
        {},
        {},
        "E004",
    ),
    # what belongs to a session
    "server-side cursors": (pooled(DISABLE_SERVER_SIDE_CURSORS=False), {}, {}, "W010"),
    "options": (options(options="-c statement_timeout=30s"), {}, {}, "W011"),
    "options to PgBouncer": (
        options(options="-c statement_timeout=30s"),
        asks("pgbouncer"),
        {},
        "W011",
    ),
    "options to pgmux": (
        options(options="-c statement_timeout=30s --lock-timeout=1s -cTimeZone=UTC"),
        asks("pgmux"),
        {},
        "",
    ),
    "options that pgmux refuses": (options(options="-c work_mem=64MB"), asks("pgmux"), {}, "W011"),
    "a role": (options(assume_role="owner"), asks("pgmux"), {}, "W012"),
    "prepared statements": (
        options(prepare_threshold=0, server_side_binding=True),
        {},
        {},
        "W013",
    ),
    "prepared statements, pgmux": (
        options(prepare_threshold=5, server_side_binding=True),
        asks("pgmux"),
        {},
        "",
    ),
    "a threshold that Django doesn't use": (options(prepare_threshold=5), {}, {}, ""),
    "bound by the server, not prepared": (options(server_side_binding=True), {}, {}, ""),
    "a role with an apostrophe": (options(assume_role="o'hara"), {}, {}, "W012"),
    # who logs in, and what others may read
    "TLS off, this machine": (
        pooled(HOST="localhost", OPTIONS={"sslmode": "disable"}),
        {},
        {},
        "",
    ),
    "TLS off, the next container": (options(sslmode="disable"), {}, {}, ""),
    "TLS off, another host": (
        pooled(HOST="db.example.com", OPTIONS={"sslmode": "disable"}),
        {},
        {},
        "W020",
    ),
    "TLS if you like, another host": (pooled(HOST="10.0.0.9"), {}, {}, "W021"),
    "TLS allowed": (pooled(HOST="fd00::9", OPTIONS={"sslmode": "allow"}), {}, {}, "W021"),
    "TLS if you like, a host that colours": (pooled(HOST="\x1b[31mdb.example.com"), {}, {}, "W021"),
    "TLS": (pooled(HOST="10.0.0.9", OPTIONS={"sslmode": "verify-full"}), {}, {}, ""),
    "a socket": (pooled(HOST="/var/run/postgresql"), {}, {}, ""),
    "loopback": (pooled(HOST="::1"), {}, {}, ""),
    "postgres": (pooled(USER="postgres"), {}, {}, "W022"),
    "no password": (pooled(PASSWORD=""), {}, {}, "W023"),
    "a password's file": (
        pooled(PASSWORD="", OPTIONS={"passfile": "/run/secrets/pgpass"}),
        {},
        {},
        "",
    ),
    "PGPASSWORD": (pooled(PASSWORD=""), {}, {"environment": {"PGPASSWORD": SECRET}}, ""),
    "no password at a socket": (pooled(PASSWORD="", HOST="/run/pgmux"), {}, {}, ""),
    # what bypasses the pooler
    "nothing bypasses": ({"default": FINE}, {}, {}, "W030"),
    "a name of its own": (
        {"default": FINE, "owner": DIRECT},
        {"aliases": {"default": {"direct": "owner"}}},
        {},
        "",
    ),
    "direct to the same place": (
        {"default": FINE, "direct": FINE | {"TEST": {"MIRROR": "default"}}},
        {"aliases": {"direct": {"pooler": False}}},
        {},
        "W031",
    ),
    "direct to another pooler": (
        {"default": FINE, "direct": FINE | {"HOST": "pool2", "TEST": {"MIRROR": "default"}}},
        {},
        {},
        "W031",
    ),
    "direct, and tests": ({"default": FINE, "direct": PG | {"HOST": "db"}}, {}, {}, "W032"),
}

NONSENSE: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "PGMUX is a text": ({"default": PG}, "yes", {}, "E001"),
    "PGMUX is a list": ({"default": PG}, [1], {}, "E001"),
    "PGMUX is None": ({"default": PG}, None, {}, ""),
    "PGMUX is a lazy text": ({"default": PG}, {"lazy": "yes"}, {}, "E001"),
    "an unknown key": ({"default": PG}, {"alias": {}}, {}, "E001"),
    "an unknown alias": ({"default": PG}, {"aliases": {"defualt": {}}}, {}, "E001"),
    "an alias of another engine": (
        {"default": {"ENGINE": "django.db.backends.sqlite3"}},
        asks(True),
        {},
        "E001",
    ),
    "aliases is a list": ({"default": PG}, {"aliases": ["default"]}, {}, "E001"),
    "an alias is a text": ({"default": PG}, {"aliases": {"default": "pgmux"}}, {}, "E001"),
    "an unknown pooler": ({"default": PG}, asks("odyssey"), {}, "E001"),
    "1 is not True": ({"default": PG}, asks(1), {}, "E001"),
    "direct of itself": (
        {"default": PG},
        {"aliases": {"default": {"direct": "default"}}},
        {},
        "E001",
    ),
    "direct is nowhere": (pooled(), {"aliases": {"default": {"direct": "x"}}}, {}, "E001"),
    "an unknown server": ({"default": PG}, {"server": "ASGI"}, {}, "E001"),
    "no processes": ({"default": PG}, {"processes": 0}, {}, "E001"),
    "processes as a text": ({"default": PG}, {"processes": "4", "threads": 1.5}, {}, "E001 E001"),
    "USE_PGBOUNCER=maybe": (
        {"default": PG},
        {},
        {"environment": {"USE_PGBOUNCER": "maybe"}},
        "E001",
    ),
    "USE_PGBOUNCER is a URL": (
        {"default": PG},
        {},
        {"environment": {"USE_PGBOUNCER": f"postgresql://u:{SECRET}@h/db"}},
        "E001",
    ),
    "DATABASES is a URL": (f"postgresql://u:{SECRET}@h/db", {}, {}, "E002"),
    "an alias is a URL": ({"default": f"postgresql://u:{SECRET}@h/db"}, {}, {}, "E002"),
    "an ENGINE that isn't there": ({"default": PG | {"ENGINE": "no.such"}}, {}, {}, "E002"),
    "an ENGINE that is a URL": (
        {"default": PG | {"ENGINE": f"postgresql://u:{SECRET}@h/db"}},
        {},
        {},
        "E002",
    ),
    "an ENGINE that is a number": ({"default": PG | {"ENGINE": 5}}, {}, {}, "E002"),
    "a port that is a word": ({"default": PG | {"PORT": "pool"}}, {}, {}, "E002"),
    "a port too large": ({"default": PG | {"PORT": 70000}}, {}, {}, "E002"),
    "CONN_MAX_AGE as a text": ({"default": PG | {"CONN_MAX_AGE": "60"}}, {}, {}, "E002"),
    "CONN_MAX_AGE as 'None'": (pooled(CONN_MAX_AGE="None"), ASGI, {}, "E002"),
    "OPTIONS is a text": ({"default": PG | {"OPTIONS": f"password={SECRET}"}}, {}, {}, "E002"),
    "OPTIONS is None": ({"default": PG | {"OPTIONS": None}}, {}, {}, "E002"),
    "TEST is a list": ({"default": PG | {"TEST": []}}, {}, {}, "E002"),
    "pool is a number": ({"default": PG | {"OPTIONS": {"pool": 5}}}, {}, {}, "E002"),
}

Message = list[str]  # id, place, message, hint


def read_all(django: Django, driver: str = "psycopg") -> list[list[Message]]:
    """What is found in every case, by one process."""
    cases = [case[:3] for case in (CASES | NONSENSE).values()]
    done = django.run(str(HERE / "read_settings.py"), driver, stdin=json.dumps(cases))
    assert done.returncode == 0, done.stderr
    found: list[list[Message]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="session")
def found(django: Django, once: Callable[..., Any]) -> Mapping[str, list[Message]]:
    """What is found in each case."""
    read = once(f"settings-{Path(django.python).parents[1].name}", lambda: read_all(django))
    return dict(zip(CASES | NONSENSE, read, strict=True))


@pytest.mark.parametrize("case", [*CASES, *NONSENSE])
def test_a_check_fires_where_it_should_and_only_there(
    found: Mapping[str, list[Message]], case: str
) -> None:
    ids = [message[0].removeprefix("pgmux.") for message in found[case]]
    assert " ".join(sorted(ids)) == (CASES | NONSENSE)[case][3]


def test_every_check_of_the_settings_is_among_the_cases(django5: Django) -> None:
    of_settings = {rule[-4:] for rule in django5.rules() if int(rule[-3:]) < 100}
    expected = {each for case in (CASES | NONSENSE).values() for each in case[3].split()}
    # by tests of their own: psycopg2, and a backend that isn't installed
    assert of_settings - expected == {"E005", "W014"}


def test_a_message_names_the_place_says_what_to_write_and_shows_no_password(
    found: Mapping[str, list[Message]],
) -> None:
    for case, messages in found.items():
        for _, place, message, hint in messages:
            assert place.startswith(("DATABASES", "PGMUX", "USE_PGBOUNCER")), case
            assert message.endswith((".", "'")) and hint, (case, message)
            assert "hunter2" not in message + hint, case
            assert (place + message + hint).isprintable(), case


def test_a_message_says_why_its_alias_is_taken_for_pooled(
    found: Mapping[str, list[Message]],
) -> None:
    assert "(its port is 6543)" in found["port 6543"][0][2]
    assert "(PGMUX says so)" in found["PGMUX says yes"][0][2]
    assert "(USE_PGBOUNCER is true)" in found["USE_PGBOUNCER"][0][2]


def test_options_that_are_dropped_come_with_the_statements_that_do_the_same(
    found: Mapping[str, list[Message]],
) -> None:
    ((_, _, message, hint),) = found["options"]
    assert "has statement_timeout" in message
    assert hint.endswith("ALTER ROLE app IN DATABASE shop SET statement_timeout = '30s';")


def test_a_roles_name_is_quoted_in_the_statement_that_sets_it(
    found: Mapping[str, list[Message]],
) -> None:
    hint = found["a role with an apostrophe"][0][3]
    assert hint.endswith("ALTER ROLE app IN DATABASE shop SET role = 'o''hara';")


def test_the_alias_that_is_proposed_for_large_reads_reads_them_in_chunks(
    found: Mapping[str, list[Message]],
) -> None:
    hint = found["nothing bypasses"][0][3]
    proposed = hint.partition(" | ")[2].partition(" with ")[0].replace("…", '"db"')
    assert json.loads(proposed.replace("False", "false")) == {
        "HOST": "db",
        "PORT": "5432",
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": False,
        "TEST": {"MIRROR": "default"},
    }


def test_nonsense_is_named_with_what_is_accepted(found: Mapping[str, list[Message]]) -> None:
    ((_, place, message, _),) = found["an unknown pooler"]
    assert place == "PGMUX['aliases']['default']['pooler']"
    assert message == f"{place} is 'odyssey'; accepted are True, False, pgmux, pgbouncer."
    ((_, _, message, hint),) = found["CONN_MAX_AGE as a text"]
    assert "DATABASES['default']['CONN_MAX_AGE'] is '60', and no number;" in message
    assert "int(os.environ[" in hint


def test_what_only_psycopg_3_takes_is_an_error_with_psycopg2(django5: Django) -> None:
    found = dict(zip(CASES | NONSENSE, read_all(django5, "psycopg2"), strict=True))
    for case in ("CONN_MAX_AGE 0, and a pool", "prepared statements"):
        assert "pgmux.E005" in {message[0] for message in found[case]}, case
    assert found["as it should be"] == []


def test_a_backend_that_sets_search_path_is_named(django: Django) -> None:
    source = (
        "import sys, types, django.db.backends.postgresql.base as base;"
        "sys.modules['django_tenants.postgresql_backend.base'] = base;"
        "sys.modules['django_tenants'] = sys.modules['django_tenants.postgresql_backend'] ="
        " types.ModuleType('x');"
        "from pgmux_apps.django.project import read_project;"
        "from pgmux_apps.django.checks import messages_of;"
        f"a = dict({pooled()!r}); a['default']['ENGINE'] = 'django_tenants.postgresql_backend';"
        "print([m.id for m in messages_of(read_project(a, {})[0])])"
    )
    assert django.run("-c", source).stdout.strip() == "['pgmux.W014']"
