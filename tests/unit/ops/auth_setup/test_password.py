"""Which password auth_user is to have, and whether PostgreSQL has to be told."""

from __future__ import annotations

import pytest

from pgmux.auth.secrets import SecretKind
from pgmux.ops.auth_setup.password import Chosen, choose_password
from pgmux.ops.auth_setup.setup import Setup, SetupError
from pgmux.ops.userlist.secrets import is_password_of, make_secret

SETUP = Setup()
STORED = make_secret(SETUP.role, "pw", SecretKind.SCRAM)


def choose(
    stored: str | None, in_file: str = "", given: str | None = None, *, rotate: bool = False
) -> Chosen:
    chosen = choose_password(SETUP, stored, in_file, given, rotate=rotate)
    assert is_password_of(chosen.verifier or stored or "", SETUP.role, chosen.password)
    assert chosen.password not in repr(chosen)
    return chosen


def test_a_new_role_gets_a_random_password() -> None:
    one, two = choose(None), choose(None)
    assert len(one.password) == 32
    assert one.password != two.password
    assert choose("").verifier is not None  # the role is there, without a password


def test_the_password_that_works_stays() -> None:
    assert choose(STORED, "pw") == Chosen("pw", None)
    assert choose(STORED, "", "pw") == Chosen("pw", None)


def test_a_new_role_gets_the_password_that_the_userlist_has() -> None:
    assert choose(None, "there").password == "there"
    assert choose(None, STORED).password not in (STORED, "pw")  # that's a verifier


def test_a_password_that_nobody_knows_here_is_replaced_only_when_asked() -> None:
    for in_file in ("", "wrong", STORED):
        with pytest.raises(SetupError, match="--rotate"):
            choose(STORED, in_file)
    assert choose(STORED, "wrong", rotate=True).verifier is not None
    assert choose(STORED, "wrong", "given").password == "given"
    assert choose(STORED, "pw", rotate=True).password != "pw"


@pytest.mark.parametrize("given", ["", STORED])
def test_what_is_no_password_cannot_be_given(given: str) -> None:
    with pytest.raises(SetupError, match="can't be used"):
        choose(None, "", given)


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
def test_names_are_as_postgresql_can_have_them(name: str) -> None:
    with pytest.raises(SetupError, match="63 bytes"):
        Setup(role=name)
