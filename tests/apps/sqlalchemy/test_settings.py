"""An engine's settings out of environment variables: what each variable does, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, QueuePool

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy import get_db_connect_args, get_db_url, get_sqlalchemy_pool_config
from tests.apps.sqlalchemy.test_database_url import NASTY, TEXT

DRIVERS = ["psycopg", "psycopg_async", "psycopg2", "asyncpg"]
SYNC, ASYNC = ["psycopg", "psycopg2"], ["psycopg", "psycopg_async", "asyncpg"]
PARTS = {"POSTGRES_USER": "trader", "POSTGRES_PASSWORD": "trader123", "POSTGRES_DB": "mt5_trading"}
ONE_URL = {"DATABASE_URL": "postgresql://app:secret@db:6432/shop"}

THRESHOLDS = (
    "an integer from 1 to 1000000 is accepted, or 0 or off for never, or always for at once"
)


def url_of(environ: Mapping[str, str], **how: Any) -> URL:
    return make_url(get_db_url(environ, **how))


def query_of(driver: str, query: str) -> dict[str, Any]:
    """What is left of a URL's query for the driver."""
    return dict(url_of({"DATABASE_URL": f"postgresql://db/shop?{query}"}, driver=driver).query)


def refusal(environ: Mapping[str, str], **how: Any) -> str:
    """The error of the first of the three that can't use these variables."""
    with pytest.raises(SettingError) as caught:
        get_db_url(environ, **how)
        get_sqlalchemy_pool_config(environ, **how)
        get_db_connect_args(environ, **how)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


# Where the database is


def test_the_documents_variables_make_the_documents_url() -> None:
    url = "postgresql+psycopg://trader:trader123@pgbouncer:5432/mt5_trading"
    assert get_db_url(PARTS) == url
    assert get_db_url({**PARTS, "USE_PGBOUNCER": "true"}) == url


def test_without_a_pooler_it_is_postgres_host() -> None:
    assert url_of({**PARTS, "USE_PGBOUNCER": "false"}).host == "localhost"
    environ = {**PARTS, "POSTGRES_HOST": "db", "PGBOUNCER_HOST": "pooler"}
    assert url_of({**environ, "USE_PGBOUNCER": "false"}).host == "db"
    assert url_of(environ, use_pgbouncer=False).host == "db"
    assert url_of({**environ, "USE_PGBOUNCER": "false"}, use_pgbouncer=True).host == "pooler"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"POSTGRES_HOST": "front"}, ("front", None)),
        ({"POSTGRES_HOST": "front", "POSTGRES_PORT": "6432"}, ("front", 6432)),
        ({"POSTGRES_HOST": "db", "PGBOUNCER_HOST": "front"}, ("front", 6432)),
        ({"POSTGRES_HOST": "db", "PGBOUNCER_HOST": "front:7"}, ("front", 7)),
        ({"PGBOUNCER_HOST": "front", "PGBOUNCER_PORT": "5432"}, ("front", 5432)),
        ({"POSTGRES_HOST": "db", "PGBOUNCER_PORT": "6432"}, ("db", 6432)),
        ({"PGBOUNCER_HOST": "f", "PGBOUNCER_PORT": "tcp://10.0.0.7:6433"}, ("f", 6433)),
        ({"POSTGRES_HOST": "db", "PGBOUNCER_PORT": "tcp://10.0.0.7:6433"}, ("db", None)),
        ({"POSTGRES_HOST": "db", "POSTGRES_PORT": "tcp://10.0.0.7:5433"}, ("db", 5433)),
    ],
)
def test_the_pooler_is_where_pgbouncer_host_says_or_postgres_host(
    variables: Mapping[str, str], place: tuple[str, int | None]
) -> None:
    url = url_of({**PARTS, **variables})
    assert (url.host, url.port) == place


def test_pgbouncer_host_takes_the_place_of_a_urls_hosts() -> None:
    environ = {
        "DATABASE_URL": "postgresql://app:secret@db1,db2/shop?sslmode=require",
        "PGBOUNCER_HOST": "front",
    }
    assert get_db_url(environ) == (
        "postgresql+psycopg://app:secret@front:6432/shop?sslmode=require"
    )
    assert "db1" in get_db_url(environ, use_pgbouncer=False)


