"""What a container's variables become, without a container."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config import load_config, parse_userlist
from pgmux.ops.container import files
from pgmux.ops.container.backends import Backend
from pgmux.ops.container.environment import ContainerError
from pgmux.ops.container.prepare import Prepared, prepare


def run(directory: Path, *arguments: str, **environ: str) -> Prepared:
    command = ["pgbouncer", *arguments, str(directory / "pgbouncer.ini")]
    return prepare(environ, command, directory)


def ini(directory: Path) -> str:
    return (directory / "pgbouncer.ini").read_text()


def users(directory: Path) -> dict[str, str]:
    found, problems = parse_userlist((directory / "userlist.txt").read_text(), "userlist.txt")
    assert problems == ()
    return found


def problems_of(directory: Path, **environ: str) -> list[str]:
    with pytest.raises(ContainerError) as caught:
        run(directory, **environ)
    assert not (directory / "pgbouncer.ini").exists()
    return caught.value.problems


def test_a_database_by_separate_variables(tmp_path: Path) -> None:
    run(tmp_path, DB_HOST="db", DB_USER="app", DB_PASSWORD="it's: 100 %", DB_NAME="shop")
    assert "\nshop = host=db port=5432 auth_user=app\n" in ini(tmp_path)
    assert users(tmp_path) == {"app": "it's: 100 %"}


def test_the_defaults_are_those_of_edoburus_image(tmp_path: Path) -> None:
    run(tmp_path, DB_HOST="db")
    settings = load_config(str(tmp_path / "pgbouncer.ini"), lambda p: Path(p).read_text()).settings
    assert settings.listen_addr == ("0.0.0.0",)
    assert (settings.listen_port, settings.unix_socket_dir) == (5432, "")
    assert (settings.auth_type, settings.admin_users) == ("md5", ("postgres",))
    assert settings.ignore_startup_parameters == ("extra_float_digits",)
    assert "\n* = host=db port=5432 auth_user=postgres\n" in ini(tmp_path)


@pytest.mark.parametrize(
    ("url", "user", "password", "entry"),
    [
        ("postgres://u:p@db/shop", "u", "p", "shop = host=db port=5432"),
        ("postgresql://u:p@db:6000/shop", "u", "p", "shop = host=db port=6000"),
        ("postgresql+psycopg://u:p@db/shop", "u", "p", "shop = host=db port=5432"),
        ("postgres://u:p:q@db/shop", "u", "p:q", "shop = host=db port=5432"),
        ("postgres://u:p%40%2Fq%25@db/shop", "u", "p@/q%", "shop = host=db port=5432"),
        ("postgres://u:p@/q@db/shop", "u", "p@/q", "shop = host=db port=5432"),
        ("postgres://u%40h:p@db/my%20shop", "u@h", "p", "'my shop' = host=db port=5432"),
        ("postgres://u:p@db", "u", "p", "* = host=db port=5432"),
        ("postgres://u:p@[::1]:6000/shop", "u", "p", "shop = host=::1 port=6000"),
        ("postgres://u:p@a,b/shop", "u", "p", "shop = host=a,b port=5432"),
        ("postgres://u:p@%2Frun%2Fpg/shop", "u", "p", "shop = host=/run/pg port=5432"),
        ("postgres://u:p@/shop?host=/run/pg", "u", "p", "shop = host=/run/pg port=5432"),
    ],
)
def test_a_url_is_taken_apart_and_decoded(
    tmp_path: Path, url: str, user: str, password: str, entry: str
) -> None:
    run(tmp_path, DATABASE_URL=url)
    assert f"\n{entry} auth_user={user}" in ini(tmp_path)
    assert users(tmp_path) == {user: password}


def test_a_comma_ends_a_url_only_where_the_next_begins(tmp_path: Path) -> None:
    run(tmp_path, DATABASE_URLS="postgres://a:1,2@h1,h2/x, postgres://b:3@h3/y")
    assert users(tmp_path) == {"a": "1,2", "b": "3"}
    assert "\nx = host=h1,h2 port=5432 auth_user=a\ny = host=h3 port" in ini(tmp_path)


def test_what_a_url_says_of_tls_is_the_poolers_setting(tmp_path: Path) -> None:
    url = "postgres://u:p@db/shop?sslmode=verify-full&sslrootcert=/ca.pem&application_name=my%20app"
    run(tmp_path, DATABASE_URL=url)
    assert "\nserver_tls_sslmode = verify-full\nserver_tls_ca_file = /ca.pem\n" in ini(tmp_path)
    assert "application_name='my app'" in ini(tmp_path)


def test_a_variable_wins_over_the_url(tmp_path: Path) -> None:
    run(
        tmp_path,
        DATABASE_URLS="postgres://u@a/x?sslmode=require,postgres://u@b/y?sslmode=disable",
        SERVER_TLS_SSLMODE="prefer",
    )
    assert ini(tmp_path).count("server_tls_sslmode") == 1
    assert "server_tls_sslmode = prefer" in ini(tmp_path)


def test_urls_that_disagree_on_tls_are_refused(tmp_path: Path) -> None:
    urls = "postgres://u@a/x?sslmode=require,postgres://u@b/y?sslmode=disable"
    assert problems_of(tmp_path, DATABASE_URLS=urls) == [
        "DATABASE_URLS: server_tls_sslmode is one for all servers, and the URLs differ in it"
    ]


def test_a_url_that_is_no_utf8_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, DATABASE_URL="postgres://u:p@db1/caf%e9")
    assert problem.startswith("DATABASE_URL: ")


def test_what_only_other_clients_know_of_a_url_is_said_and_left_out(tmp_path: Path) -> None:
    url = "postgres://u:p@db/shop?schema=public&pgbouncer=true&connect_timeout=3"
    told = run(tmp_path, DATABASE_URL=url).warnings
    assert [line.split(" is ")[0] for line in told] == [
        "DATABASE_URL: ?schema=",
        "DATABASE_URL: ?pgbouncer=",
        "DATABASE_URL: ?connect_timeout=",
    ]


def test_pool_size_and_timezone_belong_to_the_databases(tmp_path: Path) -> None:
    # As keys of [pgbouncer], where edoburu's image puts them, they end the start.
    run(tmp_path, DB_HOST="db", POOL_SIZE="7", TIMEZONE="UTC", CLIENT_ENCODING="UTF8")
    assert "auth_user=postgres pool_size=7 timezone=UTC client_encoding=UTF8\n" in ini(tmp_path)
    load_config(str(tmp_path / "pgbouncer.ini"), lambda path: Path(path).read_text())


def test_every_setting_is_a_variable_and_the_prefix_wins(tmp_path: Path) -> None:
    run(
        tmp_path,
        DB_HOST="db",
        MAX_USER_CLIENT_CONNECTIONS="3",
        POOL_MODE="session",
        PGBOUNCER_POOL_MODE="transaction",
        QUERY_WAIT_NOTIFY="",  # empty is unset
    )
    assert "max_user_client_connections = 3" in ini(tmp_path)
    assert "pool_mode = transaction" in ini(tmp_path)
    assert "query_wait_notify" not in ini(tmp_path)


def test_the_shells_user_is_not_the_setting_user(tmp_path: Path) -> None:
    run(tmp_path, DB_HOST="db", USER="root", JOB_NAME="nightly")
    assert "user = root" not in ini(tmp_path)
    assert "job_name" not in ini(tmp_path)


def test_an_unknown_variable_with_the_prefix_is_named_and_its_neighbour(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        DB_HOST="db",
        PGBOUNCER_POOLMODE="session",
        PGBOUNCER_PORT="tcp://10.0.0.1:6432",  # Kubernetes, for a Service called pgbouncer
        PGBOUNCER_PORT_6432_TCP_ADDR="10.0.0.1",
        PGBOUNCER_SERVICE_HOST="10.0.0.1",
        PGBOUNCER_SERVICE_PORT_METRICS="9127",
    ).warnings
    assert told == [
        'PGBOUNCER_POOLMODE is no setting: ignored (did you mean "PGBOUNCER_POOL_MODE"?)'
    ]


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p:w\n")
    run(tmp_path, DB_HOST="db", DB_USER="app", DB_PASSWORD_FILE=str(tmp_path / "secret"))
    assert users(tmp_path) == {"app": "p:w"}


def test_a_setting_that_is_called_file_is_no_secret_file(tmp_path: Path) -> None:
    run(tmp_path, DB_HOST="db", AUTH_HBA_FILE="/etc/pgbouncer/hba.conf", CLIENT_TLS_KEY_FILE="/k")
    assert "auth_hba_file = /etc/pgbouncer/hba.conf" in ini(tmp_path)
    assert "client_tls_key_file = /k" in ini(tmp_path)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "no database: set DATABASE_URL, or DB_HOST and the like, or mount "),
        ({"DATABASE_URL": "mysql://u:topsecret@db/x"}, "DATABASE_URL: no URL like postgresql://"),
        ({"DATABASE_URL": "postgres://u:topsecret@db:port/x"}, "DATABASE_URL: the port isn't"),
        ({"DATABASE_URL": "postgres://u:topsecret@a:1,b:2/x"}, "DATABASE_URL: all hosts of a"),
        ({"DATABASE_URL": "postgres://u:topsecret@/x"}, "DATABASE_URL: no host"),
        (
            {"DATABASE_URLS": "postgres://u:topsecret@a/x,postgres://u:topsecret@b/x"},
            "DATABASE_URLS: two URLs for database 'x'",
        ),
        ({"DB_HOST": "db", "DB_NAME": "it's"}, "a name is empty, or holds a single quote"),
        ({"DB_HOST": "db", "MAX_CLIENT_CONN": "many"}, "MAX_CLIENT_CONN: not a value of max_cl"),
        ({"DB_HOST": "db", "POOL_SIZE": "many"}, "POOL_SIZE: not a value of pool_size"),
        ({"DB_HOST": "db", "DB_PORT": "tcp://10.0.0.1:5432"}, "DB_PORT: the port isn't a number"),
        ({"DATABASE_URL": "postgres://u:topsecret@h/d%0A[x]"}, "DATABASE_URL: more than one line"),
        ({"DATABASE_URL": "postgres://h/d?password=topsecret%00"}, "DATABASE_URL: more than one"),
        ({"DB_HOST": "db\nhost=evil"}, "DB_HOST: more than one line"),
        ({"DB_HOST": "db", "DB_PASSWORD": "topsecret\n"}, "DB_PASSWORD: more than one line"),
        ({"DB_HOST": "db", "DB_PASSWORD_FILE": "/no/file"}, "DB_PASSWORD_FILE: cannot read /no/f"),
        (
            {"DB_HOST": "db", "DB_PASSWORD": "topsecret", "DB_PASSWORD_FILE": "/dev/null"},
            "both DB_PASSWORD and DB_PASSWORD_FILE are set",
        ),
    ],
)
def test_what_is_wrong_is_said_by_variable_and_nothing_is_written(
    tmp_path: Path, environ: dict[str, str], problem: str
) -> None:
    (found,) = problems_of(tmp_path, **environ)
    assert found.startswith(problem)
    assert "topsecret" not in found


def test_a_mounted_ini_stays_as_it_is_and_missing_users_are_added(tmp_path: Path) -> None:
    (tmp_path / "pgbouncer.ini").write_text("[pgbouncer]\npool_mode = session\n")
    (tmp_path / "userlist.txt").write_text('"app" "kept"')
    run(tmp_path, POOL_MODE="transaction", DB_HOST="db", DB_USER="app", DB_PASSWORD="new")
    run(tmp_path, POOL_MODE="transaction", DB_HOST="db", DB_USER='o"k', DB_PASSWORD='n"w')
    assert ini(tmp_path) == "[pgbouncer]\npool_mode = session\n"
    assert users(tmp_path) == {"app": "kept", 'o"k': 'n"w'}


def test_the_second_start_finds_what_the_first_has_written(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgres://u:p@db/shop"}
    first = run(tmp_path, **environ)
    assert len(first.told) == 2
    assert run(tmp_path, **environ).told == []


def test_variables_that_an_ini_which_is_there_outdoes_are_named(tmp_path: Path) -> None:
    run(tmp_path, DB_HOST="db", POOL_MODE="session", VERBOSE="1")
    assert run(tmp_path, POOL_MODE="session", VERBOSE="1").warnings == []
    (warning,) = run(tmp_path, POOL_MODE="transaction", VERBOSE="1", LOG_STATS="0").warnings
    assert "is there already, so variables don't count: log_stats, pool_mode (" in warning


def test_files_that_hold_passwords_are_for_the_account_alone(tmp_path: Path) -> None:
    run(tmp_path, DB_HOST="db", DB_USER="app", DB_PASSWORD="x")
    for name in ("pgbouncer.ini", "userlist.txt"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_variables_are_laid_over_a_mounted_ini_on_request(tmp_path: Path) -> None:
    mounted = (
        "[databases]\npool_mode = host=x\n[pgbouncer]\npool_mode = session\nverbose = 1\n\n[users]"
    )
    (tmp_path / "pgbouncer.ini").write_text(mounted)
    prepared = run(tmp_path, "-q", PGB_ENV_OVERRIDES="1", POOL_MODE="transaction")
    assert ini(tmp_path) == mounted
    copy = Path(prepared.command[-1])
    assert prepared.command[:-1] == ["pgbouncer", "-q"]
    assert copy.read_text() == (
        "[databases]\npool_mode = host=x\n"
        "[pgbouncer]\nverbose = 1\npool_mode = transaction\n\n[users]"
    )
    copy.unlink()
    copy.parent.rmdir()


def test_where_no_copy_can_be_written_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pgbouncer.ini").write_text("[pgbouncer]\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "read-only"))
    with pytest.raises(ContainerError, match="no place for the copy"):
        run(tmp_path, PGB_ENV_OVERRIDES="1", POOL_MODE="transaction")


def test_a_plus_in_a_url_is_a_plus(tmp_path: Path) -> None:
    run(tmp_path, DATABASE_URL="postgres://u:p+q@db/a+b?application_name=c+d%20e")
    assert "\n'a+b' = host=db port=5432 auth_user=u application_name='c+d e'\n" in ini(tmp_path)
    assert users(tmp_path) == {"u": "p+q"}


def test_an_ini_without_the_main_section_cant_be_laid_over(tmp_path: Path) -> None:
    (tmp_path / "pgbouncer.ini").write_text("%include /other.ini\n")
    with pytest.raises(ContainerError, match=r"there is no section \[pgbouncer\]"):
        run(tmp_path, PGB_ENV_OVERRIDES="1", POOL_MODE="transaction")


def test_a_command_that_reads_no_ini_needs_no_variables(tmp_path: Path) -> None:
    assert prepare({}, ["psql", "--version"], tmp_path).command == ["psql", "--version"]
    assert list(tmp_path.iterdir()) == []


PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@given(user=PRINTABLE, password=PRINTABLE)
def test_whatever_a_name_or_password_holds_is_read_back_as_it_was(user: str, password: str) -> None:
    backend = Backend("shop", "db", "5432", user, password, {}, {})
    text = files.user_lines("", {user: password})
    if len(user.encode()) < 60:
        assert parse_userlist(text, "userlist.txt") == ({user: password}, ())
    config = load_config("x.ini", lambda path: files.ini_text([backend], {}, {}))
    assert config.databases["shop"].auth_user == user
