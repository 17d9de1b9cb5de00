"""`manage.py pgmux_check` asks real poolers, and says what it couldn't ask."""

from __future__ import annotations

import json
import os
import pty
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.apps.django.conftest import Django
from tests.apps.django.fronts import Front, alias, pgbouncer_front, pgmux_front
from tests.fixtures.certificates import Authority

USER, PASSWORD = "shopkeeper", "hunter2 secret"
LOOKER = "looker"
GOOD = {
    "USER": USER,
    "PASSWORD": PASSWORD,
    "CONN_MAX_AGE": 300,
    "CONN_HEALTH_CHECKS": True,
    "DISABLE_SERVER_SIDE_CURSORS": True,
}
OPTIONS = {"options": "-c statement_timeout=30000 -c lock_timeout=1s"}
USERS = {USER: PASSWORD, LOOKER: "looking"}

Check = Callable[..., "Checked"]


class Checked:
    """What one run said."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.stdout)
        return said

    @property
    def ids(self) -> str:
        """The messages' numbers, as "I101 W001"."""
        return " ".join(sorted(m["id"].removeprefix("pgmux.") for m in self.said["messages"]))

    def message(self, number: str) -> str:
        """Of that id, with its hint."""
        (found,) = (m for m in self.said["messages"] if m["id"] == f"pgmux.{number}")
        return f"{found['message']} {found['hint']}"


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.psql(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
    postgres.psql(f"CREATE DATABASE django_check OWNER {USER}")
    yield "django_check"
    postgres.psql("DROP DATABASE django_check WITH (FORCE)")
    postgres.psql(f"DROP ROLE {USER}")


@pytest.fixture(scope="module")
def pgmux(postgres: EmbeddedPostgres) -> Iterator[Front]:
    with pgmux_front(postgres, USERS, stats_users=f"{USER},{LOOKER}") as front:
        yield front


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[Front]:
    options = {"stats_users": LOOKER, "ignore_startup_parameters": "options"}
    with pgbouncer_front(postgres, USERS, **options) as front:
        yield front


@pytest.fixture
def check(postgres: EmbeddedPostgres, database: str) -> Check:
    """`check(django, front, "--json", more settings of default=…)`; its direct alias is right."""

    def run(
        django: Django,
        front: Front | EmbeddedPostgres,
        *arguments: str,
        pgmux: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        direct: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> Checked:
        mirror = {"TEST": {"MIRROR": "default"}}
        databases = {
            "default": alias(front.host, front.port, database, **(GOOD | changes)),
            "direct": alias(postgres.host, postgres.port, database)
            | mirror
            | {"USER": USER, "PASSWORD": PASSWORD}
            | dict(direct or {}),
        }
        said = {"aliases": {"default": {"pooler": True}}} if pgmux is None else pgmux
        project = {"DATABASES": databases, "PGMUX": said} | dict(settings or {})
        environ = {"PROJECT": json.dumps(project)} | dict(env or {})
        done = django.manage("pgmux_check", *arguments, **environ)
        assert "Traceback" not in done.stderr, done.stderr
        assert "hunter2" not in done.stdout + done.stderr
        return Checked(done.returncode, done.stdout, done.stderr)

    return run


def test_a_project_that_is_right_is_told_so(django: Django, pgmux: Front, check: Check) -> None:
    found = check(django, pgmux, "--json", OPTIONS=OPTIONS)
    assert (found.code, found.ids, found.said["failed"]) == (0, "", False)
    default, direct = (found.said["aliases"][name] for name in ("default", "direct"))
    assert default["pooler"] == "pgmux" and default["pool_mode"] == "transaction"
    assert default["pooler_version"].startswith("PgBouncer 1.25")
    assert default["facts"]["options: statement_timeout"] == "30s, in force"
    assert (default["is_pooled"], direct["is_pooled"]) == (True, False)
    assert 0 < default["query_seconds"] < default["login_seconds"]
    assert "asking default at 127.0.0.1" in found.stderr
    assert "asking the console at 127.0.0.1" in found.stderr


def test_people_get_a_table_with_rich_and_without(
    django: Django, pgmux: Front, check: Check
) -> None:
    found = check(django, pgmux, "--verbosity", "0", CONN_MAX_AGE=0)
    assert f"default: django_check at 127.0.0.1:{pgmux.port}" in found.stdout
    assert "pool_mode" in found.stdout and "transaction" in found.stdout
    assert "(pgmux.W001)" in found.stdout and "HINT: Write" in found.stdout
    assert found.stdout.rstrip().endswith("Messages: 1 (0 silenced).")
    assert found.stderr == ""


def test_an_older_pgbouncer_that_drops_options_is_found_out(
    django: Django, pgbouncer: Front, check: Check
) -> None:
    found = check(
        *(django, pgbouncer, "--json", "--console-user", LOOKER),
        env={"PGMUX_CONSOLE_PASSWORD": "looking"},
        OPTIONS=OPTIONS,
    )
    assert found.said["aliases"]["default"]["pooler"] == "PgBouncer"
    old = "" if pgbouncer.version == "PgBouncer 1.25.2" else "W102 "
    assert found.ids == f"I102 W011 {old}W107"
    assert "statement_timeout is '0', not '30s'" in found.message("W107")
    assert "ALTER ROLE shopkeeper IN DATABASE django_check" in found.message("W107")


def test_what_the_console_would_say_is_said_to_be_unknown(
    django5: Django, pgbouncer: Front, check: Check
) -> None:
    found = check(django5, pgbouncer, "--json")
    assert (found.code, found.ids) == (0, "I100")
    default = found.said["aliases"]["default"]
    assert default["is_pooled"] is True  # by the process id
    assert default["pooler"] is None and default["pool_mode"] is None
    assert default["unknown"][0].startswith("what the pooler is and is set to: ")
    assert f"as {USER}" in default["unknown"][0]


def test_options_that_are_refused_are_an_error_and_the_rest_is_asked(
    django5: Django, postgres: EmbeddedPostgres, check: Check
) -> None:
    with pgbouncer_front(postgres, USERS, stats_users=USER) as strict:
        found = check(django5, strict, "--json", OPTIONS=OPTIONS)
    assert found.code == 1 and found.said["failed"]
    assert "unsupported startup parameter" in found.message("E100")
    assert "SET lock_timeout = '1s'" in found.message("E100")
    assert found.said["aliases"]["default"]["pool_mode"] == "transaction"


def test_nobody_there_is_an_error(django5: Django, pgmux: Front, check: Check) -> None:
    port = find_free_port()
    found = check(django5, pgmux, "--json", PORT=port)
    assert (found.code, found.ids) == (1, "E100")
    assert f"127.0.0.1:{port}" in found.message("E100")
    wrong = check(django5, pgmux, "--json", PASSWORD="hunter2 as well")
    assert (wrong.code, wrong.ids) == (1, "E100")


def test_a_pool_without_a_free_server_is_an_error_and_its_console_answers(
    django5: Django, postgres: EmbeddedPostgres, database: str, check: Check
) -> None:
    with pgmux_front(postgres, USERS, stats_users=USER, default_pool_size=1) as front:
        dsn = f"host={front.host} port={front.port} dbname={database} user={USER}"
        with psycopg.connect(dsn, password=PASSWORD) as other:
            other.execute("SELECT 1")  # and holds the server
            arguments = ("--json", "--timeout", "1", "--console-user", USER)
            env = {"PGMUX_CONSOLE_PASSWORD": PASSWORD}
            found = check(django5, front, *arguments, env=env, OPTIONS=OPTIONS)
            assert interrupted(django5, front.alias(database, **GOOD)) == (130, "")
    assert (found.code, found.ids) == (1, "E100")
    assert "no answer within 1 s: no server is free" in found.message("E100")
    assert found.said["aliases"]["default"]["pool_mode"] == "transaction"


def interrupted(django: Django, default: Mapping[str, Any]) -> tuple[int, str]:
    """The exit code and what stderr has after ^C, while the database doesn't answer."""
    process = django.start("manage.py", "pgmux_check", PROJECT=json.dumps(projects(default)))
    assert process.stderr is not None
    assert process.stderr.readline().startswith("asking default")
    process.send_signal(signal.SIGINT)
    _, more = process.communicate(timeout=30)
    return process.returncode, more


def projects(default: Mapping[str, Any]) -> dict[str, Any]:
    """A project of one alias, which is taken for pooled."""
    return {
        "DATABASES": {"default": default},
        "PGMUX": {"aliases": {"default": {"pooler": True}}},
    }


def test_a_narrow_terminal_without_colour_is_kept_to(
    django5: Django, pgmux: Front, database: str
) -> None:
    default = pgmux.alias(database, **GOOD | {"CONN_MAX_AGE": 0})
    env = {"PROJECT": json.dumps(projects(default)), "COLUMNS": "40", "NO_COLOR": "1"}
    ours, theirs = pty.openpty()
    process = django5.start("manage.py", "pgmux_check", "-v", "0", stdout=theirs, **env)
    os.close(theirs)
    shown = everything_at(ours)
    assert process.wait() == 0
    table = [line for line in shown.splitlines() if line.startswith(("┌", "│", "└"))]
    assert "(pgmux.W001)" in shown and "\x1b" not in shown
    assert len(table) > 10 and {len(line) for line in table} == {40}


def everything_at(terminal: int) -> str:
    """What is written to it until nobody has it open."""
    shown = b""
    with suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as file:
        while read := file.read(4096):
            shown += read
    return shown.decode()


def test_a_console_that_lies_is_no_danger_to_the_terminal_or_to_numbers(django5: Django) -> None:
    source = (
        "from pgmux_apps.django.live.ask import _filled\n"
        "from pgmux_apps.django.live.facts import number\n"
        "row = _filled({'a': '9' * 5000, 'b': '\\x1b[2J\\nfine', 'c': None})\n"
        "print(number(row, 'a'), row['b'], repr(row['c']))"
    )
    assert django5.run("-c", source).stdout == "0 \ufffd[2J\ufffdfine ''\n"


def test_who_stops_reading_gets_no_traceback(django5: Django) -> None:
    command = f"{django5.python} manage.py pgmux_check | true"
    assert Django("sh").run("-c", command).stderr == ""


def test_a_pooler_with_tls_is_asked_as_the_alias_says(
    django5: Django, postgres: EmbeddedPostgres, authority: Authority, check: Check
) -> None:
    certificate = authority.issue("127.0.0.1")
    tls = {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": certificate.cert_file,
        "client_tls_key_file": certificate.key_file,
    }
    verified = {"sslmode": "verify-full", "sslrootcert": str(authority.ca_file)}
    with pgmux_front(postgres, USERS, stats_users=USER, **tls) as front:
        found = check(django5, front, "--json", OPTIONS=verified)
    assert found.ids == ""
    assert found.said["aliases"]["default"]["pooler"] == "pgmux"


def test_with_psycopg2_it_is_the_same(
    django5: Django, pgmux: Front, database: str, check: Check
) -> None:
    source = (
        "import sys; sys.modules['psycopg'] = None; sys.argv[0] = 'manage.py'\n"
        "exec(open('manage.py').read())"
    )
    databases = {"default": alias(pgmux.host, pgmux.port, database, **GOOD, OPTIONS=OPTIONS)}
    project = {"DATABASES": databases, "PGMUX": {"aliases": {"default": {"pooler": "pgmux"}}}}
    done = django5.run(
        *("-c", source, "pgmux_check", "--json"), env={"PROJECT": json.dumps(project)}
    )
    found = Checked(done.returncode, done.stdout, done.stderr)
    assert found.ids == "W030", done.stderr
    facts = found.said["aliases"]["default"]["facts"]
    assert facts["options: statement_timeout"] == "30s, in force"


def test_postgres_itself_in_the_poolers_place_is_found_out(
    django5: Django, postgres: EmbeddedPostgres, check: Check
) -> None:
    found = check(django5, postgres, "--json")
    assert found.ids.split() == ["W031", "W100"]
    assert "PostgreSQL itself answers" in found.message("W100")


def test_a_pooler_that_the_settings_dont_tell_of_is_found_out(
    django5: Django, pgmux: Front, check: Check
) -> None:
    found = check(django5, pgmux, "--json", pgmux={}, CONN_HEALTH_CHECKS=False)
    assert found.ids == "W003 W101"
    assert '{"default": {"pooler": "pgmux"}}' in found.message("W101")


def test_a_direct_alias_that_arrives_at_a_pooler_or_elsewhere_is_found_out(
    django5: Django, pgmux: Front, pgbouncer: Front, check: Check
) -> None:
    pooled = check(django5, pgmux, "--json", direct={"PORT": pgbouncer.port})
    assert "W112" in pooled.ids.split()
    other = check(django5, pgmux, "--json", direct={"NAME": "postgres"})
    assert other.ids == "W113"


def test_limits_and_modes_are_held_against_the_settings(
    django5: Django, postgres: EmbeddedPostgres, check: Check
) -> None:
    settings = {
        "stats_users": USER,
        "pool_mode": "session",
        "client_idle_timeout": 60,
        "max_client_conn": 20,
        "query_wait_timeout": 0,
        "default_pool_size": 500,
        "max_prepared_statements": 0,
    }
    both = {"prepare_threshold": 5, "server_side_binding": True}
    with pgmux_front(postgres, USERS, **settings) as front:
        session = check(
            *(django5, front, "--json", "--processes", "4", "--threads", "8"),
            CONN_HEALTH_CHECKS=False,
            OPTIONS=both,
        )
        assert session.ids == "W003 W103 W105 W106 W110 W111"
        assert "32 connections (4 processes × 8 threads)" in session.message("W106")
        assert "may open 500 servers" in session.message("W110")
        front.settings |= {"pool_mode": "transaction"}
        front.reload()
        transaction = check(django5, front, "--json", OPTIONS=both)
        assert "W104" in transaction.ids.split() and "W103" not in transaction.ids.split()
        front.settings |= {"pool_mode": "statement"}
        front.reload()
        statement = check(django5, front, "--json")
        assert statement.code == 1 and "E101" in statement.ids.split()


def test_a_role_that_somebody_left_on_a_server_is_seen(
    django5: Django, postgres: EmbeddedPostgres, database: str, check: Check
) -> None:
    postgres.psql(f"GRANT pg_read_all_stats TO {USER}")
    with pgmux_front(postgres, USERS, stats_users=USER) as front:
        dsn = f"host={front.host} port={front.port} dbname={database} user={USER}"
        with psycopg.connect(dsn, password=PASSWORD, autocommit=True) as other:
            other.execute("SET ROLE pg_read_all_stats")
        found = check(django5, front, "--json")
    assert found.ids == "W108"
    assert "'pg_read_all_stats'" in found.message("W108")


def test_a_superuser_is_known_by_rights_not_by_name(
    django5: Django, pgmux: Front, check: Check
) -> None:
    found = check(
        django5, pgmux, "--json", USER="postgres", PASSWORD="postgres", direct={"USER": USER}
    )
    assert found.ids == "W109"  # and not W022 besides


def test_calls_of_iterator_are_pointed_at_where_they_may_fail(
    django5: Django, pgmux: Front, check: Check
) -> None:
    found = check(django5, pgmux, "--json", DISABLE_SERVER_SIDE_CURSORS=False)
    assert found.ids == "I101 W010"
    assert "shop/reports.py:9." in found.message("I101")  # the one in atomic() isn't


def test_the_fail_level_and_what_is_silenced_decide_on_the_exit_code(
    django5: Django, pgmux: Front, check: Check
) -> None:
    warned = check(django5, pgmux, "--json", "--fail-level", "WARNING", CONN_MAX_AGE=0)
    assert (warned.code, warned.ids) == (1, "W001")
    silenced = {"SILENCED_SYSTEM_CHECKS": ["pgmux.W001"]}
    quiet = check(django5, pgmux, "--fail-level", "WARNING", CONN_MAX_AGE=0, settings=silenced)
    assert quiet.code == 0
    assert quiet.stdout.rstrip().endswith("Messages: 0 (1 silenced).")


def test_only_the_aliases_that_are_named_are_asked(
    django5: Django, pgmux: Front, check: Check
) -> None:
    found = check(django5, pgmux, "--json", "--database", "direct")
    assert list(found.said["aliases"]) == ["direct"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--threads", "0"), "'0' isn't an integer from 1 to 100000"),
        (("--timeout", "-1"), "'-1' isn't a number of seconds"),
        (("--processes", "many"), "'many' isn't an integer"),
        (("--database", "nowhere"), "--database nowhere: the aliases are default"),
        (("--fail-level", "LOUD"), "invalid choice: 'LOUD'"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    django5: Django, arguments: tuple[str, ...], said: str
) -> None:
    done = django5.manage("pgmux_check", *arguments)
    assert done.returncode == 2 and said in done.stderr


def test_other_engines_arent_asked(django: Django) -> None:
    done = django.manage("pgmux_check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Messages: 0" in done.stdout
    named = django.manage("pgmux_check", "--database", "default")
    assert "default: not a PostgreSQL alias, so not asked." in named.stdout