def test_a_service_of_kubernetes_does_not_change_a_url() -> None:
    # set in every container where a Service has the name pgbouncer, asked for by nobody
    environ = {**ONE_URL, "PGBOUNCER_PORT": "tcp://10.0.0.7:9999"}
    assert url_of(environ).port == 6432


@pytest.mark.parametrize("name", ["DATABASE_DIRECT_URL", "DIRECT_URL", "DIRECT_DATABASE_URL"])
def test_past_the_pooler_a_direct_url_counts(name: str) -> None:
    environ = {**ONE_URL, name: "postgres://owner:other@direct/shop", "DB_DIRECT_PORT": "1"}
    assert url_of(environ).host == "db"
    assert get_db_url(environ, use_pgbouncer=False) == (
        "postgresql+psycopg://owner:other@direct/shop"
    )


def test_past_the_pooler_the_direct_port_counts() -> None:
    environ = {**ONE_URL, "DB_DIRECT_PORT": "5432"}
    assert url_of(environ).port == 6432
    assert url_of(environ, use_pgbouncer=False).port == 5432
    assert url_of({**PARTS, "DB_DIRECT_PORT": "5433"}, use_pgbouncer=False).port == 5433


def test_what_postgres_leaves_out_is_as_in_its_images() -> None:
    assert get_db_url({"POSTGRES_PASSWORD": "x"}) == (
        "postgresql+psycopg://postgres:x@pgbouncer:5432/postgres"
    )
    assert url_of({"POSTGRES_USER": "app"}).database == "app"
    assert url_of({"POSTGRES_USER": "app"}).password is None


def test_the_url_counts_before_the_parts() -> None:
    assert get_db_url({**PARTS, **ONE_URL}) == "postgresql+psycopg://app:secret@db:6432/shop"


def test_a_url_without_a_password_takes_its_users(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    environ = {"DATABASE_URL": "postgresql://app@db/shop", "POSTGRES_PASSWORD_FILE": str(file)}
    assert url_of(environ).password == "hunter2"
    assert url_of({**environ, "POSTGRES_USER": "app"}).password == "hunter2"
    assert url_of({**environ, "POSTGRES_USER": "other"}).password is None


def test_secrets_may_be_files(tmp_path: Path) -> None:
    contents = {"POSTGRES_USER": "u\n", "POSTGRES_PASSWORD": "p \r\n", "POSTGRES_DB": "d\n"}
    environ = {"POSTGRES_HOST": "db"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode())
        environ[f"{name}_FILE"] = str(tmp_path / name)
    url = url_of(environ)
    assert (url.username, url.password, url.database) == ("u", "p ", "d")
    (tmp_path / "url").write_text("postgresql://a:b@c/d\n")
    assert url_of({"DATABASE_URL_FILE": str(tmp_path / "url")}).host == "c"


@pytest.mark.parametrize("driver", DRIVERS)
@given(user=TEXT, password=TEXT, database=TEXT)
@example(user=NASTY, password=NASTY, database=NASTY)
def test_names_and_passwords_come_out_as_they_went_in(
    driver: str, user: str, password: str, database: str
) -> None:
    parts = {"POSTGRES_USER": user, "POSTGRES_PASSWORD": password, "POSTGRES_DB": database}
    encoded = [quote(each, safe="") for each in (user, password, database)]
    for environ in (parts, {"DATABASE_URL": "postgres://{}:{}@db/{}".format(*encoded)}):
        url = url_of(environ, driver=driver)
        assert (url.username, url.password) == (user, password)
        _, arguments = url.get_dialect()().create_connect_args(url)
        assert (arguments["user"], arguments["password"]) == (user, password)
        assert database in (arguments.get("database"), arguments.get("dbname"))


# Which driver, and what it takes of a URL


def test_the_driver_is_the_one_asked_for_or_the_urls_or_psycopg() -> None:
    assert get_db_url(ONE_URL).startswith("postgresql+psycopg://")
    environ = {"DATABASE_URL": "postgresql+asyncpg://db/shop"}
    assert get_db_url(environ).startswith("postgresql+asyncpg://")
    assert get_db_url(environ, driver="psycopg2").startswith("postgresql+psycopg2://")


def test_where_only_psycopg2_is_installed_it_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pgmux_apps.sqlalchemy.drivers.find_spec", lambda name: name == "psycopg2" or None
    )
    assert get_db_url(ONE_URL).startswith("postgresql+psycopg2://")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("h1:6432", "h1", 6432),
        ("[::1]:6432", "::1", 6432),
        ("%2Frun%2Fpg:6432", "/run/pg", 6432),
        ("%2Frun%2Fpg", "/run/pg", None),
        ("h1:1,h2:2", ["h1", "h2"], [1, 2]),
        ("h1,h2:2", ["h1", "h2"], [5432, 2]),
        ("[::1]:1,%2Frun%2Fpg:2", ["::1", "/run/pg"], [1, 2]),
    ],
)
def test_every_driver_gets_the_hosts_as_it_wants_them(
    driver: str, place: str, host: object, port: object
) -> None:
    url = url_of({"DATABASE_URL": f"postgresql://app:secret@{place}/shop"}, driver=driver)
    _, arguments = url.get_dialect()().create_connect_args(url)
    if driver != "asyncpg" and isinstance(host, list) and isinstance(port, list):
        host, port = ",".join(host), ",".join(map(str, port))
    assert arguments.get("host") == host
    assert str(arguments.get("port")) == str(port)


