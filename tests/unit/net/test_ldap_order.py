"""Which LDAP server of a list is asked first."""

from __future__ import annotations

import pytest

from pgmux.net.ldap_order import RETRY, Order
from tests.fixtures.clock import Clock


@pytest.fixture
def order(clock: Clock) -> Order:
    return Order(clock)


def test_servers_are_asked_as_they_are_listed(order: Order) -> None:
    assert order.arrange(["a", "b", "c"]) == ["a", "b", "c"]
    order.on_answer("c")
    assert order.arrange(["a", "b", "c"]) == ["a", "b", "c"]


def test_who_did_not_answer_comes_last_for_a_while(order: Order, clock: Clock) -> None:
    order.on_silence("a")
    clock.now += RETRY - 1
    assert order.arrange(["a", "b", "c"]) == ["b", "c", "a"]
    clock.now += 1
    assert order.arrange(["a", "b", "c"]) == ["a", "b", "c"]


def test_one_login_alone_finds_out_whether_it_answers_again(order: Order, clock: Clock) -> None:
    order.on_silence("a")
    clock.now += RETRY
    assert [order.arrange(["a", "b"]) for _ in range(3)] == [["a", "b"], ["b", "a"], ["b", "a"]]
    order.on_answer("a")
    assert order.arrange(["a", "b"]) == ["a", "b"]


def test_where_none_answers_all_are_asked_in_their_order(order: Order) -> None:
    for url in ("b", "a"):
        order.on_silence(url)
    assert order.arrange(["a", "b"]) == ["a", "b"]
