"""auth_type = pam, with a service of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.outside_logins.conftest import PASSWORD, LogIn
from tests.fixtures.pam import Pam
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, letters
from tests.fixtures.waiting import wait_until

FAILED = "PAM authentication failed"


@pytest.fixture(scope="module")
def start(module_pooler: MakePooler, pam: Pam) -> Callable[..., Pooler]:
    """`start(**settings)`: a pooler that has the tests' PAM."""

    def make(databases: dict[str, str] | None = None, **settings: object) -> Pooler:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in pam.environ.items():
                patch.setenv(name, value)
            return module_pooler(databases=databases, settings={"auth_type": "pam"} | settings)

    return make


@pytest.fixture(scope="module")
def shared(start: Callable[..., Pooler]) -> Pooler:
    return start()


@pytest.fixture(autouse=True)
def service(pam: Pam, postgres: EmbeddedPostgres) -> Iterator[None]:
    """ldapuser may come in; `expired` has a password, but no account here."""
    pam.configure()
    superuser = f"{postgres.superuser}:{postgres.password}:pgbouncer"
    pam.write("passdb", f"ldapuser:{PASSWORD}:pgbouncer", "expired:pw:sshd", superuser)
    yield


def test_the_password_that_pam_knows_is_the_right_one(shared: Pooler, log_in: LogIn) -> None:
    """PostgreSQL is logged in to with it: no file has it."""
    assert log_in(shared) == "ldapuser"
    assert log_in(shared, "wrong") == FAILED
    assert log_in(shared, user="nobody-there") == FAILED
    wait_until(lambda: "pam_authenticate() failed: " in shared.log())


def test_an_account_that_pam_does_not_let_in_is_refused(shared: Pooler, log_in: LogIn) -> None:
    assert log_in(shared, "pw", user="expired") == FAILED
    wait_until(lambda: "pam_acct_mgmt() failed: " in shared.log())


def test_a_service_that_cannot_be_used_is_a_failed_login(
    start: Callable[..., Pooler], pam: Pam, log_in: LogIn
) -> None:
    pam.configure(auth="required /nowhere/pam_nothing.so")
    assert log_in(start()) == FAILED


def test_modules_know_who_comes_from_where(
    start: Callable[..., Pooler], pam: Pam, log_in: LogIn
) -> None:
    said = pam.directory / "script" / "said"
    pam.run(f'echo "$PAM_SERVICE $PAM_USER $PAM_RHOST" > {said}')
    assert log_in(start()) == "ldapuser"
    assert said.read_text() == "pgbouncer ldapuser 127.0.0.1\n"


def test_no_log_line_has_a_password(start: Callable[..., Pooler], log_in: LogIn) -> None:
    made = start(verbose=2)
    assert log_in(made) == "ldapuser"
    assert log_in(made, "wr0ng-passw0rd") == FAILED
    assert PASSWORD not in made.log()
    assert "wr0ng-passw0rd" not in made.log()


def test_database_authentication_does_not_go_with_it(
    start: Callable[..., Pooler], log_in: LogIn
) -> None:
    made = start(databases={"*": "auth_user=postgres"})
    assert log_in(made) == "bouncer config error"
    assert "PAM can't be used together with database authentication" in made.log()


def test_while_pam_hangs_others_log_in(
    start: Callable[..., Pooler],
    pam: Pam,
    log_in: LogIn,
    waiting_login: Callable[[Pooler], RawClient],
) -> None:
    gate = pam.directory / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    pam.run(f"cat {gate}")
    made = start(auth_type="trust")
    with psycopg.connect(made.dsn("pgbouncer"), autocommit=True) as console:
        console.execute("SET auth_type = pam")
        held = waiting_login(made)
        with gate.open("w"):  # returns when the script reads
            console.execute("SET auth_type = trust")
            assert log_in(made, "", user="postgres") == "postgres"
    assert letters(held.read_until("Z")) == "RRKZ"  # PAM goes on: it is let in