def test_sslmode_is_ssl_for_asyncpg_and_the_other_way_round() -> None:
    assert query_of("asyncpg", "sslmode=verify-full") == {"ssl": "verify-full"}
    assert query_of("psycopg", "ssl=verify-full") == {"sslmode": "verify-full"}
    assert query_of("psycopg2", "sslmode=require") == {"sslmode": "require"}


def test_asyncpg_gets_in_a_dsn_what_it_reads_nowhere_else() -> None:
    query = query_of("asyncpg", "sslmode=verify-ca&sslrootcert=/a%20b.pem&options=-c%20x%3D1")
    dsn = query.pop("dsn")
    assert query == {"ssl": "verify-ca"}
    assert parse_qs(dsn.removeprefix("postgresql://?"), strict_parsing=True) == {
        "sslrootcert": ["/a b.pem"],
        "options": ["-c x=1"],
    }


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_plugins_parameters_stay_in_the_url(driver: str) -> None:
    query = query_of(driver, "plugin=pgmux&pool_name=api&plugin=other")
    assert query == {"plugin": ("pgmux", "other"), "pool_name": "api"}


def test_what_only_asyncpg_has_does_not_reach_the_others() -> None:
    theirs = "prepared_statement_cache_size=0&command_timeout=5&async_fallback=true&timeout=3"
    assert query_of("psycopg", theirs) == {"connect_timeout": "3"}
    assert query_of("asyncpg", theirs) == {
        "prepared_statement_cache_size": "0",
        "async_fallback": "true",
    }


def test_what_asyncpg_cannot_do_is_refused_by_name() -> None:
    environ = {
        "DATABASE_URL": "postgresql://u:hunter2@db/x?sslmode=require&channel_binding=require"
    }
    assert "channel_binding=require" in get_db_url(environ, driver="psycopg")
    assert refusal(environ, driver="asyncpg") == (
        "DATABASE_URL: asyncpg has no channel_binding: take it out, or use psycopg"
    )


# The pool


def test_with_a_pooler_the_pool_is_small() -> None:
    config = get_sqlalchemy_pool_config({})
    assert config == {
        "pool_size": 5,
        "max_overflow": 10,
        "pool_timeout": 10,
        "pool_recycle": 1800,
        "pool_pre_ping": True,
        "pool_use_lifo": True,
        "echo_pool": False,
    }
    assert get_sqlalchemy_pool_config({"USE_PGBOUNCER": "1"}) == config


