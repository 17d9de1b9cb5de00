"""What is known of host names: look-ups shared, their answers kept for a while, and what to do when
an answer changes or none comes.

* An answer is good for its shortest record's ttl, dns_max_ttl at most; that there is no address,
  for dns_nxdomain_ttl. Look-ups of one name are one; of how many names, the configuration says.
* Where nobody answers, the last addresses stay in use, and the log says so once.
* An address that is gone from the answers is told to `on_gone` once it has been missing for a
  while: see `Name`.

Source: PgBouncer's dnslookup.c in outline; stale answers: RFC 8767.
Errors: LookupFailed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from pgmux.config.model import Settings
from pgmux.errors import PgmuxError
from pgmux.metrics.snapshot import DnsHostRow, DnsZoneRow
from pgmux.net.sockets import Address
from pgmux.session.log import Log

# How long a connect waits for an answer where it could take the last one. Seconds.
PATIENCE = 2.0
# An address is gone when it has been missing from the answers for so long, or for twice as long as
# any address of that name was before it came back.
MISSING = 15.0
_LEAST_LIFE = 1.0  # a ttl of 0 would mean a look-up each time the janitor comes
_FORGET = 300.0  # what was missing for longer is new when it comes back
_REMEMBER = 3600.0  # for how long such a gap counts

# Look-ups that nobody waits for: how many are begun together, as each takes a part of a millisecond
# in which nobody else is served, and how many may be under way.
AT_ONCE = 8
UNDER_WAY = 64


class LookupFailed(PgmuxError):
    """No address. `is_final`: the name has none; else nobody could be asked."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name, never none, in the order of RFC 6724; their port is 0.

    `ttl` is what the shortest-lived record says, seconds; 0 where there is none (/etc/hosts) or
    where it says 0.
    """

    addresses: tuple[Address, ...]
    ttl: float


LookUp = Callable[[str, Settings], Awaitable[Answer]]
LookUpSerial = Callable[[str, Settings], Awaitable[int | None]]
OnGone = Callable[[str, Collection[str]], None]


@dataclass(frozen=True, slots=True)
class Outside:
    """What the resolver asks of the process around it."""

    clock: Callable[[], float]
    settings: Callable[[], Settings]
    look_up: LookUp
    look_up_serial: LookUpSerial


class Name:
    """One host name: its last answer, and which addresses earlier answers had.

    Some names are answered with another part of their addresses each time. Whoever closed the
    connections to all others would never come to rest, so how long an address may be missing is
    learned from how long others have been.
    """

    __slots__ = ("_gap", "_gap_at", "_missing", "addresses", "failure", "good_until", "look_up")

    def __init__(self) -> None:
        self.addresses: tuple[Address, ...] = ()
        self.good_until = 0.0
        self.failure: LookupFailed | None = None  # of the last look-up
        self.look_up: asyncio.Task[None] | None = None
        self._missing: dict[str, float] = {}  # address -> since when
        self._gap = 0.0
        self._gap_at = 0.0

    def on_answer(self, answer: Answer, life: float, now: float) -> list[str]:
        """Take an answer that is good for `life`; returns the addresses that are gone by it."""
        current = {address.host for address in answer.addresses}
        for address in current & self._missing.keys():
            self._on_return(now - self._missing.pop(address), now)
        self._miss(now, but=current)
        self.addresses, self.failure = answer.addresses, None
        grace = min(life, MISSING)
        if now - self._gap_at < _REMEMBER:
            grace = max(grace, 2 * self._gap)
        gone = [host for host, since in self._missing.items() if now - since >= grace]
        for host in [h for h, since in self._missing.items() if now - since >= _FORGET + grace]:
            del self._missing[host]
        self.good_until = now + (min(life, MISSING) if self._missing else life)
        return gone

    def on_failure(self, failure: LookupFailed, life: float, now: float) -> None:
        """Take that there is no answer, or none with an address. Nothing is gone by that."""
        self.failure = failure
        self.good_until = now + life
        if failure.is_final:
            self._miss(now)
            self.addresses = ()

    def _miss(self, now: float, but: Collection[str] = ()) -> None:
        for address in self.addresses:
            if address.host not in but:
                self._missing.setdefault(address.host, now)

    def _on_return(self, gap: float, now: float) -> None:
        if gap <= _FORGET and (gap >= self._gap or now - self._gap_at >= _REMEMBER):
            self._gap, self._gap_at = gap, now


class Zone:
    """What the SOA record of a zone says."""

    __slots__ = ("check", "checked_at", "serial")

    def __init__(self, now: float) -> None:
        self.serial: int | None = None
        self.checked_at = now
        self.check: asyncio.Task[None] | None = None


class Resolver:
    """See the module. `on_gone(name, addresses)` is called outside of all look-ups."""

    def __init__(self, outside: Outside, log: Log, on_gone: OnGone) -> None:
        self._outside = outside
        self._log = log
        self._on_gone = on_gone
        self._names: dict[str, Name] = {}
        self._zones: dict[str, Zone] = {}

    # ---- asking

    async def resolve(self, host: str) -> Sequence[Address]:
        """The addresses of a name. Raises: LookupFailed."""
        name = self._find(host)
        if name.good_until <= self._outside.clock():
            look_up = self._begin(host, name)
            if not name.addresses:
                await asyncio.wait([look_up])  # not cancelled with who waits: it is everybody's
            elif name.failure is None:
                await asyncio.wait([look_up], timeout=PATIENCE)
        if name.addresses:
            return name.addresses
        raise name.failure or LookupFailed("no answer from DNS", is_final=False)

    def known(self, host: str) -> Sequence[Address]:
        """The addresses of its last answer."""
        name = self._names.get(host)
        return () if name is None else name.addresses

    def refresh(self, hosts: Iterable[str]) -> None:
        """Look up again what is no longer good, of names whose servers are in use: some now, the
        others when this is called again.
        """
        room = min(AT_ONCE, UNDER_WAY - self.query_count)
        now = self._outside.clock()
        for host in hosts:
            name = self._find(host)
            if name.good_until <= now and name.look_up is None and room > 0:
                room -= 1
                self._begin(host, name)
        self._check_zones()

    def keep(self, hosts: Collection[str]) -> None:
        """Forget all other names."""
        for host in self._names.keys() - set(hosts):
            self._cancel(self._names.pop(host).look_up)
        zones = {zone_of(host) for host in self._names}
        for zone in self._zones.keys() - zones:
            self._cancel(self._zones.pop(zone).check)

    def close(self) -> None:
        """End all look-ups."""
        self.keep(())

    # ---- SHOW

    @property
    def query_count(self) -> int:
        """Look-ups under way."""
        names = sum(name.look_up is not None for name in self._names.values())
        return names + sum(zone.check is not None for zone in self._zones.values())

    def entries(self) -> Sequence[DnsHostRow]:
        """SHOW DNS_HOSTS."""
        now = self._outside.clock()
        return [
            DnsHostRow(
                host, int(max(0.0, name.good_until - now)), ",".join(map(str, name.addresses))
            )
            for host, name in sorted(self._names.items())
        ]

    def zones(self) -> Sequence[DnsZoneRow]:
        """SHOW DNS_ZONES."""
        hosts = [zone_of(host) for host in self._names]
        return [
            DnsZoneRow(zone, state.serial or 0, hosts.count(zone))
            for zone, state in sorted(self._zones.items())
        ]

    # ---- look-ups

    def _find(self, host: str) -> Name:
        name = self._names.get(host)
        if name is None:
            name = self._names[host] = Name()
            zone = zone_of(host)
            if zone:
                self._zones.setdefault(zone, Zone(self._outside.clock()))
        return name

    def _begin(self, host: str, name: Name) -> asyncio.Task[None]:
        """The look-up of that name: the one under way, or a new one."""
        if name.look_up is None:
            name.look_up = asyncio.get_running_loop().create_task(self._look_up(host, name))
        return name.look_up

    async def _look_up(self, host: str, name: Name) -> None:
        try:
            answer = await self._outside.look_up(host, self._outside.settings())
            self._on_answer(host, name, answer)
        except LookupFailed as failure:
            self._on_failure(host, name, failure)
        except Exception as error:
            self._log.exception(f"looking up {host} failed", error)
            self._on_failure(host, name, LookupFailed("internal error", is_final=False))
        finally:
            name.look_up = None

    def _on_answer(self, host: str, name: Name, answer: Answer) -> None:
        most = self._outside.settings().dns_max_ttl
        life = max(_LEAST_LIFE, min(answer.ttl or most, most))
        if name.failure is not None:
            self._log.log(f"DNS lookup works again: {host}")
        if self._log.is_debug:
            found = ", ".join(address.host for address in answer.addresses)
            self._log.debug(f"DNS: {host} = {found} (for {life:g} s)")
        gone = name.on_answer(answer, life, self._outside.clock())
        if gone:
            self._on_gone(host, gone)

    def _on_failure(self, host: str, name: Name, failure: LookupFailed) -> None:
        failure.__traceback__ = None  # it is kept, and its frames needn't be
        known = name.failure is not None and name.failure.reason == failure.reason
        life = max(_LEAST_LIFE, self._outside.settings().dns_nxdomain_ttl)
        name.on_failure(failure, life, self._outside.clock())
        if not known:
            rest = "; its last addresses stay in use" if name.addresses else ""
            self._log.warning(f"DNS lookup failed: {host}: {failure.reason}{rest}")

    # ---- zones

    def _check_zones(self) -> None:
        now, period = self._outside.clock(), self._outside.settings().dns_zone_check_period
        for name, zone in self._zones.items():
            if period > 0 and zone.check is None and now - zone.checked_at >= period:
                zone.checked_at = now
                zone.check = asyncio.get_running_loop().create_task(self._check(name, zone))

    async def _check(self, name: str, zone: Zone) -> None:
        try:
            serial = await self._outside.look_up_serial(name, self._outside.settings())
        except Exception as error:
            self._log.exception(f"checking zone {name} failed", error)
            return
        finally:
            zone.check = None
        old = zone.serial
        if serial is None or serial == old:
            return
        zone.serial = serial
        if old is not None:
            self._log.log(f"zone '{name}' serial changed: old={old} new={serial}")
            for host, state in self._names.items():
                if zone_of(host) == name:
                    self._begin(host, state)

    @staticmethod
    def _cancel(task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()


def zone_of(host: str) -> str:
    """As PgBouncer has it: the name without its first part; "" is none."""
    return host.partition(".")[2]
