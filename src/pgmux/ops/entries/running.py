"""The pooler that runs on the files: told to RELOAD, asked what it has taken over, tried.

PgBouncer before 1.25 answers RELOAD with success though it refused the file, and keeps the old
configuration: so what SHOW says counts. Works with 1.18 as well.
Errors: those of `console.connection`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pgmux.ops.console.place import Place
from pgmux.ops.console.result import Value
from pgmux.ops.console.session import AskPassword, Session, Tell
from pgmux.ops.server_connection import ServerConnection, ServerError

PATIENCE = 5.0  # seconds for a RELOAD to take effect: what is removed goes at the next maintenance
INTERVAL = 0.05
TRIAL_TIMEOUT = 15  # seconds to log in through the pooler, its login to PostgreSQL included

Row = dict[str, Value]
Expectation = Callable[["Running"], str]
"""Whether a change has taken effect: "" if so, else what the pooler shows instead."""


class Running:
    """A pooler, by its console."""

    def __init__(self, place: Place, ask_password: AskPassword, tell: Tell) -> None:
        self.session = Session(place, ask_password, tell)

    @property
    def parameters(self) -> dict[str, str]:
        """Where it is and who we are there, with the password that has been typed, if one was."""
        return self.session.open().parameters

    @property
    def is_pgmux(self) -> bool:
        return any("pgmux" in str(value) for row in self.rows("VERSION") for value in row.values())

    @property
    def name(self) -> str:
        """What kind it is, and which version."""
        version = self.session.open().version
        return "pgmux" if self.is_pgmux else f"PgBouncer {version}"

    def close(self) -> None:
        self.session.close()

    def rows(self, what: str) -> list[Row]:
        """The rows of SHOW `what`."""
        return self.session.run(f"SHOW {what}").as_objects()

    def find(self, what: str, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows(what) if row.get("name") == name), None)

    def setting(self, key: str) -> str:
        row = next((row for row in self.rows("CONFIG") if row.get("key") == key), {})
        return str(row.get("value") or "")

    def count_clients(self, column: str, name: str) -> int:
        """Clients whose `user` or `database` that is."""
        return sum(row.get(column) == name for row in self.rows("CLIENTS"))

    def reload(self) -> None:
        self.session.run("RELOAD")

    def find_unmet(self, expected: list[Expectation]) -> str:
        """What hasn't taken effect within PATIENCE, "" if all has."""
        deadline = time.monotonic() + PATIENCE
        while True:
            unmet = [said for said in (expectation(self) for expectation in expected) if said]
            if not unmet or time.monotonic() > deadline:
                return "; ".join(unmet)
            time.sleep(INTERVAL)

    def try_login(self, dbname: str, user: str, password: str | None) -> str:
        """A login where the console is, and SELECT 1; "" if it works, else the error."""
        at = self.parameters
        wanted = {"host": at["host"], "port": at["port"], "dbname": dbname, "user": user}
        wanted["connect_timeout"] = str(TRIAL_TIMEOUT)
        if password:
            wanted["password"] = password
        try:
            with ServerConnection(wanted) as connection:
                connection.rows("SELECT 1", timeout=TRIAL_TIMEOUT)
        except ServerError as error:
            return str(error).removeprefix("no connection to PostgreSQL at ")
        return ""
