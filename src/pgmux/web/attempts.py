"""How often somebody may guess the secret that commands need. `now` is seconds of any clock.

An attempt counts as failed from its beginning, so that many at once are no way around. While an
address, or all together, have failed too often, nobody of them is even listened to: what is right
gets the same answer as what is wrong. Whoever has succeeded lately isn't held up by the failures
of others, else anybody could keep the operator out.
"""

from __future__ import annotations

import ipaddress
from collections import deque

WINDOW = 60.0  # seconds
PER_ADDRESS = 5  # failures in a window
OVERALL = 30
TRUST = 3600.0  # seconds after a success
MAX_TRUSTED = 100


class Attempts:
    """The failures of the last window."""

    def __init__(self, per_address: int = PER_ADDRESS, overall: int = OVERALL) -> None:
        self._per_address = per_address
        self._overall = overall
        self._failures: deque[tuple[float, str]] = deque()  # at most those that were let in
        self._trusted: dict[str, float] = {}

    def begin(self, address: str, now: float) -> float:
        """0.0: try, it counts as a failure until `succeed`. Else: how many seconds to wait."""
        who = network_of(address)
        while self._failures and self._failures[0][0] <= now - WINDOW:
            self._failures.popleft()
        own = [at for at, each in self._failures if each == who]
        if len(own) >= self._per_address:
            return own[-self._per_address] + WINDOW - now
        is_trusted = self._trusted.get(who, -TRUST) > now - TRUST
        if len(self._failures) >= self._overall and not is_trusted:
            return self._failures[-self._overall][0] + WINDOW - now
        self._failures.append((now, who))
        return 0.0

    def withdraw(self, address: str) -> None:
        """An attempt of that address has told nothing, right or wrong."""
        who = network_of(address)
        at = next((at for at, each in self._failures if each == who), None)
        if at is not None:
            self._failures.remove((at, who))

    def succeed(self, address: str, now: float) -> None:
        """An attempt of that address was right."""
        self.withdraw(address)
        who = network_of(address)
        self._trusted.pop(who, None)
        self._trusted[who] = now
        if len(self._trusted) > MAX_TRUSTED:
            del self._trusted[next(iter(self._trusted))]


def network_of(address: str) -> str:
    """Who has an address: of IPv6 its /64, which is one machine's; anything else as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
