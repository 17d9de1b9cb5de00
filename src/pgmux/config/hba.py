"""What an HBA file and an ident file say, as frozen values.

Words are those of the files. Source: PgBouncer's hba.c. `hba_file` and `ident_file` read them,
`auth.hba` goes by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pgmux.config.ldap_options import LdapOptions


class ConnectionType(StrEnum):
    LOCAL = "local"
    HOST = "host"
    HOSTSSL = "hostssl"
    HOSTNOSSL = "hostnossl"


class HbaMethod(StrEnum):
    TRUST = "trust"
    REJECT = "reject"
    MD5 = "md5"
    PASSWORD = "password"
    PEER = "peer"
    CERT = "cert"
    SCRAM_SHA_256 = "scram-sha-256"
    LDAP = "ldap"


@dataclass(frozen=True, slots=True)
class Names:
    """The database column or the user column of a line."""

    names: frozenset[str] = frozenset()
    is_all: bool = False
    is_sameuser: bool = False  # database and user have the same name
    is_replication: bool = False  # physical replication, of whatever database


@dataclass(frozen=True, slots=True)
class Network:
    """An address and a mask, as numbers of 32 bits (version 4) or 128 (version 6)."""

    version: int
    address: int
    mask: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """A line of the ident file: who may be which user; None is any."""

    system_user: str
    user: str | None


@dataclass(frozen=True, slots=True)
class IdentMap:
    """The lines of one map, in their order."""

    name: str
    mappings: tuple[Mapping, ...]


@dataclass(frozen=True, slots=True)
class HbaRule:
    """A line of the HBA file that counts; `network` None is any address."""

    file: str
    line: int
    type: ConnectionType
    databases: Names
    users: Names
    network: Network | None
    method: HbaMethod
    ident: IdentMap | None = None
    ldap: LdapOptions | None = None  # None with method ldap: it can't be asked

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"
