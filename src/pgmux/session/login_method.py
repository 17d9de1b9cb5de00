"""Which method a client has to pass to log in.

Source: PgBouncer's client.c finish_set_pool.
Errors: PoolerError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pgmux.config import AuthType, Config
from pgmux.errors import PoolerError

_SUPPORTED = (AuthType.ANY, AuthType.TRUST, AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256)


class Peer(Protocol):
    """Where a client comes from; `net.sockets.Address` is one. `str()` of it is as in the log.

    `uid` is that of the process at the other end of a Unix socket, -1 where unknown.
    """

    @property
    def host(self) -> str: ...
    @property
    def is_unix(self) -> bool: ...
    @property
    def uid(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Method:
    """`name` is one that `auth.client_auth` knows."""

    name: str


def choose_method(config: Config) -> Method:
    """The method for one login. Raises: PoolerError for what can't be done."""
    auth_type = config.settings.auth_type
    if auth_type not in _SUPPORTED:
        raise PoolerError(f"not yet supported: auth_type = {auth_type}")
    return Method(auth_type)