def test_without_a_pooler_it_is_large() -> None:
    config = get_sqlalchemy_pool_config({"USE_PGBOUNCER": "off"})
    assert config == {
        "pool_size": 20,
        "max_overflow": 30,
        "pool_timeout": 30,
        "pool_recycle": 3600,
        "pool_pre_ping": True,
        "pool_use_lifo": True,
        "echo_pool": False,
    }
    assert get_sqlalchemy_pool_config({}, use_pgbouncer=False) == config


@pytest.mark.parametrize("driver", [None, *DRIVERS])
def test_each_variable_sets_what_it_is_named_after(driver: str | None) -> None:
    environ = {
        "DB_POOL_SIZE": "7",
        "DB_MAX_OVERFLOW": "-1",
        "DB_POOL_TIMEOUT": "2.5",
        "DB_POOL_RECYCLE": "-1",
        "DB_POOL_PRE_PING": "no",
        "DB_ECHO_POOL": "debug",
    }
    config = get_sqlalchemy_pool_config(environ, driver=driver)
    assert config == {
        "pool_size": 7,
        "max_overflow": -1,
        "pool_timeout": 2.5,
        "pool_recycle": -1,
        "pool_pre_ping": False,
        "pool_use_lifo": True,
        "echo_pool": "debug",
    }
    assert get_sqlalchemy_pool_config({"DB_ECHO_POOL": "true"})["echo_pool"] is True


def test_a_nullpool_has_no_sizes() -> None:
    config = get_sqlalchemy_pool_config({"DB_POOL_CLASS": "NullPool", "DB_POOL_SIZE": "3"})
    assert config["poolclass"] is NullPool
    assert not {"pool_size", "max_overflow", "pool_timeout", "pool_use_lifo"} & set(config)
    assert "poolclass" not in get_sqlalchemy_pool_config({"DB_POOL_CLASS": "QueuePool"})


# Arguments for connecting


@pytest.mark.parametrize(
    "text", ["0", "off", "none", "None", "null", "no", "false", "never", "disabled"]
)
def test_a_threshold_of_zero_turns_preparing_off(text: str) -> None:
    environ = {**ONE_URL, "DB_PREPARE_THRESHOLD": text}
    for pooled in (True, False):
        off = get_db_connect_args(environ, driver="psycopg", use_pgbouncer=pooled)
        assert off["prepare_threshold"] is None
        off = get_db_connect_args(environ, driver="asyncpg", use_pgbouncer=pooled)
        assert off["statement_cache_size"] == off["prepared_statement_cache_size"] == 0


@pytest.mark.parametrize(("text", "threshold"), [("always", 0), ("Always", 0), ("1", 1), ("5", 5)])
def test_preparing_can_be_turned_on(text: str, threshold: int) -> None:
    environ = {**ONE_URL, "DB_PREPARE_THRESHOLD": text}
    on = get_db_connect_args(environ, driver="psycopg")
    assert on["prepare_threshold"] == threshold
    assert get_db_connect_args(environ, driver="psycopg_async") == on
    assert get_db_connect_args(environ, driver="asyncpg") == {"timeout": 10}


def test_who_has_a_url_from_elsewhere_needs_none_here() -> None:
    off = {"DB_PREPARE_THRESHOLD": "0"}
    assert get_db_connect_args(off) == {"connect_timeout": 10, "prepare_threshold": None}
    assert get_db_connect_args(off, driver="psycopg2") == {"connect_timeout": 10}
    assert get_db_connect_args({"PGBOUNCER_HOST": "front"}, driver="asyncpg")["timeout"] == 10


def test_without_a_word_about_it_preparing_is_off_behind_a_pooler_alone() -> None:
    assert get_db_connect_args(ONE_URL) == {"connect_timeout": 10, "prepare_threshold": None}
    assert get_db_connect_args(ONE_URL, use_pgbouncer=False) == {"connect_timeout": 10}
    assert get_db_connect_args(ONE_URL, driver="asyncpg") == {
        "timeout": 10,
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
    }
    assert get_db_connect_args(ONE_URL, driver="asyncpg", use_pgbouncer=False) == {"timeout": 10}


