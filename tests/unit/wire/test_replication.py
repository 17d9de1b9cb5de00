"""The startup parameter `replication`."""

from __future__ import annotations

import pytest

from pgmux.errors import PoolerError
from pgmux.wire.replication import Replication, parse_replication


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("database", Replication.LOGICAL),
        *((text, Replication.PHYSICAL) for text in ("true", "T", "on", "ON", "1", "yes", "y")),
        *((text, Replication.NONE) for text in ("false", "f", "off", "of", "0", "no", "N")),
    ],
)
def test_a_value_names_its_kind_in_all_forms_of_a_boolean(text: str, kind: Replication) -> None:
    assert parse_replication(text) is kind


@pytest.mark.parametrize("text", ["", "o", "Database", "2", "11", "truer", "data base"])
def test_any_other_value_is_an_error(text: str) -> None:
    with pytest.raises(PoolerError, match='invalid value for parameter "replication"'):
        parse_replication(text)


def test_only_a_replication_connection_is_true() -> None:
    assert [kind for kind in Replication if kind] == [Replication.LOGICAL, Replication.PHYSICAL]


@pytest.mark.parametrize("kind", Replication)
def test_what_a_server_is_told_names_the_kind_again(kind: Replication) -> None:
    assert parse_replication(kind.parameter) is kind
