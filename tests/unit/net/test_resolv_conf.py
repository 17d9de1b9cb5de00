"""What is taken of a resolv.conf."""

from __future__ import annotations

import pytest

from pgmux.net.resolv_conf import ChannelOptions, parse_resolv_conf

BARE: ChannelOptions = {"servers": ["127.0.0.1"], "domains": ["."]}


def test_all_that_counts_is_taken() -> None:
    text = """
# comment
nameserver 10.0.0.1
nameserver [::1]:5353
nameserver fe80::1
search a.test b.test
options ndots:5 timeout:3 attempts:2 rotate edns0
"""
    assert parse_resolv_conf(text) == {
        "servers": ["10.0.0.1", "[::1]:5353", "fe80::1"],
        "domains": ["a.test", "b.test"],
        "ndots": 5,
        "timeout": 3,
        "tries": 2,
        "rotate": True,
    }


def test_an_empty_file_means_the_local_server_and_no_domain() -> None:
    assert parse_resolv_conf("") == BARE


@pytest.mark.parametrize(
    "line",
    [
        "nameserver",
        "nameserver db.test",
        "nameserver 10.0.0.1:0",
        "nameserver 10.0.0.1:99999",
        "nameserver [::1",
        "nameserver [::1]:x",
        "options ndots:-1",
        "options timeout",
        "sortlist 10.0.0.0",
        "search",
        "search \u00e4.test",
        "\ufffd\x00",
    ],
)
def test_a_line_that_means_nothing_is_skipped(line: str) -> None:
    assert parse_resolv_conf(line) == BARE


def test_the_last_list_of_domains_counts() -> None:
    assert parse_resolv_conf("domain a.test\nsearch b.test c.test")["domains"] == [
        "b.test",
        "c.test",
    ]


def test_numbers_are_kept_within_reason() -> None:
    options = parse_resolv_conf("options timeout:0 attempts:0 ndots:4000000000")
    assert (options["timeout"], options["tries"], options["ndots"]) == (1, 1, 30)
