"""The same cause is counted as the same error, in the words of who said it, with its cure."""

from __future__ import annotations

import errno

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from pgmux.ops.loadtest.failures import Failure, NoneFree, NotConnected, failure_of
from pgmux.ops.loadtest.tally import GIVEN_UP, MOST_FAILURES, OTHER, Tally


def server_error(sqlstate: str, message: str) -> Exception:
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": message})
    assert isinstance(error, Exception)
    return error


def not_connected(cause: Exception) -> NotConnected:
    error = NotConnected()
    error.__cause__ = cause
    return error


def test_prepared_statements_that_are_missing_are_one_error_whatever_their_names() -> None:
    names = ("__asyncpg_stmt_1__", "__asyncpg_stmt_2f__")
    errors = [server_error("26000", f'prepared statement "{n}" does not exist') for n in names]
    (found,) = {failure_of(each) for each in errors}
    assert found == Failure('prepared statement "__asyncpg_stmt_…__" does not exist', "26000")
    assert "max_prepared_statements" in found.cure
    assert "--statement-cache-size 0" in found.cure


def test_an_error_that_sqlalchemy_has_wrapped_is_the_drivers() -> None:
    driver = server_error("53300", "sorry, too many clients already")
    translated = Exception("<class 'TooManyConnectionsError'>: sorry")
    translated.__cause__ = driver
    wrapped = DBAPIError("SELECT 1", {}, translated)
    assert failure_of(wrapped) == Failure("sorry, too many clients already", "53300")


def test_a_connection_that_the_server_ended_is_counted_by_what_it_said() -> None:
    error = asyncpg.ConnectionDoesNotExistError("connection was closed: terminating")
    error.__cause__ = server_error("57P01", "terminating connection due to administrator command")
    expected = Failure("terminating connection due to administrator command", "57P01")
    assert failure_of(error) == expected


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (TimeoutError(), "no answer in time", ""),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "…: ('::1', 1)"),
            "Connection refused",
            "ECONNREFUSED",
        ),
        (OSError(errno.EADDRNOTAVAIL, "x"), "Cannot assign requested address", "EADDRNOTAVAIL"),
        (NoneFree(10.0), "no connection of the pool was free in 10 s", ""),
        (not_connected(TimeoutError()), "no connection: no answer in time", ""),
        (not_connected(server_error("28P01", "no")), "no", "28P01"),
        (ValueError("trailing 94 bytes in buffer"), "trailing … bytes in buffer", ""),
        (ValueError(), "ValueError", ""),
        (ValueError("a\x1b[2J\nb"), "a\\x1B[2J", ""),
    ],
)
def test_an_error_is_a_short_text_and_a_code(error: Exception, message: str, code: str) -> None:
    assert failure_of(error) == Failure(message, code)


@pytest.mark.parametrize(
    ("failure", "cure"),
    [
        (Failure("sorry, too many clients already", "53300"), "a pooler in between"),
        (Failure("no more connections allowed (max_client_conn)", "08P01"), "max_client_conn"),
        (Failure("query_wait_timeout", "08P01"), "default_pool_size"),
        (Failure("no connection of the pool was free in 10 s"), "--pool-size"),
        (
            Failure("the server expects … argument for this query, … were passed"),
            "instead of $1",
        ),
        (Failure("unsupported startup parameter: options", "08P01"), "ignore_startup_parameters"),
        (Failure('relation "x" does not exist', "42P01"), ""),
    ],
)
def test_a_known_error_has_its_cure(failure: Failure, cure: str) -> None:
    assert cure in failure.cure
    assert bool(cure) == bool(failure.cure)


def test_however_many_different_errors_there_are_all_are_counted_in_bounded_memory() -> None:
    tally = Tally()
    for number in range(1000):
        tally.fail(server_error("22000", f"bad value {number}"), 0.0)
    assert tally.failed == sum(tally.failures.values()) == 1000
    assert len(tally.failures) == MOST_FAILURES + 1
    assert tally.failures[OTHER] == 1000 - MOST_FAILURES


def test_what_was_not_asked_counts_as_failed() -> None:
    tally = Tally()
    tally.succeed(0.1, 0.1)
    tally.give_up(3)
    tally.give_up(0)
    assert (tally.done, tally.failed, tally.failures[GIVEN_UP]) == (4, 3, 3)
