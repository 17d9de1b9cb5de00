"""HBA files in front of a real PostgreSQL: who gets in where, how, and what the log says."""

from __future__ import annotations

import getpass
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pgmux.ops.account import process_account, unprivileged_account
from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.postgres import Role
from tests.fixtures.waiting import wait_until

# Whoever tests, RELOAD has to get through.
ADMIN = "host pgbouncer postgres 127.0.0.1/32 md5\n"
OS_USER = getpass.getuser()
FORCED = "dbname=postgres user=postgres password={}"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler, postgres: EmbeddedPostgres) -> Pooler:
    """Database `app` is everybody's who gets in; alice is in userlist.txt, as is our own user."""
    return module_pooler(
        databases={"app": FORCED.format(postgres.password)},
        users={"alice": "pw", OS_USER: "own", "bob": "pw"},
        settings={"listen_addr": "127.0.0.1,::1" if has_ipv6() else "127.0.0.1", "verbose": 1},
        hba=ADMIN,
        ident="",
    )


@pytest.fixture
def gate(shared: Pooler) -> Iterator[Pooler]:
    yield shared
    shared.ident = ""


def guard(gate: Pooler, lines: str) -> int:
    """Have it go by these lines; the number of the first."""
    gate.hba = ADMIN + lines + "\n"
    gate.reload()
    return ADMIN.count("\n") + 1


def enter(gate: Pooler, user: str = "alice", password: str = "pw", **parameters: object) -> None:
    dsn = gate.dsn("app", user, password, **parameters)  # type: ignore[arg-type]
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def refusal(gate: Pooler, user: str = "alice", password: str = "pw", **parameters: object) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        enter(gate, user, password, **parameters)
    return str(caught.value).strip().rpartition("FATAL:  ")[2]


def place(gate: Pooler, line: int) -> str:
    return f"{gate.directory / 'hba.conf'}:{line}"


# Methods


@pytest.mark.parametrize("method", ["md5", "password", "scram-sha-256"])
def test_a_line_asks_for_the_right_password(gate: Pooler, method: str) -> None:
    line = guard(gate, f"host all all all {method}")
    enter(gate)
    assert "authentication failed" in refusal(gate, password="wrong")
    assert f"authentication failed (by {place(gate, line)})" in gate.log()


def test_a_line_may_trust_and_another_reject(gate: Pooler) -> None:
    line = guard(gate, "host all alice all trust\nhost all all all reject")
    enter(gate, password="nonsense")
    assert refusal(gate, "bob") == "login rejected"
    assert f"login rejected (by {place(gate, line + 1)})" in gate.log()
    assert f"HBA line {place(gate, line)} is matched: trust" in gate.log()


def test_who_no_line_is_for_is_refused(gate: Pooler) -> None:
    guard(gate, "host other all all trust")
    assert refusal(gate) == "no authentication method is found"
    assert f"no line of {gate.directory}/hba.conf is for it: hostnossl from 127" in gate.log()


def test_unix_sockets_and_tcp_have_their_own_lines(gate: Pooler) -> None:
    guard(gate, "local all all trust\nhost all all all md5")
    enter(gate, password="wrong", unix_socket=True)
    assert "authentication failed" in refusal(gate, password="wrong")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_has_its_own_addresses(gate: Pooler) -> None:
    guard(gate, "host all all ::1/128 trust\nhost all all 0.0.0.0/0 reject")
    enter(gate, host="::1", port=gate.port)
    assert refusal(gate) == "login rejected"


def test_physical_replication_is_not_for_all(gate: Pooler) -> None:
    guard(gate, "host all all all trust")
    refused = refusal(gate, replication="true")
    assert refused == "no authentication method is found"


# peer


def psql(gate: Pooler, account: pwd.struct_passwd, user: str, database: str = "app") -> str:
    """psql over the Unix socket, run by another user of the system: its output, or its error."""
    command = [str(gate.server.tool("psql")), "-XAtqw", "-c", "SHOW application_name"]
    if database == "pgbouncer":
        command[-1] = "SHOW VERSION"
    done = subprocess.run(
        [*command, "-d", f"host={gate.socket_dir} port={gate.port} user={user} dbname={database}"],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        **(process_account(account) if os.geteuid() == 0 else {}),
    )
    return (done.stdout + done.stderr).strip().rpartition("FATAL:  ")[2]


@pytest.fixture
def stranger() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    return pwd.getpwnam("daemon")


def test_peer_lets_a_user_of_the_system_in_under_its_own_name(gate: Pooler) -> None:
    guard(gate, "local all all peer")
    enter(gate, OS_USER, unix_socket=True)
    assert refusal(gate, "alice", unix_socket=True) == "unix socket login rejected"
    assert f"peer: the operating system's user is {OS_USER} (by" in gate.log()


def test_peer_tells_the_systems_users_apart(gate: Pooler, stranger: pwd.struct_passwd) -> None:
    guard(gate, "local all all peer")
    assert psql(gate, stranger, OS_USER) == "unix socket login rejected"
    gate.ident = f"staff {stranger.pw_name} bob\n"
    guard(gate, "local all all peer map=staff")
    assert psql(gate, stranger, "bob") == "psql"
    assert psql(gate, stranger, "alice") == "unix socket login rejected"
    assert refusal(gate, OS_USER, unix_socket=True) == "unix socket login rejected"


