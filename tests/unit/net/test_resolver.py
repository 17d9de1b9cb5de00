"""What the resolver keeps, for how long, and what it takes for a change; nobody is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

import pytest

from pgmux.config.model import Settings
from pgmux.metrics.snapshot import DnsHostRow, DnsZoneRow
from pgmux.net import resolver
from pgmux.net.resolver import Answer, LookupFailed, Outside, Resolver
from pgmux.net.sockets import numeric_addresses
from tests.unit.net.conftest import RecordingLog, Run

TIMEOUT = LookupFailed("Timeout while contacting DNS servers", is_final=False)
NOBODY = LookupFailed("Domain name not found", is_final=True)

Result = str | LookupFailed


class Names:
    """A resolver with a clock and answers of the test's own: "10.0.0.1 10.0.0.2" or a failure."""

    def __init__(self, log: RecordingLog, **settings: object) -> None:
        self.now = 1000.0
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.answers: dict[str, Result] = {}
        self.ttl = 0.0
        self.serial: int | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked: Counter[str] = Counter()
        self.gone: list[tuple[str, set[str]]] = []
        outside = Outside(
            lambda: self.now, lambda: self.settings, self.look_up, self.look_up_serial
        )
        self.resolver = Resolver(outside, log, self.on_gone)

    async def look_up(self, name: str, settings: Settings) -> Answer:
        self.asked[name] += 1
        await self.answering.wait()
        result = self.answers.get(name, NOBODY)
        if isinstance(result, LookupFailed):
            raise LookupFailed(result.reason, is_final=result.is_final)
        addresses = [numeric_addresses(each, 0)[0] for each in result.split()]
        return Answer(tuple(addresses), self.ttl)

    async def look_up_serial(self, zone: str, settings: Settings) -> int | None:
        self.asked[f"SOA {zone}"] += 1
        return self.serial

    def on_gone(self, name: str, addresses: Collection[str]) -> None:
        self.gone.append((name, set(addresses)))

    async def resolve(self, name: str = "db.test") -> str:
        return " ".join(address.host for address in await self.resolver.resolve(name))

    async def refresh(self, *names: str) -> None:
        """As the janitor does it."""
        self.resolver.refresh(names or ("db.test",))
        for _ in range(5):
            await asyncio.sleep(0)

    async def answer(self, result: Result, after: float = 0.0) -> None:
        """`result` is what the next look-up, that long after the last one, gets."""
        self.now += after
        self.answers["db.test"] = result
        await self.refresh()


# How long an answer is good


def test_an_answer_is_kept_for_dns_max_ttl(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log, dns_max_ttl=10.0)
        names.answers["db.test"] = "10.0.0.1"
        assert await names.resolve() == "10.0.0.1"
        names.answers["db.test"] = "10.0.0.2"
        names.now += 9.9
        assert await names.resolve() == "10.0.0.1"
        names.now += 0.1
        assert await names.resolve() == "10.0.0.2"
        assert names.asked["db.test"] == 2

    run(scenario())


@pytest.mark.parametrize(("ttl", "kept"), [(5.0, 5.0), (60.0, 10.0), (0.0, 10.0)])
def test_an_answer_is_kept_no_longer_than_its_ttl(
    run: Run, log: RecordingLog, ttl: float, kept: float
) -> None:
    async def scenario() -> None:
        names = Names(log, dns_max_ttl=10.0)
        names.ttl = ttl
        await names.answer("10.0.0.1")
        assert names.resolver.entries() == [DnsHostRow("db.test", int(kept), "10.0.0.1:0")]

    run(scenario())


def test_that_there_is_no_address_is_kept_for_dns_nxdomain_ttl(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log, dns_nxdomain_ttl=3.0)
        for _ in range(3):
            with pytest.raises(LookupFailed) as caught:
                await names.resolve()
            assert caught.value.reason == NOBODY.reason
        assert names.asked["db.test"] == 1
        names.now += 3.0
        names.answers["db.test"] = "10.0.0.1"
        assert await names.resolve() == "10.0.0.1"

    run(scenario())


