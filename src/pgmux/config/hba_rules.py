"""The lines of an HBA file, kept so that a login is compared with those alone that may be for it.

Anybody who connects is looked for here, in the event loop, and a file may have 100,000 lines: one
for each user, say, or each address that is kept out. `auth.hba` says which line decides.
Errors: none.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from operator import attrgetter

from pgmux.config.hba import HbaRule, Names, Network

_MOST_NAMES = 4  # in a column, where its line is kept under each of them
_WIDTHS = {4: 32, 6: 128}

# Database, user, and the network as (version, mask, address); None where it can be any.
_Block = tuple[int, int, int]
_Key = tuple[str | None, str | None, _Block | None]


class HbaRules:
    """The lines, in their order."""

    __slots__ = ("_kept", "_lines", "_masks")

    def __init__(self, lines: Iterable[HbaRule] = ()) -> None:
        self._lines = tuple(lines)
        self._kept: dict[_Key, list[HbaRule]] = {}
        self._masks: dict[int, set[int]] = {version: set() for version in _WIDTHS}
        for line in self._lines:
            block = None
            if line.network is not None and _is_prefix(line.network):
                block = (line.network.version, line.network.mask, line.network.address)
                self._masks[line.network.version].add(line.network.mask)
            for database in _keys(line.databases):
                for user in _keys(line.users):
                    self._kept.setdefault((database, user, block), []).append(line)

    def __iter__(self) -> Iterator[HbaRule]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HbaRules) and self._lines == other._lines

    def near(
        self, database: str, user: str, version: int = 0, address: int = 0
    ) -> Iterator[HbaRule]:
        """In their order, all lines that may be for a login, and some that aren't. Without a
        version there is no address.
        """
        masks = self._masks.get(version, ())
        blocks = [None, *((version, mask, address & mask) for mask in masks)]
        found = [
            self._kept.get((name, who, block), ())
            for name in (database, None)
            for who in (user, None)
            for block in blocks
        ]
        return heapq.merge(*filter(None, found), key=attrgetter("line"))


def _keys(names: Names) -> Iterable[str | None]:
    """What a column's line is kept under."""
    is_any = names.is_all or names.is_sameuser or names.is_replication
    return (None,) if is_any or len(names.names) > _MOST_NAMES else names.names


def _is_prefix(network: Network) -> bool:
    """Whether the mask is one of those few that a number of bits stands for."""
    rest = network.mask ^ ((1 << _WIDTHS[network.version]) - 1)
    return rest & (rest + 1) == 0
