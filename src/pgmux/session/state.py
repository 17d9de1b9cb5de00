"""The session state that pgmux keeps right on both sides of a link: parameters and prepared
statements.

A client's parameters are set on whichever server it gets; what a query changes (SET, RESET, DISCARD
ALL, DDL) is noted for the client, the server, or all servers of the database.

Source: PgBouncer's varcache.c and prepare.c in outline; RESET, DDL and unreported parameters are
ours: docs/differences.md.
Errors: ProtocolViolation for a ParameterStatus that can't be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgmux.errors import SQLSTATE_DUPLICATE_PREPARED_STATEMENT, ProtocolViolation
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.linking import startup_vars
from pgmux.session.log import Log
from pgmux.session.prepare import Statements
from pgmux.session.varcache import UNKNOWN, Vars, build_set, differences
from pgmux.wire.build import build_error_response, build_parameter_status
from pgmux.wire.parse import ServerMessage, parse_error_response, parse_parameter_status

_DDL = ("CREATE ", "ALTER ", "DROP ", "IMPORT FOREIGN SCHEMA")
_NAME = r'("?[\w.]+"?|time\s+zone)'
# A statement by itself that returns a parameter to its startup value, and which.
_RESET_ONE = re.compile(
    rf"(?:reset\s+{_NAME}"
    rf"|set\s+(?:session\s+)?{_NAME}\s*(?:=\s*|\bto\s+|(?<=zone)\s+)default)[\s;]*",
    re.IGNORECASE,
)
_SOME = ""  # of several statements; PostgreSQL knows which parameters it was
_ALL_PREPARED_GONE = ("DISCARD ALL", "DEALLOCATE ALL")


class StateKeeper:
    """The part of a relay's `control` that concerns session state."""

    def __init__(self, statements: Statements, log: Log) -> None:
        self.statements = statements
        self.log = log

    def welcome(self, client: ClientRelay, server: ServerRelay) -> None:
        """The client, linked at login, has its server with its startup parameters set."""
        raise NotImplementedError

    # ---- session parameters

    def vars_message(self, client: ClientRelay, server: ServerRelay) -> bytes:
        """What is to be sent to the server so that it carries what the client wants; empty if
        nothing.
        """
        if client.owner.is_lookup:
            client.vars = client.owner.vars_on(server)
        elif client.vars is None:
            client.vars = startup_vars(client, server)
        elif client.vars.space is not server.vars.space:
            wanted = {
                n: v
                for n, v in zip(client.vars.space.names, client.vars.values, strict=True)
                if v is not None
            }
            client.vars = server.vars.space.defaults.replace(wanted)
        if not client.owner.welcomed:
            server.owner.own_settings = _own_settings(client, server, None)
            server.owner.has_own_settings = bool(server.owner.own_settings)
        changes = differences(server.vars, client.vars) | server.owner.own_settings
        if not changes:
            client.vars = server.vars
            if not client.owner.welcomed:
                self.welcome(client, server)
            return b""
        if self.log.is_noise:
            applied = "".join(f"SET {name}='{value}';" for name, value in changes.items())
            self.log.noise(f"varcache_apply: {applied}")
        server.owner.setting = changes
        unless_set, server.owner.unless_set = server.owner.unless_set, frozenset()
        return build_set(changes, unless_set)

    def on_vars_set(self, server: ServerRelay, client: ClientRelay) -> None:
        """The server carries what the client wants; the client is told its spelling of it."""
        changes, server.owner.setting = server.owner.setting, {}
        server.owner.own_settings = {}
        space = server.vars.space
        unreported = {n: v for n, v in changes.items() if n in space.unreported}
        if unreported:
            server.vars = server.vars.replace(unreported)
        is_welcomed, has_reset = client.owner.welcomed, client.owner.has_reset
        client.owner.has_reset = False
        for name, wanted in changes.items():
            value = server.vars.get(name)
            if wanted is None or value is None or (value == wanted and not has_reset):
                continue
            if value != wanted:
                space.learn(name, wanted, value)
                if self.log.is_noise:
                    self.log.noise(
                        f"varcache_set_canonical: setting {name} to its canonical version"
                        f" {wanted} -> {value}"
                    )
            if is_welcomed and name not in space.unreported:
                client.transport.write(build_parameter_status(name, value))
        client.vars = server.vars
        if not is_welcomed:
            self.welcome(client, server)

    def on_parameter_status(
        self, server: ServerRelay, client: ClientRelay | None, body: bytes
    ) -> bytes | None:
        """A parameter has changed on the server; returns what the client is to be told instead, if
        anything.
        """
        status = parse_parameter_status(body)
        name, value = status.name, status.value
        if server.vars is None or name.lower() not in server.vars.space.index:
            return None
        before = server.vars
        server.vars = before.replace({name: value})
        if client is None:
            return None
        if server.reset and client.owner.startup_vars is not None:
            # RESET goes back to the startup value, and the client's is its own, not the
            # connection's.
            own = client.owner.startup_vars.get(name)
            if own is not None and own != value:
                client.vars = client.vars.replace({name: own})
                return build_parameter_status(name, own)
        client.vars = server.vars if client.vars is before else client.vars.replace({name: value})
        return None

    def _on_reset(self, server: ServerRelay, client: ClientRelay, name: str) -> None:
        """The parameter of that name, or "all", or _SOME have their startup value again, which for
        unreported ones nobody says: what the client began with is set anew, of _SOME unless the
        client has SET them to something since.
        """
        server.reset = True
        only = None if name in ("all", _SOME) else name
        own = {
            n: UNKNOWN
            for n in server.vars.space.unreported
            if client.vars.get(n) is not None and only in (None, n.lower())
        }
        server.vars = server.vars.replace(own)
        server.owner.own_settings = _own_settings(client, server, only)
        if name == _SOME:
            server.owner.unless_set = frozenset({*own, *server.owner.own_settings})

    def on_set(self, client: ClientRelay, statement: str) -> None:
        """A client is about to send SET or RESET: if it returns one parameter to its startup value,
        keep in mind which. The tag says whether it was done, but not that.
        """
        found = _RESET_ONE.fullmatch(statement)
        server = client.linked_server
        if server is None or found is None:
            return
        name = "".join((found[1] or found[2]).strip('"').lower().split())
        server.reset_name = name if server.reset_name in (None, name) else _SOME

    # ---- what a query did

    def on_command_tag(self, server: ServerRelay, client: ClientRelay, tag: bytes) -> bool:
        """A command has completed that is not one of the common ones; True for DDL."""
        text = tag.decode("utf-8", "replace")
        if text in _ALL_PREPARED_GONE:
            server.forget_prepared()
        name, server.reset_name = server.reset_name, None
        if text == "DISCARD ALL":
            name = "all"
        elif text == "RESET" and name is None:
            name = _SOME
        if name is not None and text in ("DISCARD ALL", "RESET", "SET"):
            self._on_reset(server, client, name)
            self._return_to_startup(client, name)
        if not text.startswith(_DDL):
            return False
        self.statements.outdate()
        return True

    def _return_to_startup(self, client: ClientRelay, name: str) -> None:
        """The client wants its own startup value again of the parameter that it has RESET, or of
        all; the server reports a change only where the value isn't the connection's already.
        """
        own: Vars | None = client.owner.startup_vars
        if own is None or name == _SOME:
            return
        client.owner.has_reset = True
        if name == "all":
            client.vars = own
        elif own.get(name) is not None:
            client.vars = client.vars.replace({name: own.get(name)})

    def is_stale_error(self, body: bytes) -> bool:
        """Whether an ErrorResponse says that a prepared statement no longer fits the tables."""
        error = read_error(body)
        if error.sqlstate == "0A000":
            return error.fields.get("R") == "RevalidateCachedQuery"
        if error.sqlstate == "XX000":
            return "cache lookup failed" in error.message
        return error.sqlstate == "42P18"

    def duplicate_error(self, body: bytes, name: bytes | None) -> bytes | None:
        """The server's refusal of a second Parse, in terms of the client's own name; None where it
        refused for another reason.
        """
        error = read_error(body)
        if error.sqlstate != SQLSTATE_DUPLICATE_PREPARED_STATEMENT or name is None:
            return None
        own = name.decode("utf-8", "surrogateescape")
        self.log.error(
            f"prepared statement '{own}' was already prepared",
            limit="was already prepared",
        )
        message = f'prepared statement "{own}" already exists'
        return build_error_response("ERROR", error.sqlstate, message, with_v=True)


def _own_settings(client: ClientRelay, server: ServerRelay, name: str | None) -> dict[str, str]:
    """What the client's startup packet sets beyond what the pool follows, or only the parameter of
    that name: only a client that gets its server at login may. They are gone when the session is.
    """
    if not client.owner.links_at_login:
        return {}
    startup: Mapping[str, str] = client.owner.startup
    index = server.vars.space.index
    return {
        n: value
        for n, value in startup.items()
        if n.lower() not in index and name in (None, n.lower())
    }


def read_error(body: bytes) -> ServerMessage:
    """An ErrorResponse; one that can't be read says nothing, and goes to the client as it is."""
    try:
        return parse_error_response(body)
    except ProtocolViolation:
        return ServerMessage({})
