"""Which line of the HBA file a login is judged by.

Source: PgBouncer's hba.c hba_eval: the first line whose type, address, database and user match.
An IPv4 address inside an IPv6 one (::ffff:10.0.0.9) is the IPv4 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from pgmux.config.hba import ConnectionType, HbaMethod, HbaRule, Names, Network
from pgmux.config.hba_rules import HbaRules

MAX_WEIGHED = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login: where it comes from, and what it says it is. `host` is a numeric address, None for a
    Unix socket; `is_physical` is a physical replication connection.
    """

    host: str | None
    is_tls: bool
    is_physical: bool
    database: str
    user: str

    def __str__(self) -> str:
        """As the lines of the file name it, for the log."""
        if self.host is None:
            way = "local"
        else:
            way = f"{'hostssl' if self.is_tls else 'hostnossl'} from {self.host}"
        return f"{way}, replication" if self.is_physical else way


def find_rule(rules: HbaRules, attempt: Attempt) -> HbaRule | None:
    """The line that decides; None: no line is for this login, which is refused then."""
    address = _address(attempt.host)
    number = (0, 0) if address is None else (address.version, int(address))
    for rule in _lines_for(rules.near(attempt.database, attempt.user, *number), attempt):
        if _is_database(rule.databases, attempt) and _is_user(rule.users, attempt):
            return rule
    return None


def is_refused_anyway(rules: HbaRules, attempt: Attempt) -> bool:
    """Whether it is refused whoever its user is, so that nobody has to be asked who that is.

    False also where it isn't seen in MAX_WEIGHED lines: it is found out at the end then.
    """
    for rule in _lines_for(islice(rules, MAX_WEIGHED), attempt):
        names = rule.databases
        if rule.method is not HbaMethod.REJECT:
            if names.is_sameuser or _is_database(names, attempt):
                return False
        elif rule.users.is_all and _is_database(replace(names, is_sameuser=False), attempt):
            return True
    return len(rules) <= MAX_WEIGHED


def _lines_for(rules: Iterable[HbaRule], attempt: Attempt) -> Iterable[HbaRule]:
    """The lines of the right type and address."""
    address = _address(attempt.host)
    for rule in rules:
        if attempt.host is None:
            if rule.type is ConnectionType.LOCAL:
                yield rule
        elif _is_type(rule.type, attempt) and _is_in(rule.network, address):
            yield rule


def _is_type(type_: ConnectionType, attempt: Attempt) -> bool:
    if type_ is ConnectionType.HOST:
        return True
    return type_ is (ConnectionType.HOSTSSL if attempt.is_tls else ConnectionType.HOSTNOSSL)


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The number behind the text; None where there is none."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_in(
    network: Network | None, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    if network is None:
        return True
    if address is None or address.version != network.version:
        return False
    return int(address) & network.mask == network.address


def _is_database(names: Names, attempt: Attempt) -> bool:
    """Physical replication has no database: it is for lines that say so, `all` doesn't."""
    return (
        names.is_replication
        if attempt.is_physical
        else _is_named(names, attempt.database, attempt.user)
    )


def _is_user(names: Names, attempt: Attempt) -> bool:
    return _is_named(names, attempt.user, attempt.database)


def _is_named(names: Names, name: str, other: str) -> bool:
    return names.is_all or (names.is_sameuser and name == other) or name in names.names
