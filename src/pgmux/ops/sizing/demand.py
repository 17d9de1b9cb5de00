"""What a pool asked for, from what was observed: Little's law, peaks, and what of it was hidden.

Servers busy on average = transactions per second x the time that each holds a server. A console
that tells counters by database alone (PgBouncer) has them split among the database's pools as the
servers were that were busy in the samples, waits as the clients that waited. In session mode a
client holds its server until it leaves, so that there transactions say nothing of servers, and
clients everything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pgmux.monitor.buckets import quantile
from pgmux.ops.sizing.observation import Flow, Gain, Observation, PoolKey, Presence
from pgmux.ops.sizing.variability import time_variability

SHARE = 0.99  # of transactions, and of samples, for which there is to be a server
BUSIEST_SHARE = 10  # the busiest tenth of the period,
BUSIEST_SECONDS = 10.0  # or so long, as in less chance decides
_FULL = 0.05  # of the samples with somebody waiting for a busy server,
_HIDDEN = 0.5  # and so many waiting for each one busy: then the demand isn't what was observed
_SIGNIFICANT = 3  # standard errors


class Saturation(Enum):
    """Whether clients were held up by the pool's size, so that they asked for less than they would.

    GROWING: the queue had not ended growing.
    """

    NONE = "none"
    FULL = "full"
    GROWING = "growing"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one pool. Times are seconds; what stands without a unit is a number of servers.

    `load` are the servers busy on average; `likely` what it would have been had nobody waited, if
    all clients work alike; `busiest` the same in the busiest part of `busiest_seconds`. `waiting`
    clients waited on average. `needed_*` are samples of who had a server or waited for one. None is
    what the console doesn't tell or what there was too little for.
    """

    database: str
    user: str
    pool_mode: str
    seconds: float
    samples: int
    xacts: float
    rate: float
    time: float
    held: float
    waited: float
    by_counters: float
    by_samples: float
    load: float
    likely: float
    busiest: float
    busiest_seconds: float | None
    waiting: float
    mean_wait: float
    wait_p99: float | None
    longest_wait: float
    arrivals_cv2: float | None
    time_cv2: float | None
    needed_usual: int
    needed_p99: int
    needed_peak: int
    clients: float
    clients_least: int
    clients_peak: int
    servers_peak: int
    relogins: int
    full_share: float
    servers_while_full: int
    starting_share: float
    saturation: Saturation
    is_split: bool
    history: tuple[float | None, ...]

    @property
    def key(self) -> PoolKey:
        return self.database, self.user

    @property
    def is_session(self) -> bool:
        return self.pool_mode == "session"

    @property
    def has_lasting_clients(self) -> bool:
        """Whether clients stay, so that their number says how many may work at once.

        Those that connect for one transaction are as few, at any moment, as there is work.
        """
        return 2 * self.clients_least >= self.clients_peak

    @property
    def is_by_samples(self) -> bool:
        """Whether samples say more than counters: long transactions were still under way."""
        return self.load > self.by_counters

    @property
    def variability(self) -> float:
        """(ca² + cs²) / 2 with 1 for what isn't known; arrivals count as random at least."""
        arrivals = max(1.0, self.arrivals_cv2 or 1.0)
        return (arrivals + (1.0 if self.time_cv2 is None else self.time_cv2)) / 2


def demands(observation: Observation) -> list[Demand]:
    """Of each pool that was there, the busiest first."""
    found = [_demand(observation, key, each) for key, each in observation.pools.items()]
    return sorted(found, key=lambda demand: (-demand.load, -demand.needed_peak, demand.key))


def _demand(observation: Observation, key: PoolKey, presence: Presence) -> Demand:
    own = observation.flows.get(key)
    whole = own or observation.flows.get(key[:1]) or Flow()
    part, of_waits = (1.0, 1.0) if own else _parts(observation, key, presence)
    total = whole.total
    xacts, held, waited = total.xacts * part, max(0.0, total.held * part), total.waited * of_waits
    seconds = total.seconds
    by_counters = held / seconds if seconds else 0.0
    by_samples = presence.busy / presence.samples
    time = held / xacts if xacts else 0.0
    load = _choose(by_counters, by_samples, presence.samples, seconds, time)
    waiting = max(waited / seconds if seconds else 0.0, presence.waiting / presence.samples)
    clients = presence.clients / presence.samples
    likely = _unthrottled(load, waiting, clients)
    busiest, busiest_seconds = _busiest(observation, whole, presence, part, load > by_counters)
    return Demand(
        database=key[0],
        user=key[1],
        pool_mode=presence.pool_mode,
        seconds=seconds,
        samples=presence.samples,
        xacts=xacts,
        rate=xacts / seconds if seconds else 0.0,
        time=time,
        held=held,
        waited=waited,
        by_counters=by_counters,
        by_samples=by_samples,
        load=load,
        likely=likely,
        busiest=max(likely, busiest * likely / load if load else 0.0),
        busiest_seconds=busiest_seconds,
        waiting=waiting,
        mean_wait=waited / xacts if xacts else 0.0,
        wait_p99=quantile(whole.wait, SHARE) if own else None,
        longest_wait=presence.longest_wait,
        arrivals_cv2=whole.arrivals.ratio,
        time_cv2=time_variability(whole.xact, whole.wait) if own else None,
        needed_usual=_rank(presence.needed, 0.5),
        needed_p99=_rank(presence.needed, SHARE),
        needed_peak=max(presence.needed),
        clients=clients,
        clients_least=presence.fewest_clients,
        clients_peak=presence.most_clients,
        servers_peak=presence.most_servers,
        relogins=max(0, presence.logins - (presence.most_servers - presence.first_servers)),
        full_share=presence.full / presence.samples,
        servers_while_full=presence.servers_while_full,
        starting_share=presence.starting / presence.samples,
        saturation=_saturation(presence, waiting, load),
        is_split=part < 1.0,
        history=_history(presence),
    )


