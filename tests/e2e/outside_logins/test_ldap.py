"""auth_type = ldap, against a real slapd; and against one that never answers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.pooler import is_listening
from pgmux.wire import build
from tests.e2e.outside_logins.conftest import PASSWORD, LogIn, SilentServer
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of
from tests.fixtures.slapd import READER, READER_PASSWORD, SUFFIX, Slapd
from tests.fixtures.waiting import wait_until

FAILED = "LDAP authentication failed"
READ_BY = f'ldapbinddn="{READER}" ldapbindpasswd="{READER_PASSWORD}"'
SEARCH = f'ldapbasedn="{SUFFIX}" {READ_BY}'
SIMPLE = f'ldapprefix="uid=" ldapsuffix=",{SUFFIX}"'
BoundLogin = Callable[..., RawClient]


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> Iterator[None]:
    """libldap trusts the tests' authority; its own settings say so, as an operator would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDAPTLS_CACERT", str(authority.ca_file))
        yield


class Front:
    """A pooler, and a console that stays open: with some options nobody is let in any more."""

    def __init__(self, pooler: Pooler, slapd: Slapd) -> None:
        self.pooler = pooler
        self._place = f"ldapserver={slapd.host} ldapport={slapd.port}"
        self._console = psycopg.connect(pooler.dsn("pgbouncer"), autocommit=True)

    def use(self, options: str, place: str | None = None) -> None:
        """Go by these options from now on, with the real server's place unless told otherwise."""
        text = f"{self._place if place is None else place} {options}".replace("'", "''")
        self._console.execute(f"SET auth_ldap_options = '{text}'".encode())

    def console(self, command: str) -> None:
        self._console.execute(command.encode())

    def close(self) -> None:
        self._console.close()


@pytest.fixture(scope="module")
def module_front(module_pooler: MakePooler, slapd: Slapd, trusting: None) -> Iterator[Front]:
    front = Front(module_pooler(settings=settings(slapd)), slapd)
    yield front
    front.close()


@pytest.fixture
def front(module_front: Front) -> Iterator[Front]:
    """Search+bind, until a test says otherwise."""
    module_front.use(SEARCH)
    yield module_front


def settings(slapd: Slapd, options: str = SEARCH, **more: object) -> dict[str, object]:
    place = f"ldapserver={slapd.host} ldapport={slapd.port}"
    return {"auth_type": "ldap", "auth_ldap_options": f"{place} {options}", **more}


EITHER = "(|(uid=$username)(mail=$username))"
WAYS = {
    "simple bind": SIMPLE,
    "search+bind": SEARCH,
    "search attribute": f"{SEARCH} ldapsearchattribute=uid",
    "search filter": f'{SEARCH} ldapsearchfilter="{EITHER}"',
    "search filter without parentheses": f'{SEARCH} ldapsearchfilter="uid=$username"',
    "StartTLS, simple bind": f"{SIMPLE} ldaptls=1",
    "StartTLS, search+bind": f"{SEARCH} ldaptls=1",
    "commas": f', "ldapprefix"="uid=" , "ldapsuffix=,{SUFFIX}"',
}


@pytest.mark.parametrize("way", WAYS)
def test_the_password_that_ldap_knows_is_the_right_one(
    front: Front, log_in: LogIn, way: str
) -> None:
    front.use(WAYS[way])
    check(front.pooler, log_in)


@pytest.mark.parametrize("what", ["?uid?sub", f"??sub?{EITHER}", "?uid?one"])
@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_url_says_where_and_how(
    front: Front, slapd: Slapd, log_in: LogIn, scheme: str, what: str
) -> None:
    port = slapd.port if scheme == "ldap" else slapd.tls_port
    url = f'ldapurl="{scheme}://{slapd.host}:{port}/{SUFFIX}{what}"'
    front.use(READ_BY, place=url)
    check(front.pooler, log_in)


def check(pooler: Pooler, log_in: LogIn) -> None:
    assert log_in(pooler) == "ldapuser"
    assert log_in(pooler, "wrong") == FAILED
    assert log_in(pooler, user="nobody-there") == FAILED


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("ldapsearchattribute=nothing", "does not exist: LDAP search for filter"),
        ("ldapbindpasswd=wrong", "could not perform initial LDAP bind for ldapbinddn"),
        ('ldapsearchfilter="(uid="', "could not search LDAP for filter"),
        ('ldapbasedn="o=elsewhere"', "could not search LDAP for filter"),
    ],
)
def test_a_search_that_fails_is_a_failed_login_whose_reason_is_logged(
    front: Front, log_in: LogIn, options: str, reason: str
) -> None:
    said = len(front.pooler.log())
    front.use(f"{SEARCH} {options}")
    assert log_in(front.pooler) == FAILED
    wait_until(lambda: reason in front.pooler.log()[said:])


