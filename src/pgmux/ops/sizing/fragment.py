"""The settings that should change, as lines of pgbouncer.ini, of PgBouncer from 1.18 on and pgmux.

A line of [databases] is the whole entry, so it is made of the one in the configuration file. Where
that isn't known, or has a password in it, the line is a comment: no secret is repeated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pgmux.config.connstr import parse_connstr
from pgmux.config.model import ADMIN_DATABASE
from pgmux.ops.ini_edit import IniEdit
from pgmux.ops.ini_text import entry_name, entry_value
from pgmux.ops.printing import printable
from pgmux.ops.sizing.arithmetic import duration, number, size
from pgmux.ops.sizing.plan import Plan, PoolPlan
from pgmux.ops.sizing.room import Setting

FindEntry = Callable[[str, str], str | None]
"""Of section and name the value in the configuration file, None where there is none."""
AUTODB = "*"
PROCESS = "pgbouncer"
_ONCE = "; for the section that is there: a second one resets all that stands above it"
# As an entry of [databases] has them since 1.18, and the same of the process.
_OF_PROCESS = {
    "pool_size": "default_pool_size",
    "min_pool_size": "min_pool_size",
    "reserve_pool": "reserve_pool_size",
    "max_db_connections": "max_db_connections",
}
_HIDDEN = "********"


@dataclass(slots=True)
class Change:
    """Of one entry, or of the settings in [pgbouncer]: keys with values, and why."""

    setting: Setting
    values: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def changes(plan: Plan, find: FindEntry | None) -> list[Change]:
    """What should change, by place. `find` None: no configuration file is known."""
    found: dict[Setting, Change] = {}
    for pool in plan.pools:
        _add_pool(found.setdefault(pool.setting, Change(pool.setting)), pool, plan)
    for name, limit in plan.database_limits.items():
        _add_limit(found, name, limit, plan)
    entries = [change for change in found.values() if change.values]
    is_alone = len(found) == 1 and len([r for r in plan.databases if r.name != ADMIN_DATABASE]) == 1
    if is_alone and entries and _is_by_default(entries[0], plan, find):
        entries = [_for_process(entries[0])]
    return [*entries, *_process_changes(plan)]


def _add_pool(change: Change, pool: PoolPlan, plan: Plan) -> None:
    siblings = [other for other in plan.pools if other.setting == pool.setting]
    now, name = pool.advice.now, "/".join(pool.key)
    new_size = max(other.after.pool_size for other in siblings)
    if new_size != max(other.advice.now.pool_size for other in siblings):
        change.values["pool_size"] = round(new_size)
        if pool.after.pool_size != now.pool_size:  # else it is changed for a sibling
            change.reasons.append(f"pool_size was {size(now.pool_size)}: {_reason(pool, name)}")
    is_user = change.setting.section == "users"
    reserve = max(other.after.reserve_pool_size for other in siblings)
    if reserve != max(other.advice.now.reserve_pool_size for other in siblings):
        change.values["reserve_pool_size" if is_user else "reserve_pool"] = reserve
        change.reasons.append(f"its reserve was {now.reserve_pool_size}")
    minimum = max(other.after.min_pool_size for other in siblings)
    if not is_user and minimum != max(other.advice.now.min_pool_size for other in siblings):
        change.values["min_pool_size"] = minimum
        change.reasons.append(f"min_pool_size was {now.min_pool_size}")


def _reason(pool: PoolPlan, name: str) -> str:
    demand, wanted = pool.advice.demand, pool.advice.wanted
    if wanted is None:
        return f"{name} had {demand.servers_peak} servers at most, and there is no room for more"
    busy = f"{number(demand.by_samples if demand.is_session else demand.load)} servers busy"
    said = f"{name} had {busy}, {demand.needed_p99} transactions at once, needs {wanted.pool_size}"
    return said if pool.after.pool_size >= wanted.pool_size else f"{said}: there is no room"


def _add_limit(found: dict[Setting, Change], name: str, limit: int, plan: Plan) -> None:
    row = next((row for row in plan.databases if row.name == name), None)
    if row is None or row.max_connections == limit:
        return
    change = found.setdefault(Setting("databases", name), Change(Setting("databases", name)))
    change.values["max_db_connections"] = limit
    change.reasons.append(f"max_db_connections was {row.max_connections}: for all its pools")


def _is_by_default(change: Change, plan: Plan, find: FindEntry | None) -> bool:
    """Whether the only entry there is has the sizes of the process."""
    if change.setting.section != "databases":
        return False
    if find is not None and (entry := _entry_of(change.setting, find)) is not None:
        pairs = _pairs(entry[1])
        own = {"reserve_pool" if key == "reserve_pool_size" else key for key in pairs or {}}
        return pairs is not None and not own & set(_OF_PROCESS)
    row = next((row for row in plan.databases if row.name == change.setting.name), None)
    return row is not None and row.pool_size == plan.limits.default_pool_size


def _for_process(change: Change) -> Change:
    values = {_OF_PROCESS[key]: value for key, value in change.values.items()}
    return Change(Setting(PROCESS, ""), values, change.reasons)


def _process_changes(plan: Plan) -> Iterable[Change]:
    process, setting = plan.process, Setting(PROCESS, "")
    if process.max_client_conn != process.max_client_conn_after:
        refused = f", {process.refused_clients} were refused" if process.refused_clients else ""
        reason = (
            f"max_client_conn was {process.max_client_conn}: {process.clients_peak} clients at"
            f" once{refused}"
        )
        yield Change(setting, {"max_client_conn": process.max_client_conn_after}, [reason])
    if process.query_wait_timeout != process.query_wait_timeout_after:
        after = round(process.query_wait_timeout_after)
        was = f"query_wait_timeout was {duration(process.query_wait_timeout)}"
        yield Change(setting, {"query_wait_timeout": after}, [f"{was}: clients waited for ever"])


# Text


def fragment(plan: Plan, find: FindEntry | None) -> str:
    """The lines, with the sections that they belong into; empty where nothing changes."""
    by_section: dict[str, list[str]] = {}
    for change in changes(plan, find):
        lines = by_section.setdefault(change.setting.section, [])
        lines += [f"; {printable(reason)}" for reason in change.reasons]
        lines += _lines(change, find)
    if not by_section:
        return ""
    head = f"; pgmux size: {plan.version} at {plan.place}, observed for {duration(plan.seconds)}"
    if PROCESS in by_section:
        by_section[PROCESS].insert(0, _ONCE)
    blocks = [f"[{name}]\n" + "\n".join(lines) for name, lines in sorted(by_section.items())]
    return "\n\n".join([printable(head), *blocks]) + "\n"


def put_in_place(plan: Plan, edit: IniEdit) -> list[str]:
    """Has the settings in the configuration file, and answers those that it couldn't find there.

    Raises: ConfigError; EditError; ValueError.
    """
    missing = []
    find = finder(edit)
    for change in changes(plan, find):
        section, name = change.setting.section, change.setting.name
        if section == PROCESS:
            for key, value in change.values.items():
                edit.set(section, key, str(value))
        elif (merged := _merged(change, find)) is not None:
            edit.set(section, name, entry_value(merged))
        else:
            missing.append(name)
    return missing


def finder(edit: IniEdit) -> FindEntry:
    """What reads entries of a configuration file."""

    def find(section: str, name: str) -> str | None:
        entry = edit.find(section, name)
        return entry.value if entry else None

    return find


def _merged(change: Change, find: FindEntry | None) -> dict[str, object] | None:
    """The whole entry as it should be, None where it isn't known."""
    entry = _entry_of(change.setting, find) if find else None
    pairs = _pairs(entry[1]) if entry else {} if change.setting.section == "users" else None
    if pairs is None:
        return None
    return {**_without(pairs, change.values), **_bounded(change)}


