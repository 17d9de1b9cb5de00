"""No SHOW prints a secret, wherever the files hold one; nor does an error or the log."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from pgmux.admin.show import TABLES
from tests.e2e.pools.clients import Connect, value
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.postgres import Role

SECRETS = (
    *("userlist-secret", "database-secret", "connect-secret", "ldap-secret", "ldap quoted secret"),
    *("wrong-secret", "md5" + "a" * 32, "new-secret"),
)
OPTIONS = 'ldapbasedn=o ldapserver=a ldapbindpasswd="ldap quoted secret" ldapport=389'


@pytest.fixture
def configured(pooler: MakePooler, create_role: Callable[..., Role]) -> Pooler:
    """With a secret wherever there can be one."""
    role, password = create_role(password="database-secret")
    login = f"dbname=postgres user={role} password={password}"
    return pooler(
        databases={"db": f"{login} connect_query='select ''connect-secret'''"},
        settings={
            "auth_type": "md5",
            "admin_users": "boss",
            "auth_ldap_options": "ldapbindpasswd=ldap-secret ldapserver=a ldapbasedn=o",
            "verbose": 2,
        },
        users={"boss": "userlist-secret", "hashed": "md5" + "a" * 32},
    )


def test_no_show_no_error_and_no_log_line_has_a_secret(
    configured: Pooler, connect: Connect
) -> None:
    assert value(connect(configured, "db", "boss"), "SELECT 1") == "1"
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(configured.dsn("db", "boss", "wrong-secret"))
    shown = []
    with psycopg.connect(configured.dsn("pgbouncer", "boss"), autocommit=True) as console:
        for name in (*TABLES, "ALL"):
            shown.append(repr(console.execute(f"SHOW {name}".encode()).fetchall()))
        for options in (OPTIONS, OPTIONS.replace(" ldapport=389", "")):
            console.execute(f"SET auth_ldap_options = '{options}'".encode())
            shown.append(repr(console.execute("SHOW CONFIG").fetchall()))
        for path, line in (
            ("pgbouncer.ini", "[databases]\nbroken = password='new-secret host=127.0.0.1"),
            ("userlist.txt", '"broken" "new-secret'),
        ):
            configured.write_configuration()
            with (configured.directory / path).open("a") as file:
                file.write(f"{line}\n")
            with pytest.raises(psycopg.Error, match=path) as refused:
                console.execute("RELOAD")
            shown.append(str(refused.value))
    shown.append(configured.log())
    assert "ldapbindpasswd=" in shown[list(TABLES).index("config")]
    found = [(secret, text) for secret in SECRETS for text in shown if secret in text]
    assert found == []
