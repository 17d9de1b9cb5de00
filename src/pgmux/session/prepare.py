"""The prepared statements of one database, by their text.

Clients name statements as they like; on servers each text has one name, `PGBOUNCER_<n>`, so that
what one client prepared serves the next. An entry lives as long as a client or a server holds its
statement: nothing here grows without an owner.
Source: PgBouncer's prepare.c in outline (its global hash); the name's form is PgBouncer's too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from weakref import WeakValueDictionary

from pgmux.session._relay_cy import PreparedStatement


class Statements:
    """Texts -> statements, for the servers of one database. `numbers` is shared by all databases of
    the process.
    """

    def __init__(self, numbers: Iterator[int] | None = None) -> None:
        self._numbers = count(1) if numbers is None else numbers
        self._by_query: WeakValueDictionary[bytes, PreparedStatement] = WeakValueDictionary()

    def find(self, query: bytes) -> PreparedStatement:
        """The statement for a Parse body behind its name (String query, Int16 count, Int32 oids); a
        new one if need be.
        """
        statement = self._by_query.get(query)
        if statement is None:
            statement = PreparedStatement(b"PGBOUNCER_%d" % next(self._numbers), query)
            self._by_query[query] = statement
        return statement

    def outdate(self) -> None:
        """DDL: whoever prepares a text from now on gets it prepared anew.

        Clients keep the statements that they have, and PostgreSQL's own rules for them: it plans
        anew, and refuses what would change a result's type, which the client may have cached.
        """
        self._by_query = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._by_query)
