from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.admin.values import Type, find_encoder
from pgmux.wire.codes import FORMAT_BINARY, FORMAT_TEXT


@pytest.mark.parametrize(
    ("number", "sent"),
    [  # as numeric_send() of PostgreSQL 17 answers
        (0, "0000 0000 0000 0000"),
        (1, "0001 0000 0000 0000 0001"),
        (9999, "0001 0000 0000 0000 270f"),
        (10000, "0001 0001 0000 0000 0001"),
        (10001, "0002 0001 0000 0000 0001 0001"),
        (1500000, "0001 0001 0000 0000 0096"),
        (123456789, "0003 0002 0000 0000 0001 0929 1a85"),
        (2**64 - 1, "0005 0004 0000 0000 0734 1a58 02e1 03bb 064f"),
    ],
)
def test_a_binary_numeric_is_postgresqls(number: int, sent: str) -> None:
    assert find_encoder(Type.NUMERIC, FORMAT_BINARY)(number) == bytes.fromhex(sent)


@given(st.integers(0, 2**64 - 1))
def test_a_binary_numeric_has_the_numbers_value(number: int) -> None:
    encoded = find_encoder(Type.NUMERIC, FORMAT_BINARY)(number)
    fields = [int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2)]
    ndigits, weight, sign, dscale, *digits = fields
    assert (sign, dscale, len(digits)) == (0, 0, ndigits)
    assert all(digit < 10000 for digit in digits)
    assert sum(d * 10000 ** (weight - i) for i, d in enumerate(digits)) == number


@pytest.mark.parametrize(
    ("number", "shown"), [(0, 0), (-1, -1), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32, 0)]
)
def test_an_int4_that_is_too_large_wraps_as_pgbouncers(number: int, shown: int) -> None:
    assert find_encoder(Type.INT4, FORMAT_TEXT)(number) == str(shown).encode()
    binary = find_encoder(Type.INT4, FORMAT_BINARY)(number)
    assert int.from_bytes(binary, "big", signed=True) == shown and len(binary) == 4


def test_an_int8_has_eight_bytes() -> None:
    assert find_encoder(Type.INT8, FORMAT_TEXT)(2**32) == b"4294967296"
    assert find_encoder(Type.INT8, FORMAT_BINARY)(2**32) == bytes.fromhex("00000001 00000000")


@pytest.mark.parametrize("format_", [FORMAT_TEXT, FORMAT_BINARY])
def test_a_text_is_the_same_utf_8_in_both_formats_whatever_its_bytes_are(format_: int) -> None:
    text = b"caf\xc3\xa9 \xe9\xff".decode("utf-8", "surrogateescape")
    assert find_encoder(Type.TEXT, format_)(text) == b"caf\xc3\xa9 \\xe9\\xff"
