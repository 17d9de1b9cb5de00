"""What a client's startup packet says: who and where, and the parameters that will follow it from
server to server, or all that its own server is to begin with, where it asks for replication.

Source: PgBouncer's client.c for what is refused and in which words; what is accepted beyond it:
docs/differences.md. Errors: PoolerError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgmux.config import Config
from pgmux.errors import PoolerError
from pgmux.session.login_method import Way
from pgmux.session.varcache import accepted
from pgmux.wire.build import build_negotiate_protocol_version
from pgmux.wire.replication import Replication, parse_replication
from pgmux.wire.startup import EXTENSION_PREFIX, StartupMessage, parse_options

_OURS = ("user", "database", "replication")  # what says who, where and how, and sets nothing

Origin = tuple[str | None, bool]  # address, None for a Unix socket; with TLS


@dataclass(frozen=True, slots=True)
class Startup:
    """A startup packet as the configuration takes it; clients with equal packets share it.

    `negotiation` is what it is answered first, mostly nothing. `ways` are those in which such
    clients are let in, by where they come from, None where that doesn't matter.
    """

    user: str
    database: str
    parameters: Mapping[str, str]
    replication: Replication = Replication.NONE
    long_key: bool = False
    negotiation: bytes = b""
    ways: dict[Origin | None, Way] = field(default_factory=dict, compare=False, repr=False)


def read_startup(message: StartupMessage, config: Config, remote: str) -> Startup:
    """Take a packet apart; `remote` is the client's address, for application_name_add_host.

    3.2 differs from 3.0 in longer cancel keys; 3.1 was never in use; unknown `_pq_.` options are
    named in the answer.
    """
    long_key = message.minor >= 2
    unknown = message.extensions
    negotiation = b""
    if unknown or message.minor not in (0, 2):
        negotiation = build_negotiate_protocol_version(2 if long_key else 0, unknown)
    replication = parse_replication(message.parameters.get("replication", "no"))
    parameters = read_parameters(message, replication, config, remote)
    return Startup(message.user, message.database, parameters, replication, long_key, negotiation)


def read_parameters(
    message: StartupMessage, replication: Replication, config: Config, remote: str
) -> dict[str, str]:
    """The parameters, those that the pooler follows as the server spells them; `remote` is the
    client's address, for application_name_add_host.

    Who has a server for itself may set whatever that server takes; what is wrong with it the server
    says.
    """
    tracked = _tracked(message.database, config)
    takes_any = bool(replication) or _links_at_login(message, config)
    ignored = {name.lower() for name in config.settings.ignore_startup_parameters}
    found: dict[str, str] = {}
    for name, value in message.parameters.items():
        lower = name.lower()
        if lower == "options":
            if replication:
                found["options"] = value
            else:
                found |= _read_options(value, tracked, ignored, takes_any=takes_any)
        elif lower in tracked:
            found[tracked[lower]] = value
        elif lower in ignored or name in _OURS or name.startswith(EXTENSION_PREFIX):
            pass
        elif takes_any:
            found[name] = value
        else:
            raise PoolerError(f"unsupported startup parameter: {name}")
    if config.settings.application_name_add_host:
        found["application_name"] = f"{found.get('application_name') or 'app'} - {remote}"
    return found


def _tracked(name: str, config: Config) -> dict[str, str]:
    """What may be set at login, lower case -> as it is spelled."""
    database = config.find_database(name)
    names = config.pgmux.startup_parameters
    if database is not None:
        names = config.startup_parameters(database)
    return accepted(*config.settings.track_extra_parameters, *names)


def _links_at_login(message: StartupMessage, config: Config) -> bool:
    database = config.find_database(message.database)
    return database is not None and config.links_at_login(database, database.user or message.user)


def _read_options(
    text: str, tracked: dict[str, str], ignored: set[str], *, takes_any: bool
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_options(text):
        lower = name.lower()
        if lower in tracked:
            found[tracked[lower]] = value
        elif lower in ignored or "options" in ignored:
            pass
        elif takes_any:
            found[name] = value
        else:
            raise PoolerError(f"unsupported startup parameter in options: {name}")
    return found
