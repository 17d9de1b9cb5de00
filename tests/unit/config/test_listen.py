"""http_listen and http_allowed_hosts: what is understood, and what is refused with its place."""

from __future__ import annotations

import pytest

from pgmux.config.listen import parse_host_names, parse_listen


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ""),
        (" 9127 ", "127.0.0.1:9127"),
        (":9127", "127.0.0.1:9127"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:9127", "[::1]:9127"),
        ("*:9127", "*:9127"),
        ("metrics.internal:9127", "metrics.internal:9127"),
        ("localhost:09127", "localhost:9127"),
    ],
)
def test_an_address_is_understood_and_a_port_alone_is_loopbacks(text: str, address: str) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("localhost", "0", ":0", "65536", "127.0.0.1:", "::1:9127", "[::1]", "[zz]:9127"),
        *("**:9127", "http://localhost:9127", "a b:9127", "999.1.1.1:9127", "-:1", "127.0.0.1:-1"),
        *("²:9127", "127.0.0.1:²"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=":9127"):
        parse_listen(text)


def test_host_names_are_a_list_in_lower_case() -> None:
    names = parse_host_names("Pool.example.com, pool ,[::1],10.0.0.1,*,")
    assert names == ("pool.example.com", "pool", "[::1]", "10.0.0.1", "*")


@pytest.mark.parametrize("text", ["https://pool.example.com", "a b", "pool/", "pool:80", "*.x"])
def test_what_is_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host names by commas"):
        parse_host_names(text)
