"""What each pool's servers log in with: a forced user's password, auth_file's secret, or what
auth_query found last, with the SCRAM keys of a client that logged in with the same secret. After
LDAP or PAM it is the client's own password, also where auth_file has another.

Source: PgBouncer's credentials of databases and users in outline.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgmux.auth.credentials import (
    Credentials,
    ServerLogin,
    find_client_login,
    find_lookup_login,
    find_server_login,
)
from pgmux.auth.scram import ScramKeys
from pgmux.pool.pool import PoolKey

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.database import Entrance
    from pgmux.session.pooler import Pooler


def find(pooler: Pooler, control: PoolControl) -> ServerLogin:
    """What a connect of this pool logs in with."""
    key = control.pool.key
    login = pooler.logins.get(key)
    if login is None:
        forced = pooler.databases[key.database].config.user
        if forced in (None, key.user):
            login = _login_of(pooler, key.database, Credentials(key.user), None)
        else:
            login = find_lookup_login(key.user, pooler.config.userlist)
        pooler.logins[key] = login
    return login if login.scram_keys else _with_keys(pooler, login)


def on_client(
    pooler: Pooler, entrance: Entrance, credentials: Credentials, keys: ScramKeys | None
) -> None:
    """A client of the pool has logged in."""
    key = entrance.control.pool.key
    if entrance.known is not None:
        before, had_keys, login = entrance.known
        # Equal, not identical: clients with other startup packets have come in another way.
        if credentials == before and (had_keys or keys is None) and pooler.logins.get(key) is login:
            return  # the same secret, and with it the same keys
    _remember(pooler, entrance.control, _login_of(pooler, key.database, credentials, keys))
    entrance.known = credentials, keys is not None, pooler.logins[key]


def learn(pooler: Pooler, database: str, found: Credentials) -> None:
    """auth_query has found a secret: it counts for the next connects of a pool that logs in with an
    earlier one, whoever then gets in with it.
    """
    control = pooler.pools.get(PoolKey(database, found.user))
    login = None if control is None else pooler.logins.get(control.pool.key)
    if control is not None and login is not None and 0 < login.as_of < found.as_of:
        _remember(pooler, control, ServerLogin(found.user, found.secret, None, found.as_of))


def _login_of(
    pooler: Pooler, name: str, credentials: Credentials, scram_keys: ScramKeys | None
) -> ServerLogin:
    """What a client's login makes known for its pool's servers. A RELOAD since it began may have
    changed the secret: then the new one counts, and the keys are the old one's.
    """
    database, userlist = pooler.databases[name].config, pooler.config.userlist
    current = find_client_login("trust", credentials.user, database, userlist)
    if credentials.is_verified or (current.secret is None and credentials.as_of > 0):
        current = credentials
    keys = scram_keys if current.secret == credentials.secret else None
    return find_server_login(current, keys, database, userlist)


def _remember(pooler: Pooler, control: PoolControl, login: ServerLogin) -> None:
    """The pool's next connect logs in with it; SCRAM keys of an earlier client stay while its
    secret does. What auth_query found before what is known by now doesn't count.
    """
    key = control.pool.key
    old = pooler.logins.get(key)
    if old is not None:
        if 0 < login.as_of < old.as_of:
            return
        if old.secret == login.secret and login.scram_keys is None:
            login = replace(login, scram_keys=old.scram_keys)
    pooler.logins[key] = login
    known = (login.secret, None) if old is None else (old.secret, old.scram_keys)
    if known != (login.secret, login.scram_keys):
        for other in pooler.pools.values():
            if other.pool.key.user == login.user:
                other.pool.failure = None  # the new one may be the right one


def _with_keys(pooler: Pooler, login: ServerLogin) -> ServerLogin:
    """SCRAM keys are worth the same in every database: auth_user's own login in one of them serves
    the lookups of all.
    """
    for other in pooler.logins.values():
        if other.scram_keys and (other.user, other.secret) == (login.user, login.secret):
            return replace(login, scram_keys=other.scram_keys)
    return login
