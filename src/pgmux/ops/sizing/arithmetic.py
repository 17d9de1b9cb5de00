"""The numbers behind a pool's advice, line by line: name, value, and how it comes about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pgmux.ops import figures
from pgmux.ops.sizing.advice import PoolAdvice, Sizes
from pgmux.ops.sizing.demand import Demand, Saturation
from pgmux.ops.sizing.plan import Plan, PoolPlan

_SAME_LOAD = 1.05  # a difference that isn't worth a line


@dataclass(frozen=True, slots=True)
class Line:
    """`how` may be empty."""

    name: str
    value: str
    how: str = ""


def lines(pool: PoolPlan, plan: Plan) -> list[Line]:
    """Of a pool that was judged; in the order of the reasoning."""
    demand = pool.advice.demand
    body = _session if demand.is_session else _transactions
    return [*body(pool.advice, plan), *_sizes(pool, plan)]


def _transactions(advice: PoolAdvice, plan: Plan) -> Iterator[Line]:
    demand = advice.demand
    seconds = duration(demand.seconds)
    split = "; this pool's part of its database" if demand.is_split else ""
    yield Line(
        "transactions", f"{number(demand.rate)}/s", f"{demand.xacts:,.0f} in {seconds}{split}"
    )
    yield Line(
        "time of one",
        duration(demand.time),
        f"({number(demand.held + demand.waited)} s in transactions"
        f" - {number(demand.waited)} s waiting) / {demand.xacts:,.0f}",
    )
    yield from _loads(demand)
    yield Line(
        "needed at once",
        str(demand.needed_p99),
        f"in 99 of 100 samples; {demand.needed_peak} at most, {demand.needed_usual} usually,"
        f" by {demand.clients_peak} clients at most",
    )
    yield from _waits(demand)
    if demand.saturation is Saturation.NONE:
        yield _variability(demand)
        yield from _estimates(advice, plan)


def _loads(demand: Demand) -> Iterator[Line]:
    product = f"{number(demand.rate)}/s x {duration(demand.time)}"
    if demand.is_by_samples:
        how = f"by samples; {product} = {number(demand.by_counters)}: long transactions aren't over"
    else:
        how = f"{product}; by samples {number(demand.by_samples)}"
    yield Line("servers busy", number(demand.load), how)
    if demand.likely > demand.load * _SAME_LOAD:
        how = (
            f"{number(demand.load)} / (1 - {number(demand.waiting)} waiting"
            f" / {number(demand.clients)} clients), {number(demand.load + demand.waiting)} at most"
        )
        yield Line("if none waited", number(demand.likely), how)
    if demand.busiest_seconds and demand.busiest > demand.likely * _SAME_LOAD:
        value = number(demand.busiest)
        yield Line("when busiest", value, f"{duration(demand.busiest_seconds)} of the period")


def _waits(demand: Demand) -> Iterator[Line]:
    if demand.wait_p99 is None:
        how = f"p99 isn't told; longest seen {duration(demand.longest_wait)}"
    else:
        how = f"99 of 100: {duration(demand.wait_p99)} at most"
    yield Line("wait measured", duration(demand.mean_wait), how)


def _variability(demand: Demand) -> Line:
    arrivals = max(1.0, demand.arrivals_cv2 or 1.0)
    told = "by chance" if demand.arrivals_cv2 is None or demand.arrivals_cv2 < 1 else "measured"
    times = 1.0 if demand.time_cv2 is None else demand.time_cv2
    of_times = "not told" if demand.time_cv2 is None else "measured"
    how = f"(arrivals {number(arrivals)} {told} + times {number(times)} {of_times}) / 2"
    return Line("variability", number(demand.variability), how)


def _estimates(advice: PoolAdvice, plan: Plan) -> Iterator[Line]:
    now = next((e for e in advice.curve if e.servers == advice.now.pool_size), None)
    if now is not None:
        how = f"mean {duration(now.mean_wait)}, with the {now.servers} servers of now"
        yield Line("wait estimated", duration(now.wait_p99), f"99 of 100; {how}")
    yield Line(
        "servers by model",
        str(advice.by_model),
        f"the fewest with which 99 of 100 wait {duration(plan.wishes.target)} at most",
    )


def _session(advice: PoolAdvice, plan: Plan) -> Iterator[Line]:
    demand = advice.demand
    yield Line(
        "clients at once",
        str(demand.clients_peak),
        "session mode: each holds its server until it leaves, so one for each",
    )
    yield Line(
        "servers taken", number(demand.by_samples), f"by samples; {demand.servers_peak} at most"
    )
    if demand.xacts:
        yield Line(
            "servers busy",
            number(demand.by_counters),
            f"{number(demand.rate)}/s x {duration(demand.time)}: in transaction mode, where the"
            " application bears it, about so many would do",
        )


def _sizes(pool: PoolPlan, plan: Plan) -> Iterator[Line]:
    advice, now, after = pool.advice, pool.advice.now, pool.after
    wanted = advice.wanted
    assert wanted is not None
    yield Line("pool_size", size(wanted.pool_size), _why(advice, plan, after))
    if after.reserve_pool_size != now.reserve_pool_size:
        how = f"now {now.reserve_pool_size}; for the {advice.demand.needed_peak} of the peak"
        if after.reserve_pool_size < now.reserve_pool_size:
            how = f"now {now.reserve_pool_size}; PostgreSQL has no more"
        yield Line("reserve_pool_size", str(after.reserve_pool_size), how)
    if after.min_pool_size != now.min_pool_size:
        how = (
            f"now {now.min_pool_size}; servers were opened {advice.demand.relogins} times that"
            " had been there before"
        )
        yield Line("min_pool_size", str(after.min_pool_size), how)


def _why(advice: PoolAdvice, plan: Plan, after: Sizes) -> str:
    reasons = [f"now {size(advice.now.pool_size)}"]
    if advice.most_clients is not None:
        reasons.append(f"no more than the {advice.most_clients} clients that there were")
    elif advice.is_measured:
        reasons.append("enough: the waits that were measured are short, whatever the model says")
    elif advice.by_model is not None and advice.by_model >= advice.by_samples:
        reasons.append("by model")
    elif not advice.demand.is_session:
        reasons.append(
            f"by samples: {advice.demand.needed_p99} at once wait for"
            f" {duration(plan.wishes.target)} at most"
        )
    if plan.wishes.growth != 1:
        reasons.append(f"for {plan.wishes.growth:g} times the load")
    wanted = advice.wanted
    if wanted and after.pool_size < wanted.pool_size:
        reasons.append(f"PostgreSQL has {size(after.pool_size)} for it")
    elif wanted and wanted.pool_size < advice.now.pool_size == after.pool_size:
        reasons.append("may stay: it is a limit, not a cost; --lower lowers it")
    return "; ".join(reasons)


def caveat(advice: PoolAdvice) -> str:
    """What can't be concluded of a pool that was full; empty of another."""
    demand = advice.demand
    if demand.saturation is Saturation.NONE:
        return ""
    return _hidden(demand) + _other_limit(advice)