def test_a_map_says_who_may_be_whom_and_changes_with_reload(gate: Pooler) -> None:
    gate.ident = f"staff {OS_USER} bob\n"
    guard(gate, "local all all peer map=staff")
    enter(gate, "bob", unix_socket=True)
    assert refusal(gate, "alice", unix_socket=True) == "unix socket login rejected"
    assert f"ident map staff cannot be matched for {OS_USER}" in gate.log()
    gate.ident = f"staff {OS_USER} all\n"
    gate.reload()
    enter(gate, "alice", unix_socket=True)


# RELOAD


def test_reload_judges_new_logins_and_leaves_the_others(gate: Pooler) -> None:
    guard(gate, "host all all all trust")
    with psycopg.connect(gate.dsn("app", "alice", "pw")) as connection:
        guard(gate, "host all all all reject")
        assert refusal(gate) == "login rejected"
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_sighup_reads_the_files_again(gate: Pooler) -> None:
    guard(gate, "host all all all reject")
    gate.hba = ADMIN + "host all @names all trust\n"
    gate.write_file("names", "# who may\n\nalice\n")
    gate.write_configuration()
    before = gate.log().count("got SIGHUP")
    gate.send_signal(signal.SIGHUP)
    wait_until(lambda: gate.log().count("got SIGHUP") > before)
    enter(gate)
    assert refusal(gate, "bob") == "no authentication method is found"


def test_reload_keeps_its_rules_where_the_file_is_gone(gate: Pooler) -> None:
    guard(gate, "host all alice all trust")
    (gate.directory / "hba.conf").unlink()
    with pytest.raises(psycopg.Error, match="RELOAD failed"):
        gate.console("RELOAD")
    assert f"could not open hba config file {gate.directory}/hba.conf: No such file" in gate.log()
    enter(gate)
    assert refusal(gate, "bob") == "no authentication method is found"


def test_broken_lines_are_skipped_and_said(gate: Pooler) -> None:
    line = guard(gate, "host all +staff all md5\nhost all all samenet reject\nhost all all all md5")
    enter(gate)
    log = gate.log()
    broken = f"could not parse hba config line {line}, it is skipped: "
    assert f'WARNING {place(gate, line)}: {broken}"+staff" is not supported' in log
    assert f"ERROR {place(gate, line + 1)}: could not parse hba config line" in log
    assert "IT REJECTS NOBODY: the lines after it decide who gets in" in log


def test_a_start_without_the_file_says_so_and_lets_nobody_in(pooler: MakePooler) -> None:
    made = pooler(settings={"auth_type": "hba", "auth_hba_file": "/nowhere/hba.conf"})
    assert "ERROR could not open hba config file /nowhere/hba.conf: No such file" in made.log()
    with pytest.raises(psycopg.OperationalError, match="no authentication method is found"):
        psycopg.connect(made.dsn())


# As CloudNativePG configures it

USER_SEARCH = """
CREATE OR REPLACE FUNCTION user_search(uname text) RETURNS TABLE (usename name, passwd text)
LANGUAGE sql SECURITY DEFINER AS 'SELECT usename, passwd FROM pg_shadow WHERE usename=$1'
"""


@pytest.fixture
def user_search(postgres: EmbeddedPostgres) -> Iterator[None]:
    postgres.psql(USER_SEARCH)
    yield
    postgres.psql("DROP FUNCTION user_search")


def test_a_pooler_as_cloudnativepg_configures_it(
    pooler: MakePooler, user_search: None, create_role: Callable[..., Role]
) -> None:
    user, password = create_role()
    made = pooler(
        hba="local pgbouncer pgbouncer peer\nhost all all 0.0.0.0/0 md5\n",
        settings={
            "admin_users": "pgbouncer",
            "auth_query": "SELECT usename, passwd FROM public.user_search($1)",
            "auth_user": "postgres",
            "auth_dbname": "postgres",
            "ignore_startup_parameters": "extra_float_digits,options",
        },
    )
    with psycopg.connect(made.dsn("postgres", user, password)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (user,)
    for database, name in (("postgres", user), ("pgbouncer", "pgbouncer")):
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no such user"):
            psycopg.connect(made.dsn(database, name, "wrong"))
    # its operator comes as the user that the pooler runs as
    account = unprivileged_account() or pwd.getpwuid(os.geteuid())
    assert "PgBouncer" in psql(made, account, "pgbouncer", "pgbouncer")


def test_the_console_is_not_for_another_user_of_the_system(
    pooler: MakePooler, stranger: pwd.struct_passwd
) -> None:
    made = pooler(
        hba="local pgbouncer pgbouncer peer map=operators\n",
        ident="operators root pgbouncer\n",
        settings={"admin_users": "pgbouncer"},
    )
    assert psql(made, stranger, "pgbouncer", "pgbouncer") == "unix socket login rejected"
    root = pwd.getpwuid(0)
    assert "PgBouncer" in psql(made, root, "pgbouncer", "pgbouncer")


def test_set_has_the_file_read_or_fails(gate: Pooler) -> None:
    guard(gate, "host all all all trust")
    gate.write_file("strict", ADMIN + "host all all all reject\n")
    gate.console(f"SET auth_hba_file = '{gate.directory}/strict'")
    assert refusal(gate) == "login rejected"
    with pytest.raises(psycopg.Error, match="SET failed: could not open hba config file /nowhere"):
        gate.console("SET auth_hba_file = '/nowhere'")
    assert refusal(gate) == "login rejected"
    gate.reload()
    enter(gate)
