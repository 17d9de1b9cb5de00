"""How often somebody may guess."""

from __future__ import annotations

import pytest

from pgmux.web.attempts import MAX_TRUSTED, OVERALL, PER_ADDRESS, WINDOW, Attempts


def fail(attempts: Attempts, address: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        assert attempts.begin(address, now) == 0.0


def test_after_too_many_failures_an_address_has_to_wait_for_the_rest_of_the_window() -> None:
    attempts = Attempts()
    fail(attempts, "192.0.2.1", PER_ADDRESS, now=10.0)
    assert attempts.begin("192.0.2.1", 30.0) == WINDOW - 20.0
    assert attempts.begin("192.0.2.1", 10.0 + WINDOW) == 0.0


def test_a_refused_attempt_makes_the_wait_no_longer() -> None:
    attempts = Attempts()
    fail(attempts, "192.0.2.1", PER_ADDRESS)
    for now in (1.0, 20.0, 59.0):
        assert attempts.begin("192.0.2.1", now) == WINDOW - now
    assert attempts.begin("192.0.2.1", WINDOW) == 0.0


def test_another_address_is_let_in_meanwhile() -> None:
    attempts = Attempts()
    fail(attempts, "192.0.2.1", PER_ADDRESS)
    assert attempts.begin("192.0.2.2", 0.0) == 0.0


def test_attempts_at_the_same_time_count_before_they_have_failed() -> None:
    attempts = Attempts(per_address=2)
    assert [attempts.begin("::1", 0.0) > 0 for _ in range(4)] == [False, False, True, True]


def test_what_succeeds_is_no_failure() -> None:
    attempts = Attempts()
    for now in range(3 * PER_ADDRESS):
        assert attempts.begin("192.0.2.1", now / 100) == 0.0
        attempts.succeed("192.0.2.1", now / 100)


def test_what_told_nothing_is_neither_a_failure_nor_a_success() -> None:
    attempts = Attempts(per_address=1, overall=2)
    fail(attempts, "192.0.2.1", 1)
    attempts.withdraw("192.0.2.1")
    fail(attempts, "192.0.2.1", 1)
    fail(attempts, "192.0.2.2", 1)
    attempts.withdraw("192.0.2.9")
    assert attempts.begin("192.0.2.3", 0.0) > 0


def test_guesses_from_many_addresses_are_bounded_together() -> None:
    attempts = Attempts()
    for i in range(OVERALL):
        fail(attempts, f"10.0.0.{i}", 1)
    assert attempts.begin("10.9.9.9", 1.0) == WINDOW - 1.0


def test_the_failures_of_others_do_not_keep_out_who_has_succeeded_lately() -> None:
    attempts = Attempts()
    fail(attempts, "192.0.2.1", 1)
    attempts.succeed("192.0.2.1", 0.0)
    for i in range(OVERALL):
        fail(attempts, f"10.0.0.{i}", 1)
    assert attempts.begin("10.9.9.9", 1.0) > 0
    assert attempts.begin("192.0.2.1", 1.0) == 0.0
    fail(attempts, "192.0.2.1", PER_ADDRESS - 1, now=1.0)
    assert attempts.begin("192.0.2.1", 1.0) > 0, "its own failures do"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("fe80::1%eth0", "fe80::2%eth0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses_of_one_machine_count_together(one: str, other: str) -> None:
    attempts = Attempts(per_address=1)
    fail(attempts, one, 1)
    assert attempts.begin(other, 0.0) > 0


def test_a_proxys_word_instead_of_an_address_is_one_too() -> None:
    attempts = Attempts(per_address=1)
    fail(attempts, "?", 1)
    assert attempts.begin("?", 0.0) > 0


def test_what_is_remembered_of_successes_is_bounded() -> None:
    attempts = Attempts()
    for i in range(MAX_TRUSTED + 50):
        address = f"10.0.{i // 256}.{i % 256}"
        assert attempts.begin(address, 0.0) == 0.0
        attempts.succeed(address, 0.0)
    assert len(attempts._trusted) == MAX_TRUSTED