def test_those_who_need_a_name_at_once_share_one_look_up(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        names.answers["db.test"] = "10.0.0.1"
        names.answering.clear()
        waiting = [asyncio.create_task(names.resolve()) for _ in range(5)]
        await names.refresh()
        assert names.resolver.query_count == 1
        waiting.pop().cancel()
        names.answering.set()
        assert await asyncio.gather(*waiting) == ["10.0.0.1"] * 4
        assert (names.asked["db.test"], names.resolver.query_count) == (1, 0)

    run(scenario())


def test_a_name_that_hangs_keeps_no_other_name_waiting(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        names.answers["other.test"] = "10.0.0.1"
        names.answering.clear()
        waiting = asyncio.create_task(names.resolve())
        await names.refresh()
        names.answering = asyncio.Event()
        names.answering.set()
        assert await names.resolve("other.test") == "10.0.0.1"
        assert not waiting.done()
        waiting.cancel()
        names.resolver.close()

    run(scenario())


# No answer


def test_where_nobody_answers_the_last_addresses_stay_in_use(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        await names.answer("10.0.0.1")
        names.answers["db.test"] = TIMEOUT
        for _ in range(3):
            names.now += 15.0
            assert await names.resolve() == "10.0.0.1"
        assert log.lines == [
            (
                "WARNING",
                f"DNS lookup failed: db.test: {TIMEOUT.reason}; its last addresses stay in use",
            )
        ]
        await names.answer("10.0.0.1", after=15.0)
        assert log.lines[1:] == [("LOG", "DNS lookup works again: db.test")]
        assert names.gone == []

    run(scenario())


def test_a_refresh_that_hangs_is_not_waited_for_long(
    run: Run, log: RecordingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(resolver, "PATIENCE", 0.01)
        names = Names(log)
        await names.answer("10.0.0.1")
        names.answering.clear()
        names.now += 15.0
        assert await names.resolve() == "10.0.0.1"
        assert names.resolver.query_count == 1
        names.resolver.close()

    run(scenario())


def test_a_name_that_has_no_address_any_more_has_none(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        await names.answer("10.0.0.1")
        await names.answer(NOBODY, after=15.0)
        with pytest.raises(LookupFailed):
            await names.resolve()
        assert log.warnings == ["DNS lookup failed: db.test: Domain name not found"]
        assert names.gone == []

    run(scenario())


def test_another_reason_is_logged_too(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        for result in (TIMEOUT, TIMEOUT, NOBODY, NOBODY):
            await names.answer(result, after=15.0)
        assert len(log.warnings) == 2

    run(scenario())


# Addresses that are gone


def test_an_address_is_gone_when_it_is_missing_for_a_ttl(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log, dns_max_ttl=10.0)
        await names.answer("10.0.0.1")
        await names.answer("10.0.0.2", after=10.0)
        assert names.gone == []
        await names.answer("10.0.0.2", after=10.0)
        assert names.gone == [("db.test", {"10.0.0.1"})]

    run(scenario())


def test_of_a_long_ttl_no_more_than_the_first_15_s_are_waited_for(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        names = Names(log, dns_max_ttl=3600.0)
        await names.answer("10.0.0.1")
        await names.answer("10.0.0.2", after=3600.0)
        await names.answer("10.0.0.2", after=15.0)
        assert names.gone == [("db.test", {"10.0.0.1"})]

    run(scenario())


def test_an_address_is_gone_though_there_was_none_in_between(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        await names.answer("10.0.0.1")
        await names.answer(NOBODY, after=15.0)
        assert names.gone == []
        await names.answer("10.0.0.2", after=15.0)
        assert names.gone == [("db.test", {"10.0.0.1"})]

    run(scenario())


def test_a_failure_makes_no_address_go(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        await names.answer("10.0.0.1")
        for _ in range(5):
            await names.answer(TIMEOUT, after=15.0)
        assert names.gone == []

    run(scenario())


def test_a_name_that_answers_with_one_of_its_addresses_comes_to_rest(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        names = Names(log)
        names.ttl = 1.0
        for n in range(300):
            await names.answer(f"10.0.0.{n % 7}", after=1.0)
        learned = len(names.gone)
        for n in range(300):
            await names.answer(f"10.0.0.{n % 7}", after=1.0)
        assert len(names.gone) == learned < 10

    run(scenario())


def test_a_name_that_rotates_loses_an_address_too(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        names.ttl = 1.0
        for n in range(30):
            await names.answer(f"10.0.0.{n % 3}", after=1.0)
        names.gone.clear()
        for n in range(30):
            await names.answer(f"10.0.0.{n % 2}", after=1.0)
        assert {address for _, gone in names.gone for address in gone} == {"10.0.0.2"}

    run(scenario())


def test_names_are_forgotten_when_nothing_names_them(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        await names.refresh("a.test", "b.prod")
        names.resolver.keep({"a.test"})
        assert [row.hostname for row in names.resolver.entries()] == ["a.test"]
        assert [row.zonename for row in names.resolver.zones()] == ["test"]

    run(scenario())


def test_many_names_are_looked_up_a_few_at_a_time(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        many = [f"{n}.test" for n in range(100)]
        names.answering.clear()
        found = []
        for _ in range(20):
            await names.refresh(*many)
            found.append(names.resolver.query_count)
        assert (found[0], found[1], found[-1]) == (8, 16, 64)
        names.answering.set()
        await names.refresh(*many)
        assert names.resolver.query_count == 0
        for _ in range(20):
            await names.refresh(*many)
        assert names.asked == Counter(many)

    run(scenario())


# Zones


def test_a_new_serial_has_the_names_of_its_zone_looked_up(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log, dns_max_ttl=3600.0, dns_zone_check_period=10.0)
        names.answers = {"a.test": "10.0.0.1", "b.test": "10.0.0.2", "c.prod": "10.0.0.3"}
        await names.refresh(*names.answers)
        for names.serial in (5, 5, 6):
            names.now += 10.0
            await names.refresh(*names.answers)
        assert names.asked == Counter(
            {"a.test": 2, "b.test": 2, "c.prod": 2, "SOA test": 3, "SOA prod": 3}
        )
        assert ("LOG", "zone 'test' serial changed: old=5 new=6") in log.lines
        assert names.resolver.zones() == [DnsZoneRow("prod", 6, 1), DnsZoneRow("test", 6, 2)]

    run(scenario())


def test_zones_are_not_checked_unless_asked_for(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log)
        await names.answer("10.0.0.1")
        await names.answer("10.0.0.1", after=3600.0)
        assert names.asked == Counter({"db.test": 2})
        assert names.resolver.zones() == [DnsZoneRow("test", 0, 1)]

    run(scenario())


def test_a_serial_that_nobody_tells_changes_nothing(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        names = Names(log, dns_max_ttl=3600.0, dns_zone_check_period=10.0)
        await names.answer("10.0.0.1")
        for names.serial in (5, None, 5):
            await names.answer("10.0.0.1", after=10.0)
        assert names.asked["db.test"] == 1

    run(scenario())