def test_two_entries_are_nobody(front: Front, log_in: LogIn) -> None:
    assert log_in(front.pooler, "twin", user="twin") == FAILED
    wait_until(lambda: 'LDAP user "twin" is not unique' in front.pooler.log())


@pytest.mark.parametrize("user", ["*", "ldap*", "ldapuser)(uid=*", "ldapuse\\72"])
def test_a_name_is_no_filter(front: Front, log_in: LogIn, user: str) -> None:
    assert log_in(front.pooler, user=user) == FAILED
    wait_until(lambda: "invalid character in user name for LDAP" in front.pooler.log())


def test_a_name_is_no_part_of_a_dn(front: Front, log_in: LogIn) -> None:
    """The entry of `a,b` is found; `ldapuser,dc=…` isn't the entry of ldapuser."""
    front.use('ldapprefix="uid=" ldapsuffix=",dc=net"')
    assert log_in(front.pooler, user="ldapuser,dc=example") == FAILED
    front.use(SIMPLE)
    # LDAP lets it in, PostgreSQL has no such role
    assert "a,b" in log_in(front.pooler, "comma", user="a,b")
    assert FAILED not in log_in(front.pooler, "comma", user="a,b")


def test_an_empty_password_is_not_tried(front: Front, log_in: LogIn) -> None:
    with RawClient(front.pooler) as client:
        startup = build.build_startup_message({"user": "ldapuser", "database": "postgres"})
        client.send(startup, build.build_password_message(""))
        assert error_of(client.read_until("E")).message == "empty password returned by client"


def test_servers_are_logged_in_with_the_password_that_ldap_has_taken(
    front: Front, log_in: LogIn
) -> None:
    """In no auth_file; and where auth_file has another password, that one doesn't count."""
    assert log_in(front.pooler) == "ldapuser"
    pooler = front.pooler
    pooler.users["ldapuser"] = "another"
    pooler.write_configuration()
    front.console("RELOAD")
    front.console("RECONNECT")
    assert log_in(pooler) == "ldapuser"
    del pooler.users["ldapuser"]


def test_the_console_asks_ldap_too(front: Front, log_in: LogIn) -> None:
    assert log_in(front.pooler, "wrong", user="postgres", db="pgbouncer") == FAILED
    assert log_in(front.pooler, user="ldapuser", db="pgbouncer") == "not allowed"


