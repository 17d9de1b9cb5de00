"""Symptoms of those who don't get in: troubleshooting.md, "Nobody answers" and "Refused"."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from tests.e2e.pools.clients import Connect, answer, send, value, wait_for_log
from tests.e2e.symptoms.conftest import Seen, Shop, refused
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import Pooler
from tests.fixtures.raw import RawClient, error_of

PASSWORD = {"auth_type": "scram-sha-256"}


def enters(pooler: Pooler, password: str = "secret", **parameters: Any) -> None:
    """User app gets in and is answered."""
    with closing(psycopg.connect(pooler.dsn("shop", "app", password, **parameters))) as client:
        assert client.execute("SELECT current_user").fetchone() == ("app",)


# Nobody answers


@pytest.mark.symptom("libpq: `Connection refused`")
def test_an_address_that_listen_addr_lacks_refuses(symptom: Seen, shop: Shop) -> None:
    local = shop()
    dsn = f"postgresql://app@127.0.0.2:{local.port}/shop"
    symptom.seen(refused(dsn))
    symptom.told(local)
    both = shop(listen_addr="127.0.0.1,127.0.0.2")
    psycopg.connect(f"postgresql://app@127.0.0.2:{both.port}/shop").close()


@pytest.mark.symptom("libpq: `could not translate host name … to address`")
def test_a_name_of_the_compose_file_is_none_on_the_host(symptom: Seen, shop: Shop) -> None:
    pooler = shop()
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(host="pgbouncer.invalid", port=pooler.port, user="app", dbname="shop")
    symptom.seen(caught.value)
    psycopg2.connect(host=pooler.host, port=pooler.port, user="app", dbname="shop").close()


@pytest.mark.symptom("libpq: `timeout expired`")
def test_a_login_that_waits_for_a_server_outlasts_connect_timeout(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1 pool_mode=session")
    holder = connect(pooler, "shop", "app")
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(pooler.dsn("shop", "app"), connect_timeout=1)
    symptom.seen(caught.value)
    pooler.databases["shop"] = pooler.databases["shop"].replace("=session", "=transaction")
    holder.close()
    pooler.reload()
    connect(pooler, "shop", "app")
    enters(pooler, connect_timeout=2)


@pytest.mark.symptom("A login hangs, then `query_wait_timeout`")
def test_a_session_pool_whose_clients_ask_nothing_is_full(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1 pool_mode=session", query_wait_timeout=0.2)
    idle = connect(pooler, "shop", "app")
    symptom.seen(refused(pooler.dsn("shop", "app")))
    idle.close()
    pooler.pgmux["session_link"] = "query"
    pooler.reload()
    connect(pooler, "shop", "app")
    enters(pooler)


# Refused


@pytest.mark.symptom("`no such database: …`")
def test_a_database_without_an_entry(symptom: Seen, shop: Shop) -> None:
    pooler = shop()
    symptom.seen(refused(pooler.dsn("store", "app")))
    symptom.told(pooler)
    pooler.databases["store"] = pooler.databases["shop"]
    pooler.reload()
    psycopg.connect(pooler.dsn("store", "app")).close()


@pytest.mark.symptom("PostgreSQL: `database … does not exist`")
def test_an_entry_whose_dbname_is_wrong(symptom: Seen, shop: Shop) -> None:
    pooler = shop()
    pooler.databases["shop"] = pooler.entry("")  # without dbname it is the entry's own name
    pooler.reload()
    symptom.seen(refused(pooler.dsn("shop", "app")))
    pooler.databases["shop"] = pooler.entry("dbname=postgres")
    pooler.reload()
    pooler.console("RECONNECT")
    enters(pooler)


@pytest.mark.symptom("`no such user: …`")
def test_a_user_that_auth_file_lacks(symptom: Seen, shop: Shop) -> None:
    pooler = shop(users={}, **PASSWORD)
    refused(pooler.dsn("shop", "app", "secret"))
    symptom.seen(pooler.log())
    symptom.told(pooler)
    pooler.users["app"] = "secret"
    pooler.reload()
    enters(pooler)


@pytest.mark.symptom("`SASL authentication failed`, `password authentication failed`")
def test_a_password_that_is_not_the_one_in_auth_file(symptom: Seen, shop: Shop) -> None:
    pooler = shop(**PASSWORD)
    symptom.seen(refused(pooler.dsn("shop", "app", "old")))
    pooler.settings["auth_type"] = "md5"
    pooler.reload()
    symptom.seen(refused(pooler.dsn("shop", "app", "old")))
    symptom.told(pooler)
    pooler.users["app"] = "old"
    pooler.reload()
    refused(pooler.dsn("shop", "app", "old"))  # now it isn't PostgreSQL's
    pooler.users["app"] = "secret"
    pooler.reload()
    enters(pooler)


@pytest.mark.symptom("`server login failed: … password authentication failed`")
def test_a_secret_of_auth_file_that_is_not_postgresqls(symptom: Seen, shop: Shop) -> None:
    pooler = shop(users={"app": "old"})
    refused(pooler.dsn("shop", "app", "old"))
    symptom.seen(pooler.log())
    symptom.told(pooler)
    pooler.users["app"] = "secret"
    pooler.reload()
    enters(pooler)


@pytest.mark.symptom("`server login failed: wrong password type`")
def test_an_md5_secret_before_a_server_that_asks_for_scram(
    symptom: Seen, shop: Shop, postgres: EmbeddedPostgres
) -> None:
    md5 = postgres.psql("SELECT 'md5' || md5('secret' || 'app')").strip()
    pooler = shop(users={"app": md5}, auth_type="md5")
    symptom.seen(refused(pooler.dsn("shop", "app", "secret")))
    symptom.told(pooler)
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'"
    pooler.users["app"] = postgres.psql(query).strip()
    pooler.reload()
    pooler.console("RECONNECT")
    enters(pooler)


@pytest.mark.symptom("libpq: `no password supplied`")
def test_a_passfile_that_names_postgresqls_port(symptom: Seen, shop: Shop, tmp_path: Path) -> None:
    pooler = shop(**PASSWORD)
    passfile = tmp_path / "pgpass"
    for port in (pooler.server.port, pooler.port):
        passfile.write_text(f"{pooler.host}:{port}:*:app:secret\n")
        passfile.chmod(0o600)
        dsn = f"host={pooler.host} port={pooler.port} user=app dbname=shop passfile={passfile}"
        if port == pooler.port:
            psycopg.connect(dsn).close()
        else:
            symptom.seen(refused(dsn))


@pytest.mark.symptom(
    "`unsupported startup parameter: …`, `unsupported startup parameter in options: …`"
)
def test_a_startup_parameter_that_nobody_follows(symptom: Seen, shop: Shop) -> None:
    pooler = shop()
    with pytest.raises(psycopg.OperationalError) as caught:
        enters(pooler, options="-c work_mem=8MB")
    symptom.seen(caught.value)
    pooler.pgmux["startup_parameters"] = "work_mem"
    pooler.reload()
    with closing(psycopg.connect(pooler.dsn("shop", "app", options="-c work_mem=8MB"))) as client:
        assert client.execute("SHOW work_mem").fetchone() == ("8MB",)
    symptom.seen(said_to_jdbc(pooler))
    pooler.settings["ignore_startup_parameters"] = "extra_float_digits"
    pooler.reload()
    assert said_to_jdbc(pooler) == ""


def said_to_jdbc(pooler: Pooler) -> str:
    """What pgjdbc would be told, which sends this at its login; nothing where it gets in."""
    startup = {"user": "app", "database": "shop", "extra_float_digits": "2"}
    with RawClient(pooler) as client:
        client.send(build.build_startup_message(startup))
        answer = client.read_until()
    return "" if answer[-1][0] == "Z" else error_of(answer).message


@pytest.mark.symptom("`not allowed`")
def test_a_user_that_the_console_does_not_know(symptom: Seen, shop: Shop) -> None:
    pooler = shop()
    symptom.seen(refused(pooler.dsn("pgbouncer", "app")))
    pooler.settings["stats_users"] = "app"
    pooler.reload()
    psycopg.connect(pooler.dsn("pgbouncer", "app")).close()


@pytest.mark.symptom("libpq: `server does not support SSL, but SSL was required`")
def test_a_client_that_insists_on_tls(symptom: Seen, shop: Shop, authority: Authority) -> None:
    pooler = shop()
    symptom.seen(refused(pooler.dsn("shop", "app", sslmode="require")))
    with_tls(pooler, authority, "allow")
    enters(pooler, sslmode="require")
    enters(pooler, sslmode="disable")


@pytest.mark.symptom("`SSL required`")
def test_a_client_without_tls_where_it_is_required(
    symptom: Seen, shop: Shop, authority: Authority
) -> None:
    pooler = shop()
    with_tls(pooler, authority, "require")
    symptom.seen(refused(pooler.dsn("shop", "app", sslmode="disable")))
    enters(pooler, sslmode="require")


def with_tls(pooler: Pooler, authority: Authority, mode: str) -> None:
    issued = authority.issue("localhost", "127.0.0.1")
    pooler.settings |= {
        "client_tls_sslmode": mode,
        "client_tls_cert_file": issued.cert_file,
        "client_tls_key_file": issued.key_file,
    }
    pooler.reload()


@pytest.mark.symptom("`no more connections allowed (max_client_conn)`")
def test_more_clients_than_max_client_conn(symptom: Seen, shop: Shop, connect: Connect) -> None:
    pooler = shop(max_client_conn=1)
    connect(pooler, "shop", "app")
    symptom.seen(refused(pooler.dsn("shop", "app")))
    symptom.told(pooler)
    pooler.settings["max_client_conn"] = 10
    pooler.reload()
    enters(pooler)


@pytest.mark.symptom("`server login has been failing, cached error: …`")
def test_a_port_where_no_postgresql_is(symptom: Seen, shop: Shop, connect: Connect) -> None:
    pooler = shop()
    first, second = (connect(pooler, "shop", "app") for _ in range(2))
    good = pooler.databases["shop"]
    pooler.databases["shop"] = good.replace(f"port={pooler.server.port}", "port=1")
    pooler.reload()
    send(first, "SELECT 'served'")
    wait_for_log(pooler, "cannot connect to")
    symptom.seen(value(second, "SELECT 1"))
    symptom.told(pooler)
    pooler.databases["shop"] = good
    pooler.reload()
    pooler.console("RECONNECT")
    assert answer(first) == "served"
    enters(pooler)