def _parts(observation: Observation, key: PoolKey, presence: Presence) -> tuple[float, float]:
    """The pool's part of what its database has counted: as the servers that were busy, and of the
    waits as the clients that waited; as the servers, too, where no sample saw any.
    """
    pools = [each for (database, _), each in observation.pools.items() if database == key[0]]
    busy, waiting = sum(each.busy for each in pools), sum(each.waiting for each in pools)
    part = presence.busy / busy if busy else 1 / len(pools)
    return part, presence.waiting / waiting if waiting else part


def _choose(
    by_counters: float, by_samples: float, samples: int, seconds: float, time: float
) -> float:
    """What counters say, unless samples say more than chance explains.

    Counters have a transaction when it has ended; one that lasts for the whole period is in the
    samples alone. Samples closer together than transactions last say the same again.
    """
    independent = min(float(samples), seconds / (2 * time)) if time else float(samples)
    error = math.sqrt(by_samples / max(1.0, independent))
    return by_samples if by_samples > by_counters + _SIGNIFICANT * error else by_counters


def _unthrottled(load: float, waiting: float, clients: float) -> float:
    """The load if nobody had to wait, with clients that all do the same over and over.

    Each of N goes round in N / rate seconds, its wait of `waiting` / rate included; without that
    it comes the more often. No more is possible than that all who waited had a server.
    """
    if clients <= waiting:
        return load + waiting
    return min(load + waiting, load / (1 - waiting / clients))


def _busiest(
    observation: Observation, flow: Flow, presence: Presence, part: float, by_samples: bool
) -> tuple[float, float | None]:
    """The load of the busiest part of the period, and how long that is; None where it is all."""
    per_slice = observation.slice_seconds
    if not per_slice:
        return 0.0, None
    window_seconds = max(BUSIEST_SECONDS, observation.seconds / BUSIEST_SHARE)
    width = max(1, round(window_seconds / per_slice))
    last = max((*flow.slices, *presence.slices), default=0)
    if last + 1 < 2 * width:
        return 0.0, None
    loads = (
        _load_of_samples(presence, window) if by_samples else _load_of(flow, window) * part
        for window in (range(first, first + width) for first in range(last + 2 - width))
    )
    return max(loads), width * per_slice


def _load_of(flow: Flow, window: range) -> float:
    total = Gain()
    for number in window:
        total = total.plus(flow.slices.get(number, Gain()))
    expected = flow.total.seconds / len(flow.slices) * len(window) if flow.slices else 0.0
    return max(0.0, total.held) / max(total.seconds, expected / 2) if total.seconds else 0.0


def _load_of_samples(presence: Presence, window: range) -> float:
    moments = [presence.slices[number] for number in window if number in presence.slices]
    samples = sum(moment.samples for moment in moments)
    return sum(moment.busy for moment in moments) / samples if samples else 0.0


def _rank(numbers: Counter[int], share: float) -> int:
    """The least number that this share of them doesn't exceed."""
    wanted = max(1, math.ceil(share * numbers.total() - 1e-9))
    reached = 0
    for number in sorted(numbers):
        reached += numbers[number]
        if reached >= wanted:
            return number
    return 0


def _saturation(presence: Presence, waiting: float, load: float) -> Saturation:
    if presence.pool_mode == "session":
        is_full = presence.full >= _FULL * presence.samples
    else:
        is_full = presence.full >= _FULL * presence.samples and waiting >= _HIDDEN * load
    if not is_full:
        return Saturation.NONE
    waits = [moment.waiting for _, moment in sorted(presence.slices.items())]
    third = len(waits) // 3
    before, after = _mean(waits[third : 2 * third]), _mean(waits[2 * third :])
    return Saturation.GROWING if third and after > 1.25 * before + 1 else Saturation.FULL


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _history(presence: Presence) -> tuple[float | None, ...]:
    """By slice the most that were needed at once; None where there was no sample."""
    last = max(presence.slices, default=-1)
    slices = (presence.slices.get(number) for number in range(last + 1))
    return tuple(None if moment is None else float(moment.needed) for moment in slices)