def test_a_certificate_of_somebody_unknown_is_not_trusted(
    pooler: MakePooler, slapd: Slapd, log_in: LogIn, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDAPTLS_CACERT", "/dev/null")
        made = pooler(settings=settings(slapd, f"{SIMPLE} ldaptls=1"))
    assert log_in(made) == FAILED
    assert "no answer from LDAP server" in made.log()


def test_the_next_server_of_a_list_is_asked(front: Front, slapd: Slapd, log_in: LogIn) -> None:
    """127.0.0.2 refuses: nobody listens there at that port."""
    front.use(SEARCH, place=f'ldapserver="127.0.0.2 {slapd.host}" ldapport={slapd.port}')
    assert log_in(front.pooler) == "ldapuser"


def test_where_nobody_listens_the_login_fails_and_says_why(front: Front, log_in: LogIn) -> None:
    front.use(SEARCH, place="ldapserver=127.0.0.1 ldapport=1")
    assert log_in(front.pooler) == FAILED
    wait_until(lambda: "no answer from LDAP server ldap://127.0.0.1:1: " in front.pooler.log())


def test_database_authentication_does_not_go_with_it(
    pooler: MakePooler, slapd: Slapd, log_in: LogIn
) -> None:
    made = pooler(databases={"*": "auth_user=postgres"}, settings=settings(slapd))
    assert log_in(made) == "bouncer config error"
    assert "LDAP can't be used together with database authentication" in made.log()


def test_no_log_line_has_a_password(
    pooler: MakePooler, slapd: Slapd, trusting: None, log_in: LogIn
) -> None:
    made = pooler(settings=settings(slapd, verbose=2))
    assert log_in(made) == "ldapuser"
    assert log_in(made, "wr0ng-passw0rd") == FAILED
    shown = made.console("SHOW CONFIG")
    for secret in (PASSWORD, "wr0ng-passw0rd", READER_PASSWORD):
        assert secret not in made.log()
        assert secret not in repr(shown)


# A server that never answers


def hang(front: Front, server: SilentServer, options: str = SIMPLE) -> None:
    """From now on logins ask a server that keeps silent."""
    front.use(options, place=f"ldapserver=127.0.0.1 ldapport={server.port}")


@pytest.mark.parametrize(
    "options", [SIMPLE, SEARCH, f"{SIMPLE} ldaptls=1", f"{SIMPLE} ldapscheme=ldaps"]
)
def test_while_a_server_hangs_others_let_in(
    front: Front,
    silent: SilentServer,
    log_in: LogIn,
    waiting_login: BoundLogin,
    options: str,
) -> None:
    hang(front, silent, options)
    held = waiting_login(front.pooler)
    silent.wait_for_client()
    front.use(SEARCH)
    assert log_in(front.pooler) == "ldapuser"
    front.console("SET auth_type = trust")
    assert log_in(front.pooler, "", user="postgres") == "postgres"
    front.console("SET auth_type = ldap")
    silent.close()
    assert error_of(held.read_until("E")).message == FAILED


def test_lines_of_an_hba_file_have_servers_of_their_own(
    pooler: MakePooler,
    slapd: Slapd,
    silent: SilentServer,
    trusting: None,
    log_in: LogIn,
    waiting_login: BoundLogin,
    tmp_path: Path,
) -> None:
    """The one for database `hangs` keeps silent: all others are let in, by LDAP or otherwise."""
    place = f"ldapserver={slapd.host} ldapport={slapd.port}"
    hba = tmp_path / "hba.conf"
    hba.write_text(
        f"host hangs all all ldap ldapserver=127.0.0.1 ldapport={silent.port} {SIMPLE}\n"
        f"host postgres ldapuser all ldap {place} {SEARCH}\n"
        "host pgbouncer all all scram-sha-256\n"
        "host all all all md5\n"
    )
    made = pooler(
        databases={"*": "", "hangs": "dbname=postgres"},
        settings={"auth_type": "hba", "auth_hba_file": hba},
    )
    held = [waiting_login(made, "hangs") for _ in range(20)]
    silent.wait_for_client()
    assert log_in(made) == "ldapuser"
    assert log_in(made, "wrong") == FAILED
    assert log_in(made, made.server.password, user="postgres") == "postgres"
    assert made.console("SHOW VERSION")
    silent.close()
    assert error_of(held[0].read_until("E")).message == FAILED


def test_client_login_timeout_ends_a_login_that_waits(
    pooler: MakePooler, slapd: Slapd, silent: SilentServer, waiting_login: BoundLogin
) -> None:
    place = f"ldapserver=127.0.0.1 ldapport={silent.port}"
    options = {"auth_ldap_options": f"{place} {SIMPLE}", "client_login_timeout": 0.5}
    made = pooler(settings={"auth_type": "ldap", **options})
    held = waiting_login(made)
    assert error_of(held.read_until("E")).message == "client_login_timeout"


def test_a_flood_of_logins_at_a_server_that_hangs_holds_up_nobody_else(
    pooler: MakePooler,
    slapd: Slapd,
    silent: SilentServer,
    trusting: None,
    log_in: LogIn,
    waiting_login: BoundLogin,
) -> None:
    made = pooler(settings=settings(slapd, max_client_conn=400))
    front = Front(made, slapd)
    hang(front, silent)
    for _ in range(200):
        waiting_login(made)
    silent.wait_for_client()
    front.use(SEARCH)
    assert log_in(made) == "ldapuser"
    front.close()


def test_the_process_ends_while_a_server_hangs(
    pooler: MakePooler, silent: SilentServer, waiting_login: BoundLogin
) -> None:
    place = f"ldapserver=127.0.0.1 ldapport={silent.port}"
    made = pooler(settings={"auth_type": "ldap", "auth_ldap_options": f"{place} {SIMPLE}"})
    waiting_login(made)
    silent.wait_for_client()
    made.send_signal(signal.SIGINT)
    wait_until(lambda: not is_listening(made.host, made.port), timeout=5)
    wait_until(lambda: "server connections dropped, exiting" in made.log(), timeout=5)
