"""Which password auth_user is to have, and whether PostgreSQL has to be told.

It stands in auth_file in clear: to a server that asks for SCRAM a verifier proves nothing, and
nobody logs in to the pooler as auth_user, from whom it could learn the keys.
Errors: `SetupError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgmux.auth.secrets import SecretKind
from pgmux.ops.auth_setup.setup import Setup, SetupError
from pgmux.ops.userlist.secrets import is_password_of, is_plain, make_secret, random_password


@dataclass(frozen=True, slots=True)
class Chosen:
    """The password, and the verifier that PostgreSQL gets; None where it has one of it."""

    password: str = field(repr=False)
    verifier: str | None = field(repr=False)


def choose_password(
    setup: Setup, stored: str | None, in_file: str, given: str | None, *, rotate: bool
) -> Chosen:
    """`stored` is PostgreSQL's, None without the role, empty without a password; `in_file` is
    auth_file's secret, `given` a password that somebody wants. Raises: SetupError.
    """
    if given is not None and not is_plain(given):
        raise SetupError("a password that is empty or looks like a verifier can't be used")
    if in_file and not is_plain(in_file):
        in_file = ""
    password = given or ("" if rotate else in_file)
    if password and stored and is_password_of(stored, setup.role, password):
        return Chosen(password, None)
    if stored and not given and not rotate:
        raise SetupError(
            f"role {setup.role} has a password, and the userlist has not the right one in clear."
            " Another pooler may use it: give it by --password-file or --prompt, or have a new one"
            " made by --rotate, which every userlist with this role then needs"
        )
    password = password or random_password()
    return Chosen(password, make_secret(setup.role, password, SecretKind.SCRAM))
