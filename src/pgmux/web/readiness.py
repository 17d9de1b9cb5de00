"""Whether the pooler can do its work, from SHOW READINESS or what a PgBouncer shows instead.

A pooler is ready while it listens and at least one database can have a server: a balancer that took
it away for one broken database would take the others away, too. A bad configuration leaves the one
before in force, so it counts as not ready for the strict alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused, Row

LISTENING, DATABASE = "listening", "database"
_SERVERS = ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_being_canceled")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is so or isn't; `reason` says why not."""

    check: str
    name: str
    ready: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The checks; `reason` is why there are none."""

    checks: Sequence[Check] = ()
    reason: str = ""

    def why_not(self, *, strict: bool = False, database: str | None = None) -> str:
        """Why the answer is no; "" where it is yes.

        `strict` takes any check that fails for a no; `database` asks about that one alone.
        """
        failed = [check for check in self.checks if not check.ready]
        if self.reason or not self.checks:
            return self.reason or "the console has told nothing"
        if not any(check.check == LISTENING for check in self.checks):
            return "the console has not told whether the pooler listens"
        if database is not None:
            return self._why_not_database(database)
        if not strict:
            failed = [check for check in failed if check.check == LISTENING]
        if failed:
            return "; ".join(map(_tell, failed))
        databases = [check for check in self.checks if check.check == DATABASE]
        if databases and not any(check.ready for check in databases):
            return "no database can have a server: " + "; ".join(map(_tell, databases))
        return ""

    def _why_not_database(self, name: str) -> str:
        for check in self.checks:
            if not check.ready and (check.check, check.name) in ((LISTENING, ""), (DATABASE, name)):
                return _tell(check)
        known = any((check.check, check.name) == (DATABASE, name) for check in self.checks)
        return "" if known else f"no such database: {name}"


def _tell(check: Check) -> str:
    what = f"{check.check} {check.name}".rstrip()
    return f"{what}: {check.reason}" if check.reason else f"{what}: not ready"


async def read_readiness(console: Console) -> Readiness:
    """What the console says now; never fails."""
    try:
        rows = await console.query_optional("SHOW READINESS")
        if rows is not None:
            return Readiness([_as_told(row) for row in rows])
        state = await console.query_optional("SHOW STATE") or ()
        databases = await console.query("SHOW DATABASES")
        return Readiness(infer(state, databases, await console.query("SHOW POOLS")))
    except (ConsoleGone, ConsoleRefused) as error:
        return Readiness(reason=str(error))


def _as_told(row: Row) -> Check:
    return Check(
        row.get("check") or "",
        row.get("name") or "",
        row.get("ready") == "1",
        row.get("reason") or "",
    )


def infer(state: Iterable[Row], databases: Iterable[Row], pools: Sequence[Row]) -> list[Check]:
    """The checks of a PgBouncer. That it listens is known from its answer.

    A database can have no server where it is paused or disabled, or where all of its pools that
    somebody waits in have none.
    """
    is_suspended = any(r.get("key") == "suspended" and r.get("value") == "yes" for r in state)
    checks = [Check(LISTENING, "", not is_suspended, "suspended" if is_suspended else "")]
    for row in databases:
        name = row.get("name") or ""
        if name != ADMIN_DATABASE:
            reason = _why_no_server(row, [pool for pool in pools if pool.get("database") == name])
            checks.append(Check(DATABASE, name, not reason, reason))
    return checks


def _why_no_server(database: Row, pools: Sequence[Row]) -> str:
    for flag in ("disabled", "paused"):
        if database.get(flag) == "1":
            return flag
    wanted = [pool for pool in pools if pool.get("cl_waiting", "0") != "0"]
    if wanted and not any(pool.get(name, "0") != "0" for pool in pools for name in _SERVERS):
        return "clients wait and there is no server connection"
    return ""
