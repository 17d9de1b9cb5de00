"""Whatever a client says, it is answered as PostgreSQL itself answers: random conversations."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from pgmux.wire.parse import parse_error_response
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import Message, RawClient
from tests.fixtures.rotation import ROTATE, open_servers

# The unnamed statement belongs to its batch: below it is prepared and used in one step.
NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT 2 AS two, $1::text",
        "SELECT generate_series(1, 3)",
        "SELECT 1 / (SELECT 0)",
        "INSERT INTO t VALUES (1)",
        "SELEC",
        "",
        "BEGIN",
        "COMMIT",
    ]
)
QUERIES = st.sampled_from(
    [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SELECT 1",
        "SELECT 1; SELECT 'two'",
        "SELECT 1; SELECT 1 / (SELECT 0)",
        "SELEC",
        "",
        "SAVEPOINT s",
        "ROLLBACK TO s",
        "PREPARE by_sql AS SELECT 1; DEALLOCATE by_sql",
        "SELECT count(*) FROM t",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "COPY (SELECT generate_series(1, 3)) TO STDOUT",
        "DO $$ BEGIN RAISE NOTICE 'note'; END $$",
    ]
).map(build.build_query)


def describe(kind: str, name: str) -> bytes:
    return build.build_describe(ord(kind), name)


STEPS = st.one_of(
    st.builds(build.build_parse, NAMES, TEXTS),
    TEXTS.map(
        lambda text: (
            build.build_parse("", text)
            + describe("S", "")
            + build.build_bind("", "")
            + build.build_execute()
        )
    ),
    st.builds(
        lambda name, count, rows: (
            build.build_bind("", name, [b"x"] * count) + build.build_execute("", rows)
        ),
        NAMES,
        st.integers(0, 1),
        st.sampled_from([0, 2]),
    ),
    NAMES.map(lambda name: describe("S", name)),
    NAMES.map(lambda name: build.build_bind("", name) + describe("P", "") + build.build_execute()),
    NAMES.map(lambda name: build.build_close(ord("S"), name)),
    st.just(build.build_flush()),
)
PIPELINES = st.lists(STEPS, max_size=6).map(lambda steps: b"".join(steps) + build.build_sync())
COPIES = st.builds(
    lambda rows, end: build.build_query("COPY t FROM STDIN") + b"".join(rows) + end,
    st.lists(st.sampled_from([b"1\n", b"bad\n"]).map(build.build_copy_data), max_size=3),
    st.sampled_from([build.build_copy_done(), build.build_copy_fail("no")]),
)
CONVERSATIONS = st.lists(st.one_of(PIPELINES, PIPELINES, QUERIES, COPIES), max_size=12)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(auth_method="trust") as server:
        for name in ("direct", "pooled"):
            server.psql(f"CREATE DATABASE {name} STRATEGY file_copy")
            server.psql("CREATE TABLE t (a int)", name)
        yield server


@pytest.fixture(scope="module")
def small(module_pooler: MakePooler, server: EmbeddedPostgres) -> Pooler:
    """Three servers that take turns, with room for two statements each."""
    return module_pooler(postgres=server, settings=ROTATE | {"max_prepared_statements": 2})


def essence(message: Message) -> tuple[str, ...]:
    kind, body = message
    if kind == "E":
        error = parse_error_response(body)
        # The one error that quotes the server's name for a statement.
        named = error.message.startswith("bind message supplies")
        return kind, error.sqlstate, "" if named else error.message
    return kind, body.hex()


def talk(client: RawClient, conversation: list[bytes], cuts: int) -> list[tuple[str, ...]]:
    """All answers. A batch's bytes are cut as `cuts` seeds; the next is sent when it is answered:
    what an earlier batch's error undid can't be known to one that is on its way. An aborted
    transaction is rolled back at once: in it, PostgreSQL refuses a Parse that needs no server.
    """
    pieces = random.Random(cuts)
    answers: list[Message] = []
    for batch in conversation:
        while batch:
            length = pieces.choice((3, 17, 60, 1000))
            client.send(batch[:length])
            batch = batch[length:]
        answers += client.read_until()
        if answers[-1] == ("Z", b"E"):
            answers += client.exchange(build.build_query("ROLLBACK"))
    return [essence(message) for message in answers if message[0] != "S"]


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(conversation=CONVERSATIONS, cuts=st.integers(0, 1000))
def test_a_conversation_is_answered_as_without_a_pooler(
    server: EmbeddedPostgres, small: Pooler, conversation: list[bytes], cuts: int
) -> None:
    for name in ("direct", "pooled"):
        with RawClient(server).start(name) as client:
            client.exchange(build.build_query("TRUNCATE t"))
    open_servers(small, "pooled")
    with RawClient(server).start("direct") as client:
        expected = talk(client, conversation, cuts)
    with RawClient(small).start("pooled") as client:
        assert talk(client, conversation, cuts) == expected
