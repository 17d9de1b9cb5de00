"""Which Host a request may name."""

from __future__ import annotations

import pytest

from pgmux.web.access import is_host_allowed

ADDED = frozenset({"pool.example.com"})


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:9127", "[::1]:9127", "[fe80::1%25eth0]:9127", "10.1.2.3", "[::1]"),
        *("localhost:9127", "LOCALHOST", "pgbouncer:9127", "app.localhost"),
        *("pool.example.com:9127", "Pool.Example.com", "pool.example.com."),
        "",
    ],
)
def test_addresses_and_names_that_nobody_else_can_own_are_answered(host: str) -> None:
    assert is_host_allowed(host, ADDED)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9127",
        "127.0.0.1.evil.example",
        "x.pool.example.com",
        "a.b:c:d",
    ],
)
def test_a_name_that_a_stranger_can_point_at_us_is_not(host: str) -> None:
    assert not is_host_allowed(host, ADDED)


def test_an_operator_may_switch_the_check_off() -> None:
    assert is_host_allowed("evil.example", frozenset({"*"}))
