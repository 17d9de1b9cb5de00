"""What is timed: each builds what it needs and answers the call to time.

What is called may be several steps, in the order in which a real pooler gets them; `size` is how
many of what `name` says one call does.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from bench.micro.bed import ANSWERED, COLUMNS, QUERY, ROW, STARTUP, Bed, Side, extended, parse
from pgmux.auth.scram import Pbkdf2, ScramProver, derive_keys, derive_secret
from pgmux.config import AuthType
from pgmux.pool.states import SV_ACTIVE, SV_IDLE
from pgmux.session.client import ClientLogin
from pgmux.session.login_steps import Answer
from pgmux.wire import build

Call = Callable[[], object]

_PASSWORD, _SALT, _ITERATIONS = b"pencil", b"salt" * 4, 4096
_ROWS = 100


@dataclass(frozen=True, slots=True)
class Operation:
    """A line of the table."""

    name: str
    prepare: Callable[[], Call]
    size: int = 1


def _simple() -> Call:
    return _exchange(Bed(), QUERY, COLUMNS + ROW + ANSWERED)


def _extended() -> Call:
    answer = build.build_parse_complete() + build.build_bind_complete() + COLUMNS + ROW + ANSWERED
    return _exchange(Bed(), parse() + extended(), answer)


def _prepared() -> Call:
    """The server has the statement, so the Bind is rewritten and nothing put before it."""
    bed = Bed()
    client = bed.enter()
    client.data_received(parse("s") + build.build_sync())
    bed.servers[0].data_received(build.build_parse_complete() + build.build_ready_for_query())
    answer = build.build_bind_complete() + COLUMNS + ROW + ANSWERED
    return _exchange(bed, extended("s"), answer, client)


def _link() -> Call:
    """Sync and ReadyForQuery, the least that takes a server and gives it back."""
    return _exchange(Bed(), build.build_sync(), build.build_ready_for_query())


def _hand_over() -> Call:
    """Each finds the server taken, waits, and gets it from the other."""
    bed = Bed()
    first, second = bed.enter().data_received, bed.enter().data_received
    serve = bed.servers[0].data_received
    first(QUERY)
    answer = COLUMNS + ROW + ANSWERED

    def call() -> None:
        second(QUERY)
        serve(answer)
        first(QUERY)
        serve(answer)

    return call


def _lists() -> Call:
    """The pool's lists alone."""
    bed = Bed(servers=20)
    move, server = bed.lists.move_server, bed.servers[10]

    def call() -> None:
        move(server, SV_ACTIVE)
        move(server, SV_IDLE)

    return call


def _rows() -> Call:
    """In the middle of an answer that goes on and on."""
    bed = Bed()
    bed.enter().data_received(QUERY)
    serve, chunk = bed.servers[0].data_received, ROW * _ROWS
    return lambda: serve(chunk)


def _login_trust() -> Call:
    bed, bye = Bed(), build.build_terminate()
    return lambda: bed.log_in(STARTUP).data_received(bye)


def _login_scram() -> Call:
    """The same bytes each time, as nothing is random here; auth_file has the verifier."""
    keys = derive_keys(Pbkdf2(_PASSWORD, _SALT, _ITERATIONS).run(), _SALT, _ITERATIONS)
    bed = Bed(AuthType.SCRAM_SHA_256, _verifier())
    login = ClientLogin(bed.context, cast(Any, Side()))
    login.feed(STARTUP)
    prover = ScramProver("nonce")
    first = build.build_sasl_initial_response("SCRAM-SHA-256", prover.client_first())
    (step,) = login.feed(first)
    assert isinstance(step, Answer)
    prover.on_server_first(step.data[9:])  # behind type, length and AuthenticationSASLContinue
    final, bye = build.build_sasl_response(prover.prove(keys)), build.build_terminate()
    return lambda: bed.log_in(STARTUP, first, final).data_received(bye)


def _verifier() -> str:
    """As PostgreSQL stores it."""
    salted = Pbkdf2(_PASSWORD, _SALT, _ITERATIONS).run()
    secret = derive_secret(salted, _SALT, _ITERATIONS)
    salt, stored, server = (
        b64encode(part).decode() for part in (secret.salt, secret.stored_key, secret.server_key)
    )
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt}${stored}:{server}"


def _exchange(bed: Bed, request: bytes, answer: bytes, client: Any = None) -> Call:
    """A client asks, the server answers."""
    ask = (client or bed.enter()).data_received
    serve = bed.servers[0].data_received

    def call() -> None:
        ask(request)
        serve(answer)

    return call


OPERATIONS = (
    Operation("simple query", _simple),
    Operation("extended query", _extended),
    Operation("prepared statement", _prepared),
    Operation("link and release", _link),
    Operation("wait and be handed a server", _hand_over, size=2),
    Operation("move a server, and back", _lists),
    Operation(f"row of a chunk of {_ROWS}", _rows, size=_ROWS),
    Operation("login with trust, and leaving", _login_trust),
    Operation("login with SCRAM, and leaving", _login_scram),
)
