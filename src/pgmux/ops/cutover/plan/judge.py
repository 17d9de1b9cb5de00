"""What was observed, and where to go -> a plan: who moves in which order, who doesn't and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgmux.ops import figures
from pgmux.ops.cutover.names import App, Exceptions
from pgmux.ops.cutover.plan.gather import AppObserved, Observed
from pgmux.ops.cutover.plan.signs import Kind, Sign, Step, sign_of_name
from pgmux.ops.cutover.plan.target import Change, Target

LONG_TRANSACTION = 10.0  # seconds idle in transaction that are worth a word
LONG_IDLE = 3600.0
_ORDER = tuple(Step)


@dataclass(frozen=True, slots=True)
class Item:
    """One application: what to do, and why, in sentences; `change` where it is to move."""

    observed: AppObserved
    step: Step
    reasons: tuple[str, ...]
    change: Change | None


@dataclass(frozen=True, slots=True)
class Plan:
    """`items` in their order. `most_servers`: the pooler's connections after all have moved, None
    where it isn't known, infinite without a limit; `staying`: the peak of those that stay.
    """

    observed: Observed
    pooler: str
    items: tuple[Item, ...]
    staying: int
    most_servers: float | None

    @property
    def most_after(self) -> float | None:
        return None if self.most_servers is None else self.most_servers + self.staying

    @property
    def available(self) -> int:
        """What ordinary users can have."""
        return self.observed.max_connections - self.observed.reserved

    @property
    def fits(self) -> bool | None:
        """Whether all of it finds room; None where that isn't known."""
        return None if self.most_after is None else self.most_after <= self.available


def judge(observed: Observed, target: Target, exceptions: Exceptions) -> Plan:
    """The plan."""
    items = [_item(each, observed.signs, target, exceptions) for each in observed.apps]
    items.sort(key=_order)
    moving = [each.observed.app for each in items if each.step in (Step.MOVE, Step.LOOK)]
    staying = sum(each.observed.peak for each in items if each.step in (Step.SESSION, Step.STAY))
    most = target.most_servers(moving)
    return Plan(observed, target.address, tuple(items), staying + observed.others, most)


def _order(item: Item) -> tuple[object, ...]:
    """Superusers' applications first: they take the places that are kept for emergencies, too."""
    seen = item.observed
    return (
        _ORDER.index(item.step),
        not seen.is_superuser,
        -seen.peak,
        -seen.longest_idle,
        seen.app,
    )


def _item(seen: AppObserved, signs: Sequence[Sign], target: Target, exceptions: Exceptions) -> Item:
    if exceptions.has(seen.app):
        return Item(seen, Step.STAY, ("you have said that it stays",), None)
    named = sign_of_name(seen.app, seen.peak)
    if named is not None:  # all of these stay
        return Item(seen, named.kind.step, (_reason(named),), None)
    found = [sign for sign in signs if _is_of(sign, seen.app)]
    step = max((sign.kind.step for sign in found), key=_ORDER.index, default=Step.MOVE)
    reasons = (*map(_reason, found), *_observations(seen))
    return Item(seen, step, reasons, target.change(seen.app))


def _is_of(sign: Sign, app: App) -> bool:
    if sign.kind is Kind.TWO_PHASE:
        return False  # nothing that keeps anybody
    if sign.by_user:
        return (sign.app.user, sign.app.database) == (app.user, app.database)
    return sign.app == app


def _reason(sign: Sign) -> str:
    unit = "table" if sign.kind is Kind.TEMPORARY else "connection"
    return f"{sign.kind.meaning} ({counted(sign.count, unit)})"


def counted(count: int, unit: str) -> str:
    """`1 table`, `2 tables`."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _observations(seen: AppObserved) -> Iterable[str]:
    if seen.is_superuser:
        yield (
            "a superuser: it can take the reserved connections as well; a role of its own is"
            " worth making"
        )
    if seen.longest_idle >= LONG_IDLE:
        yield f"idle for up to {figures.time(seen.longest_idle)}: the pooler needs no server then"
    if seen.longest_idle_in_transaction >= LONG_TRANSACTION:
        longest = figures.time(seen.longest_idle_in_transaction)
        yield (
            f"idle in transaction for up to {longest} ({seen.idle_in_transaction:,} at once): each"
            " of them keeps a server from the others"
        )


def as_number(most: float | None) -> int | None:
    """For JSON, which has no infinity."""
    return None if most is None or math.isinf(most) else int(most)
