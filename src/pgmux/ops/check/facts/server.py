"""One PostgreSQL: its settings, who is connected, its roles and lookup functions. No secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pgmux.auth.secrets import SecretKind
from pgmux.ops.activity import Activity
from pgmux.ops.capacity import Place


class Match(Enum):
    """How auth_file's secret of a role and PostgreSQL's are to each other."""

    SAME = "same"
    OTHER = "other"
    UNUSABLE = "unusable"  # of two kinds, one of which can't be had from the other
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """A role that somebody uses. `kind` is how PostgreSQL stores its password, None where that
    isn't known or there is none (`has_password`); `match`: auth_file's secret against it.
    """

    name: str
    can_login: bool = True
    is_superuser: bool = False
    is_expired: bool = False
    connection_limit: int = -1
    has_password: bool | None = None
    kind: SecretKind | None = None
    match: Match = Match.UNKNOWN


@dataclass(frozen=True, slots=True)
class LookupFacts:
    """A function that an auth_query calls, in the database where it is called.

    `oid_name` is schema.function, empty where there is none of that name; `unsafe_schemas`: those
    of its search_path in which everybody may create; `can_execute`: whether auth_user may call it.
    """

    database: str
    called: str
    auth_user: str
    oid_name: str = ""
    is_security_definer: bool = False
    search_path: str | None = None
    unsafe_schemas: tuple[str, ...] = ()
    is_public: bool = False
    is_schema_public: bool = False
    can_execute: bool | None = None
    honours_valid_until: bool = True
    reads_pg_shadow: bool = False
    gives_superusers: bool = False
    has_bare_names: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """As pg_settings has it: `source` says where it comes from, `default` where from nowhere."""

    value: str
    unit: str = ""
    source: str = "default"


@dataclass(frozen=True, slots=True)
class Override:
    """ALTER ROLE … IN DATABASE … SET; empty is every database, or every role."""

    database: str
    role: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`place` is host:port as it was reached, `places` what [databases] calls it. `roles` are those
    of `asked_roles` that exist; None where they couldn't be read. `memory`: bytes of the machine,
    known where it is this one. `limits` are the databases' CONNECTION LIMITs.
    """

    place: str
    places: frozenset[Place] = frozenset()
    version: int = 0
    user: str = ""
    is_by_socket: bool = False
    memory: int | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    activity: Activity | None = None
    asked_roles: frozenset[str] = frozenset()
    roles: Mapping[str, RoleFacts] | None = None
    lookups: tuple[LookupFacts, ...] = ()

    def number(self, name: str) -> int | None:
        """A setting that is a number, in its unit; None where this server doesn't have it."""
        setting = self.settings.get(name)
        if setting is None or not setting.value.lstrip("-").isdecimal():
            return None
        return int(setting.value)
