"""What the startup parameter `replication` asks for: a walsender instead of an ordinary backend.

`database` is logical replication of one database; a true value physical replication, of the whole
cluster; a false one neither.
Source: PostgreSQL, "Streaming Replication Protocol" (55.4), `parse_bool`; the names in logs and
SHOW are PgBouncer's.
Errors: PoolerError in PostgreSQL's words for a value that is neither.
"""

from __future__ import annotations

from enum import Enum

from pgmux.errors import PoolerError

SQLSTATE_INVALID_PARAMETER_VALUE = "22023"


class Replication(Enum):
    """A connection's kind; the value is what SHOW says."""

    NONE = "none"
    LOGICAL = "logical"
    PHYSICAL = "physical"

    def __bool__(self) -> bool:
        """Whether it is a replication connection."""
        return self is not Replication.NONE

    @property
    def parameter(self) -> str:
        """What stands for it in a StartupMessage, and in the log."""
        return {"none": "no", "logical": "database", "physical": "yes"}[self.value]


# A boolean's words, and from which length on their beginnings are enough, as in PostgreSQL.
_WORDS = (
    ("true", 1, Replication.PHYSICAL),
    ("yes", 1, Replication.PHYSICAL),
    ("on", 2, Replication.PHYSICAL),
    ("1", 1, Replication.PHYSICAL),
    ("false", 1, Replication.NONE),
    ("no", 1, Replication.NONE),
    ("off", 2, Replication.NONE),
    ("0", 1, Replication.NONE),
)
_KINDS = {
    word[:length]: kind for word, least, kind in _WORDS for length in range(least, len(word) + 1)
}


def parse_replication(value: str) -> Replication:
    """The kind that the parameter's value names."""
    kind = Replication.LOGICAL if value == "database" else _KINDS.get(value.lower())
    if kind is None:
        message = f'invalid value for parameter "replication": "{value}"'
        raise PoolerError(message, sqlstate=SQLSTATE_INVALID_PARAMETER_VALUE)
    return kind
