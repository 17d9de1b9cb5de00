"""One login's question to an LDAP server, by python-ldap (the extra `ldap`); blocks.

Source: PostgreSQL's auth.c (CheckLDAPAuth), PgBouncer's ldapauth.c, whose texts the log has.
libldap's own settings hold: /etc/ldap/ldap.conf and LDAPTLS_CACERT say whose certificates count.
Of several servers the next is asked where one doesn't answer, also where it hangs. Referrals aren't
followed: whoever they lead to isn't who was configured.

Errors: what is wrong is returned, as nobody but the log is told. No text has a password in it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ldap

from pgmux.auth.outside import LdapLogin, bind_name, is_name_refused, is_utf8, search_filter
from pgmux.config.ldap_options import LdapOptions, LdapScope
from pgmux.net.ldap_order import Order

CONNECT_TIMEOUT = 3.0  # seconds, PgBouncer's
ANSWER_TIMEOUT = 10.0  # seconds, for each answer
DEADLINE = 15.0  # seconds, for all that is asked of one server
_LONGEST_TEXT = 200
_NO_ATTRIBUTES = "1.1"
_SCOPES = {
    LdapScope.BASE: ldap.SCOPE_BASE,
    LdapScope.ONE: ldap.SCOPE_ONELEVEL,
    LdapScope.SUB: ldap.SCOPE_SUBTREE,
}
# No answer, or one that another server may have a better one than.
_ELSEWHERE = (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.BUSY)
_order = Order(time.monotonic)


class _Refused(Exception):
    """The login fails; the text is for the log."""


def verify_by_ldap(login: LdapLogin) -> str:
    """What is wrong with the login; "" where the server takes the password."""
    is_search = login.options.ldapbasedn is not None
    if not is_utf8(login.user) or (is_search and is_name_refused(login.user)):
        return "invalid character in user name for LDAP authentication"
    problem = ""
    hosts = {_url(login.options, host): host for host in login.options.ldapserver}
    for url in _order.arrange(list(hosts)):
        try:
            problem = _verify_at(url, hosts[url], login)
        except _ELSEWHERE as error:
            _order.on_silence(url)
            problem = f"no answer from LDAP server {url}: {_text(error)}"
        else:
            _order.on_answer(url)
            return problem
    return problem


def _verify_at(url: str, host: str, login: LdapLogin) -> str:
    """What this server finds wrong with the login. Raises: those of `_ELSEWHERE`."""
    try:
        _bind_as_user(host, login)
    except _Refused as error:
        return str(error)
    except _ELSEWHERE:
        raise
    except ldap.LDAPError as error:
        return f"LDAP server {url}: {_text(error)}"
    return ""


def _bind_as_user(host: str, login: LdapLogin) -> None:
    """Raises: _Refused, ldap.LDAPError."""
    options = login.options
    with _connect(host, options) as server:
        if options.ldapbasedn is None:
            name = bind_name(options, login.user)
        else:
            name = _find_name(server, host, login)
        if not name:
            raise _Refused("LDAP knows the user by an empty name")  # binding as it is anonymous
        try:
            server.simple_bind_s(name, login.password)
        except _ELSEWHERE:
            raise
        except ldap.LDAPError as error:
            text = f"LDAP login failed for user {name} on server {host}: {_text(error)}"
            raise _Refused(text) from None


def _find_name(server: Any, host: str, login: LdapLogin) -> str:
    """The DN of the one entry that is the user's. Raises: _Refused, ldap.LDAPError."""
    options = login.options
    try:
        server.simple_bind_s(options.ldapbinddn, options.ldapbindpasswd)
    except _ELSEWHERE:
        raise
    except ldap.LDAPError as error:
        who = f'ldapbinddn "{options.ldapbinddn}" on server "{host}"'
        raise _Refused(f"could not perform initial LDAP bind for {who}: {_text(error)}") from None
    wanted = search_filter(options, login.user)
    names = _search(server, host, options, wanted)
    where = f'LDAP search for filter "{wanted}" on server "{host}"'
    if not names:
        raise _Refused(f'LDAP user "{login.user}" does not exist: {where} returned no entries')
    if len(names) > 1:
        raise _Refused(f'LDAP user "{login.user}" is not unique: {where} returned several')
    return names[0]


def _search(server: Any, host: str, options: LdapOptions, wanted: str) -> list[str]:
    """The DNs found, two at most."""
    scope = _SCOPES[options.ldapscope]
    where = (options.ldapbasedn, scope, wanted, [_NO_ATTRIBUTES])
    try:
        found: list[Any] = server.search_ext_s(*where, timeout=ANSWER_TIMEOUT, sizelimit=2)
    except ldap.SIZELIMIT_EXCEEDED:
        return ["", ""]
    except _ELSEWHERE:
        raise
    except ldap.LDAPError as error:
        text = f'could not search LDAP for filter "{wanted}" on server "{host}": {_text(error)}'
        raise _Refused(text) from None
    return [entry[0] for entry in found if entry[0] is not None]  # None: a referral


@contextmanager
def _connect(host: str, options: LdapOptions) -> Iterator[Any]:
    """A connection that is closed in any case. Raises: ldap.LDAPError."""
    with ExitStack() as stack:
        server = _initialize(host, options, stack)
        server.set_option(ldap.OPT_NETWORK_TIMEOUT, CONNECT_TIMEOUT)
        server.set_option(ldap.OPT_TIMEOUT, ANSWER_TIMEOUT)
        server.timeout = ANSWER_TIMEOUT
        server.set_option(ldap.OPT_REFERRALS, ldap.OPT_OFF)
        if options.ldaptls:
            server.start_tls_s()
        yield server


def _initialize(host: str, options: LdapOptions, stack: ExitStack) -> Any:
    """python-ldap's object; at the stack's end it is closed. Raises: ldap.LDAPError.

    The socket is ours, so that it can be broken off: libldap waits without end where a server falls
    silent in the middle of an answer or, built with GnuTLS, of a handshake. Of ldaps it wants to
    open the socket itself; there `net.verifier` replaces a thread that doesn't return.
    """
    url = _url(options, host)
    if options.ldapscheme == "ldaps":
        server = ldap.initialize(url)
    else:
        try:
            sock = socket.create_connection((host, options.ldapport), CONNECT_TIMEOUT)
        except (OSError, UnicodeError) as error:
            raise ldap.SERVER_DOWN({"desc": "Can't contact LDAP server", "info": error}) from None
        stack.enter_context(sock)
        sock.settimeout(None)
        server = ldap.initialize(url, fileno=os.dup(sock.fileno()))  # which it closes
        timer = threading.Timer(DEADLINE, _break, (sock,))
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
    stack.callback(_close, server)
    return server


def _break(sock: socket.socket) -> None:
    """End the call that is being made on it."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _close(server: Any) -> None:
    with suppress(ldap.LDAPError):
        server.unbind_s()


def _url(options: LdapOptions, host: str) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{options.ldapscheme}://{host}:{options.ldapport}"


def _text(error: ldap.LDAPError) -> str:
    """What libldap says; the details are the server's words."""
    said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    texts = [str(said[key]) for key in ("desc", "info") if said.get(key)]
    return " ".join(": ".join(texts).split())[:_LONGEST_TEXT] or type(error).__name__
