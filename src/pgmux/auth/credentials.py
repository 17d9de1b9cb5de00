"""Whose secret applies: for a client's login, and for the logins to its server.

Source: PgBouncer's `user=` and `password=` of a database (the forced user), auth_file and
auth_type=any; auth_query for who isn't in auth_file. `userlist` is auth_file's, secrets by user as
they stand there; whoever else knows a user's secret passes it in as `Credentials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgmux.auth.scram import ScramKeys
from pgmux.auth.secrets import Secret, parse_secret
from pgmux.auth.steps import AuthenticationFailed
from pgmux.config.model import Database


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user that a client logs in as, and the stored secret; None: nobody knows this user.

    `as_of` is 0, or the number of the auth_query that found it: the higher, the newer.
    `is_verified`: the secret is the password that the client has sent and that LDAP or PAM has said
    to be right.
    """

    user: str
    secret: Secret | None = None
    as_of: int = 0
    is_verified: bool = False


@dataclass(frozen=True, slots=True)
class ServerLogin:
    """What a pool's server connections log in with; `as_of` as in Credentials."""

    user: str
    secret: Secret | None
    scram_keys: ScramKeys | None = None
    as_of: int = 0


def find_client_login(
    auth_type: str, user: str, database: Database, userlist: Mapping[str, str]
) -> Credentials:
    """Who a client that says it is `user` logs in as.

    auth_type=any takes the database's forced user whatever the client says. Raises
    AuthenticationFailed when there is none.
    """
    if auth_type != "any":
        return Credentials(user, _find_secret(user, userlist))
    if database.user is None:
        raise AuthenticationFailed("bouncer config error", "auth_type=any requires forced user")
    return Credentials(database.user, _find_forced_secret(database, userlist))


def is_looked_up(auth_type: str, user: str, userlist: Mapping[str, str]) -> bool:
    """Whether auth_query has to say who this is, where there is an auth_user."""
    return auth_type != "any" and user not in userlist


def find_server_login(
    login: Credentials,
    scram_keys: ScramKeys | None,
    database: Database,
    userlist: Mapping[str, str],
) -> ServerLogin:
    """What a pool logs in with to its server, for clients logged in with `login`.

    `scram_keys` are those of the client's login; they are not the forced user's, and dropped then.
    """
    if database.user is None:
        return ServerLogin(login.user, login.secret, scram_keys, login.as_of)
    return ServerLogin(database.user, _find_forced_secret(database, userlist))


def find_lookup_login(user: str, userlist: Mapping[str, str]) -> ServerLogin:
    """What auth_user logs in with where the database forces another user upon its clients."""
    return ServerLogin(user, _find_secret(user, userlist))


def _find_secret(user: str, userlist: Mapping[str, str]) -> Secret | None:
    text = userlist.get(user)
    return None if text is None else parse_secret(text)


def _find_forced_secret(database: Database, userlist: Mapping[str, str]) -> Secret | None:
    """The database's own password; without one, what the userlist has for its user."""
    if database.password:
        return parse_secret(database.password)
    return _find_secret(database.user or "", userlist)