def _other_limit(advice: PoolAdvice) -> str:
    had = advice.demand.servers_while_full
    if had >= advice.now.pool_size:
        return ""
    return (
        f" It had {had} servers of its {size(advice.now.pool_size)} then, so something else bounds"
        " it: max_db_connections, max_user_connections, or PostgreSQL that refuses more."
    )


def _hidden(demand: Demand) -> str:
    held = f"In {demand.full_share:.0%} of the samples all servers were busy and clients waited"
    if demand.is_session:
        return f"{held}: how many more would come is hidden. Apply this, then observe again."
    bound = demand.needed_p99
    if demand.saturation is Saturation.GROWING:
        return (
            f"{held}, more and more of them: nobody can tell from this how many servers they need."
            f" At least {number(demand.load)}, perhaps {bound}; this is twice what there was."
            " Apply it, then observe again."
        )
    return (
        f"{held}: what they would have asked for is hidden. At least {number(demand.load)} servers,"
        f" about {number(demand.likely)} if all {number(demand.clients)} clients do alike, and"
        f" {bound} at once if each that waited held one, which is what is advised."
        " Apply this, then observe again."
    )


# Numbers


def number(value: float) -> str:
    """Three digits where there is a fraction."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(value: float) -> str:
    """Of a pool."""
    return "unlimited" if math.isinf(value) else f"{value:.0f}"


def duration(seconds: float) -> str:
    """In the unit that fits it; a wait without end where there is no balance."""
    return "endless" if math.isinf(seconds) else figures.time(seconds)