def _bounded(change: Change) -> dict[str, int]:
    return {key: value for key, value in change.values.items() if value < math.inf}


def _lines(change: Change, find: FindEntry | None) -> list[str]:
    if change.setting.section == PROCESS:
        return [f"{key} = {value}" for key, value in change.values.items()]
    merged = _merged(change, find)
    if merged is None:
        added = " ".join(f"{key}={value}" for key, value in _bounded(change).items())
        return [f"; to the line of {printable(change.setting.name)} add: {added}"]
    is_secret = "password" in merged
    if is_secret:
        merged["password"] = _HIDDEN
    try:
        line = f"{entry_name(change.setting.name)} = {entry_value(merged)}"
    except ValueError as error:
        return [f"; {printable(change.setting.name)}: {error}"]
    return [f"; its password isn't repeated: {line}"] if is_secret else [line]


def _without(pairs: Mapping[str, str], values: Mapping[str, int]) -> dict[str, str]:
    """The pairs but those that change, under each name that they have had."""
    gone = {*values, *(("reserve_pool_size",) if "reserve_pool" in values else ())}
    return {key: value for key, value in pairs.items() if key not in gone}


def _entry_of(setting: Setting, find: FindEntry) -> tuple[str, str] | None:
    """The entry that a pool's size comes from: its database's own, or that of all others."""
    for name in (setting.name, AUTODB):
        value = find(setting.section, name)
        if value is not None:
            return name, value
    return None


def _pairs(value: str) -> dict[str, str] | None:
    try:
        return dict(parse_connstr(value))
    except ValueError:
        return None
