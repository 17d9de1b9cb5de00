"""Through the pooler, every client sees what it would see alone at a server of its own."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.wire import build
from tests.forms import messages as m
from tests.forms.backend import Backend
from tests.forms.messages import B, C, D, E, H, P, Q, S
from tests.forms.rig import FORMS, Rig, load

NAMES = st.sampled_from(["a", "b", "c"])
OWN = "mine @@"  # each client has its own number instead
TEXTS = st.sampled_from(["one", "two", "FAIL", "BAD", OWN])


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    """Extended messages up to a Sync."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        name, text = draw(NAMES), draw(TEXTS)
        step = draw(st.sampled_from(["run", "prepare", "bind", "close", "describe", "close first"]))
        if step == "run":
            name = draw(st.sampled_from(["", name]))  # the unnamed one doesn't outlive its batch
            parts += [
                P(name, text),
                B(name, "p"),
                D("p", m.PORTAL),
                build.build_execute("p"),
            ]
        elif step == "prepare":
            parts.append(P(name, text))
        elif step == "close first":
            parts += [C(name), P(name, text), D(name)]
        elif step == "bind":
            parts += [B(name), E]
        elif step == "close":
            parts.append(C(name))
        else:
            parts.append(D(name) + (H if draw(st.booleans()) else b""))
    return b"".join(parts) + S


# Each of them leaves no transaction open that another script could depend on.
REQUESTS = st.one_of(
    st.sampled_from([OWN, "FAIL", "BAD", "one"]).map(Q),
    st.sampled_from([OWN, "FAIL", "COPY"]).map(
        lambda sql: Q("BEGIN") + Q(sql) + (m.d() + m.c if sql == "COPY" else b"") + Q("COMMIT")
    ),
    st.sampled_from([m.c, m.f]).map(lambda end: Q("COPY") + m.d() + end + Q(OWN)),
    st.just(Q("COPY") + m.d() + m.c),
    st.sampled_from([m.c, m.f]).map(lambda end: P("", "COPY") + B() + E + m.d() + end + S + Q(OWN)),
    st.sampled_from([m.d() + m.c, m.f]).map(lambda late: Q("FAIL") + late + Q(OWN)),
    batches(),
    batches().map(lambda batch: Q("BEGIN") + batch + batch + Q("COMMIT")),
)

SCRIPTS = st.lists(REQUESTS, min_size=1, max_size=5).map(b"".join)


def alone(script: bytes) -> bytes:
    """What a client sees at a server of its own."""
    backend = Backend()
    backend.receive(script)
    while backend.asked:
        backend.step()
    return backend.take()


class Talk:
    """Clients and backends that go on in whatever order is drawn."""

    def __init__(self, rig: Rig, scripts: list[bytes], random: Random) -> None:
        self.rig = rig
        self.random = random
        self.clients = {rig.add_client(): script for script in scripts}
        self.backends = {server: Backend() for server in rig.servers}
        self.answers = dict.fromkeys(rig.servers, b"")

    def size(self) -> int:
        return self.random.choice([1, 3, 7, 20, 1000])

    def send(self, client: Any) -> None:
        size = self.size()
        script = self.clients[client]
        self.clients[client] = script[size:]
        client.data_received(script[:size])

    def work(self, server: Any) -> None:
        backend = self.backends[server]
        if backend.asked and self.random.random() < 0.5:
            backend.step()
            self.answers[server] += backend.take()
        else:
            size = self.size()
            chunk, self.answers[server] = self.answers[server][:size], self.answers[server][size:]
            if chunk:
                server.data_received(chunk)

    def run(self) -> None:
        while True:
            for server, backend in self.backends.items():
                backend.receive(server.transport.take())
            movers = [client for client, script in self.clients.items() if script]
            workers = [
                server
                for server, backend in self.backends.items()
                if backend.asked or self.answers[server]
            ]
            if not movers and not workers:
                return
            mover = self.random.choice([*movers, *workers])
            (self.send if mover in self.clients else self.work)(mover)


@pytest.mark.parametrize("name", FORMS)
@settings(deadline=None, max_examples=200)
@given(
    scripts=st.lists(SCRIPTS, min_size=2, max_size=3),
    servers=st.integers(1, 2),
    limit=st.sampled_from([1, 2, 200]),
    seed=st.integers(0, 2**32),
)
def test_every_client_sees_what_it_would_see_alone(
    name: str, scripts: list[bytes], servers: int, limit: int, seed: int
) -> None:
    rig = Rig(load(name), max_prepared_statements=limit, server_count=servers)
    scripts = [script.replace(b"@@", b"%02d" % number) for number, script in enumerate(scripts)]
    talk = Talk(rig, scripts, Random(seed))
    clients = list(talk.clients)
    talk.run()
    for client, script in zip(clients, scripts, strict=True):
        answers = bytes(client.transport.written)
        for taken in "abc":
            answers = answers.replace(
                m.error("42P05", f"taken: {taken}"), m.error("42P05", "taken")
            )
        assert answers == alone(script)
    assert set(rig.idle()) == set(rig.servers) and not rig.lists.waiting_count()
