"""Where `pgmux web` listens, by what --listen says."""

from __future__ import annotations

import pytest

from pgmux.web.options import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("[::1]", Address("::1", 9127)),
        ("*:80", Address(None, 80)),
        (":80", Address("127.0.0.1", 80)),
        ("80", Address("127.0.0.1", 80)),
        ("localhost", Address("localhost", 9127)),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "::1", "::1:80", "host:port", "host:65536", "a b:80", "[x]:1", "999.1.1.1:80", "**:80"],
)
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9127"):
        parse_address(text)


def test_an_address_reads_as_it_is_written() -> None:
    for text in ("127.0.0.1:80", "[::1]:80", "*:80"):
        assert str(parse_address(text)) == text
