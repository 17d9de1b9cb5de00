"""The tables and the dataclasses say the same; what is honoured is data."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from pgmux.config import params
from pgmux.config.ldap_options import LdapOptions
from pgmux.config.model import Database, Peer, PgmuxSettings, Settings, User
from pgmux.config.params import SETTINGS, Kind, Param
from pgmux.config.values import default_value

TYPES: dict[Kind, type] = {
    Kind.BOOL: bool,
    Kind.INT: int,
    Kind.UINT: int,
    Kind.SECONDS: float,
    Kind.TEXT: str,
    Kind.DATABASE: str,
    Kind.LDAP: LdapOptions,
    Kind.LISTEN: str,
    Kind.COUNT: int,
    Kind.WHOLE_SECONDS: float,
    Kind.PORT: int,
}
LISTS = (Kind.NAMES, Kind.WORDS, Kind.HOST_NAMES)


def type_of(param: Param) -> object:
    value = tuple[str, ...] if param.kind in LISTS else param.choices or TYPES[param.kind]
    return value | None if default_value(param) is None else value


def fields_of(model: type) -> dict[str, object]:
    return dict(typing.get_type_hints(model))


def test_there_are_a_hundred_settings() -> None:
    assert len(SETTINGS) == 100


def test_settings_are_the_table_s_rows_in_its_order_with_its_types() -> None:
    fields = fields_of(Settings)
    del fields["texts"], fields["places"]
    assert list(fields.items()) == [(name, type_of(param)) for name, param in SETTINGS.items()]


def test_settings_defaults_are_the_table_s() -> None:
    defaults = Settings()
    for name, param in SETTINGS.items():
        assert getattr(defaults, name) == default_value(param), name


def test_pgmux_settings_are_the_table_s_with_its_defaults() -> None:
    table = params.PGMUX_SETTINGS
    assert fields_of(PgmuxSettings) == {name: type_of(param) for name, param in table.items()}
    for name, param in table.items():
        assert getattr(PgmuxSettings(), name) == default_value(param), name


@pytest.mark.parametrize(
    ("model", "table", "others"),
    [
        (Database, {**params.DATABASE_KEYS, **params.PGMUX_DATABASE_KEYS}, {"name", "hosts"}),
        (User, {**params.USER_KEYS, **params.PGMUX_USER_KEYS}, {"name"}),
        (Peer, params.PEER_KEYS, {"id"}),
    ],
)
def test_an_entry_s_fields_are_its_table_s_keys(
    model: type, table: dict[str, Param], others: set[str]
) -> None:
    fields = fields_of(model)
    assert set(fields) - others == set(table)
    for field in dataclasses.fields(model):
        param = table.get(field.name)
        if param is not None and field.default is not dataclasses.MISSING:
            assert field.default == default_value(param), field.name
            assert fields[field.name] == type_of(param), field.name


@pytest.mark.parametrize("param", SETTINGS.values(), ids=lambda param: param.name)
def test_a_row_is_whole(param: Param) -> None:
    assert param.help.endswith(".")
    assert (param.kind is Kind.CHOICE) == (param.choices is not None)
