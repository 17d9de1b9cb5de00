"""What auth-setup is to make: names, and the function's text.

The function's search_path is pinned and pg_temp comes last, so that no table, function or operator
of the caller's decides what is read (CVE-2025-12819); VALID UNTIL counts (CVE-2025-2291).
Errors: `SetupError`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmux.errors import PgmuxError

MARK = "made by pgmux auth-setup"  # the comment of all that is made, and of nothing else
SEARCH_PATH = "search_path=pg_catalog, pg_temp"
ARGUMENTS = "i_username text, OUT uname text, OUT phash text"
RESULT = "SETOF record"
ROLE, SCHEMA = "pgbouncer_auth", "pgbouncer"
_NAME_BYTES = 63


class SetupError(PgmuxError):
    """Something that is there stands in the way; the text says what and what to do."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The names, who is found by the function, and the role's connection limit (None: as it is)."""

    role: str = ROLE
    schema: str = SCHEMA
    function: str = "user_lookup"
    superusers: bool = False
    replication: bool = False
    connection_limit: int | None = None

    def __post_init__(self) -> None:
        for name in (self.role, self.schema, self.function):
            if not 0 < len(name.encode("utf-8", "replace")) <= _NAME_BYTES or "\0" in name:
                raise SetupError(f"names have 1 to {_NAME_BYTES} bytes in PostgreSQL")

    @property
    def body(self) -> str:
        """What the function does; a role that has expired is found, without a secret."""
        conditions = "rolname = i_username AND rolcanlogin"
        conditions += "" if self.superusers else " AND NOT rolsuper"
        conditions += "" if self.replication else " AND NOT rolreplication"
        return (
            "\n  SELECT rolname::text, CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL"
            "\n         ELSE rolpassword END"
            f"\n    FROM pg_catalog.pg_authid\n   WHERE {conditions}\n"
        )
