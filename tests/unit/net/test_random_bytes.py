"""Random bytes that are drawn in bulk."""

from __future__ import annotations

import secrets

import pytest

from pgmux.net.random_bytes import BULK, RandomBytes


def test_as_many_come_as_were_asked_for() -> None:
    draw = RandomBytes()
    sizes = [0, 8, 16, BULK - 1, BULK, BULK + 1, 3 * BULK, 4]
    assert [len(draw(size)) for size in sizes] == sizes


def test_no_byte_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = bytearray()

    def token_bytes(size: int) -> bytes:
        start = len(drawn) // 2
        drawn.extend(b"".join(i.to_bytes(2, "big") for i in range(start, start + size // 2)))
        return bytes(drawn[2 * start :])

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    draw = RandomBytes()
    given = [draw(size) for size in [32, 2, 18] * 400]
    pairs = [each[i : i + 2] for each in given for i in range(0, len(each), 2)]
    assert len(set(pairs)) == len(pairs)


def test_many_small_ones_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(secrets, "token_bytes", lambda size: asked.append(size) or bytes(size))
    draw = RandomBytes()
    for _ in range(BULK // 8):
        draw(8)
    assert asked == [BULK]