@pytest.mark.parametrize("text", ["", "0", "always", "5"])
def test_psycopg2_gets_nothing_that_it_refuses(text: str) -> None:
    environ = {**ONE_URL, "DB_PREPARE_THRESHOLD": text}
    assert get_db_connect_args(environ, driver="psycopg2") == {"connect_timeout": 10}


def test_the_timeout_is_the_variables_or_the_urls_or_ten_seconds() -> None:
    environ = {"DATABASE_URL": "postgresql://db/shop?connect_timeout=3"}
    assert get_db_connect_args(environ)["connect_timeout"] == 3
    assert get_db_connect_args(environ, driver="asyncpg")["timeout"] == 3
    environ["DB_CONNECT_TIMEOUT"] = "7"
    assert get_db_connect_args(environ)["connect_timeout"] == 7
    assert get_db_connect_args(environ, driver="asyncpg")["timeout"] == 7


def test_a_fraction_of_a_second_in_the_url_is_not_without_end() -> None:
    environ = {"DATABASE_URL": "postgresql+asyncpg://db/shop?timeout=0.5"}
    assert get_db_connect_args(environ, driver="psycopg")["connect_timeout"] == 1
    assert get_db_connect_args(environ)["timeout"] == 1


def test_a_timeout_of_zero_is_none_for_every_driver() -> None:
    environ = {**ONE_URL, "DB_CONNECT_TIMEOUT": "0"}
    assert get_db_connect_args(environ, driver="psycopg2")["connect_timeout"] == 0
    assert get_db_connect_args(environ, driver="asyncpg")["timeout"] is None


def test_asyncpg_gets_numbers_that_a_url_gives_as_text() -> None:
    url = "postgresql+asyncpg://db/shop?statement_cache_size=7&command_timeout=2.5&timeout=4"
    assert get_db_connect_args({"DATABASE_URL": url}) == {
        "statement_cache_size": 7,  # the URL asks for it
        "prepared_statement_cache_size": 0,
        "command_timeout": 2.5,
        "timeout": 4,
    }
    off = get_db_connect_args({"DATABASE_URL": url, "DB_PREPARE_THRESHOLD": "0"})
    assert off["statement_cache_size"] == 0


# Engines


@pytest.mark.parametrize("pool_class", ["", "NullPool"])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("driver", SYNC)
def test_create_engine_takes_all_of_it(driver: str, pooled: bool, pool_class: str) -> None:
    how: dict[str, Any] = {"driver": driver, "use_pgbouncer": pooled}
    environ = {**ONE_URL, "DB_POOL_CLASS": pool_class}
    engine = create_engine(
        get_db_url(environ, **how),
        **get_sqlalchemy_pool_config(environ, **how),
        connect_args=get_db_connect_args(environ, **how),
    )
    assert engine.driver == driver
    assert type(engine.pool) is (NullPool if pool_class else QueuePool)


@pytest.mark.parametrize("pool_class", ["", "NullPool"])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("driver", ASYNC)
def test_create_async_engine_takes_the_same(driver: str, pooled: bool, pool_class: str) -> None:
    how: dict[str, Any] = {"driver": driver, "use_pgbouncer": pooled}
    environ = {**ONE_URL, "DB_POOL_CLASS": pool_class}
    engine = create_async_engine(
        get_db_url(environ, **how),
        **get_sqlalchemy_pool_config(environ, **how),
        connect_args=get_db_connect_args(environ, **how),
    )
    assert type(engine.pool) is (NullPool if pool_class else AsyncAdaptedQueuePool)
    asyncio.run(engine.dispose())


# Nonsense


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("USE_PGBOUNCER", "2", "true or false (1, 0, yes, no, on, off) is accepted"),
        ("DB_POOL_SIZE", "0", "an integer from 1 to 10000 is accepted"),
        ("DB_POOL_SIZE", "five", "an integer from 1 to 10000 is accepted"),
        ("DB_MAX_OVERFLOW", "-2", "an integer from -1 to 10000 is accepted"),
        ("DB_POOL_TIMEOUT", "10s", "seconds from 0 to 86400, without a unit"),
        ("DB_POOL_RECYCLE", "0", "an integer from 1 to 31536000 is accepted, or -1 for never"),
        ("DB_POOL_RECYCLE", "-2", "an integer from 1 to 31536000 is accepted, or -1 for never"),
        ("DB_POOL_PRE_PING", "maybe", "true or false (1, 0, yes, no, on, off) is accepted"),
        ("DB_POOL_CLASS", "StaticPool", "queuepool, nullpool are accepted"),
        ("DB_ECHO_POOL", "info", "true or false (1, 0, yes, no, on, off) is accepted, or debug"),
        ("DB_CONNECT_TIMEOUT", "1.5", "an integer from 0 to 86400 is accepted"),
        ("DB_PREPARE_THRESHOLD", "sometimes", THRESHOLDS),
        ("DB_PREPARE_THRESHOLD", "-1", THRESHOLDS),
    ],
)
def test_nonsense_is_refused_by_name_with_what_is_accepted(
    name: str, text: str, message: str
) -> None:
    assert refusal({**ONE_URL, name: text}) == f"{name}={text!r}: {message}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("POSTGRES_HOST", "postgresql://app:hunter2@db/shop"),
        ("POSTGRES_HOST", "app:hunter2@db"),
        ("POSTGRES_HOST", "db:hunter2"),
        ("POSTGRES_PORT", "hunter2"),
        ("POSTGRES_PORT", "1,2"),
        ("POSTGRES_USER", "hunter2\0"),
        ("POSTGRES_PASSWORD", "hunter2\0"),
        ("POSTGRES_PASSWORD", "hunter2\udcff"),
        ("POSTGRES_DB", "hunter2\udcff"),
        ("POSTGRES_PASSWORD_FILE", "hunter2"),
        ("PGBOUNCER_HOST", "http://hunter2"),
        ("PGBOUNCER_PORT", "hunter2"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "postgresql://app:hunter2@db/x?connect_timeout=hunter2"),
        ("DATABASE_URL", "postgresql://app:hunter2@db/x?sslmode=hunter2"),
        ("DATABASE_URL", "postgresql://app:hunter2@db/x?prepare_threshold=hunter2"),
        ("DATABASE_URL", "postgresql+asyncpg://app:hunter2@db/x?statement_cache_size=hunter2"),
        ("DATABASE_URL", "postgresql+asyncpg://app:hunter2@db/x?command_timeout=nan"),
        ("DATABASE_DIRECT_URL", "hunter2"),
        ("DIRECT_URL", "hunter2"),
        ("DIRECT_DATABASE_URL", "hunter2"),
        ("DB_DIRECT_PORT", "hunter2"),
    ],
)
def test_what_may_hold_a_password_is_refused_without_its_value(name: str, text: str) -> None:
    direct = "DIRECT" in name
    environ = {"POSTGRES_HOST": "db", name: text}
    message = refusal(environ, use_pgbouncer=not direct)
    assert message.startswith(f"{name}")
    assert "hunter2" not in message


def test_nothing_at_all_is_refused_with_what_could_be_set() -> None:
    assert refusal({"POSTGRES_PORT": "tcp://10.0.0.7:5432"}) == (
        "DATABASE_URL is not set, nor are POSTGRES_HOST, POSTGRES_USER, POSTGRES_PASSWORD and "
        "POSTGRES_DB: DATABASE_URL=postgresql://user:password@host:port/database is accepted"
    )


def test_a_driver_that_is_not_known_is_refused() -> None:
    message = "driver='pg8000': psycopg, psycopg_async, psycopg2, asyncpg are accepted"
    assert refusal(ONE_URL, driver="pg8000") == message
    with pytest.raises(SettingError, match="pg8000"):
        get_sqlalchemy_pool_config({}, driver="pg8000")


@given(st.dictionaries(st.sampled_from(["DATABASE_URL", "POSTGRES_HOST", "DB_POOL_SIZE"]), TEXT))
def test_whatever_is_set_the_only_error_is_a_settings(environ: dict[str, str]) -> None:
    for get in (get_db_url, get_sqlalchemy_pool_config, get_db_connect_args):
        for driver in DRIVERS:
            try:
                get(environ, driver=driver)
            except SettingError as error:
                assert error.__context__ is None
