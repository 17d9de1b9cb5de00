"""One login's question to an LDAP server, by python-ldap (the extra `ldap`); blocks.

Source: PostgreSQL's auth.c (CheckLDAPAuth), PgBouncer's ldapauth.c, whose texts the log has.
libldap's own settings hold: /etc/ldap/ldap.conf and LDAPTLS_CACERT say whose certificates count.
Of several servers the next is asked where one doesn't answer, also where it hangs.

Errors: what is wrong is returned, as nobody but the log is told. No text has a password in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ldap

from pgmux.auth.outside import LdapLogin, bind_name, is_name_refused, is_utf8, search_filter
from pgmux.config.ldap_options import LdapOptions, LdapScope

CONNECT_TIMEOUT = 3.0  # seconds, PgBouncer's: to connect, and for each step of TLS
ANSWER_TIMEOUT = 10.0  # seconds, for each answer
_LONGEST_TEXT = 200
_NO_ATTRIBUTES = "1.1"
_SCOPES = {
    LdapScope.BASE: ldap.SCOPE_BASE,
    LdapScope.ONE: ldap.SCOPE_ONELEVEL,
    LdapScope.SUB: ldap.SCOPE_SUBTREE,
}
# No answer, or one that another server may have a better one than.
_ELSEWHERE = (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.BUSY)


class _Refused(Exception):
    """The login fails; the text is for the log."""


def verify_by_ldap(login: LdapLogin) -> str:
    """What is wrong with the login; "" where the server takes the password."""
    is_search = login.options.ldapbasedn is not None
    if not is_utf8(login.user) or (is_search and is_name_refused(login.user)):
        return "invalid character in user name for LDAP authentication"
    problem = "no LDAP server is known"
    for host in login.options.ldapserver:
        try:
            _verify_at(host, login)
        except _Refused as error:
            return str(error)
        except _ELSEWHERE as error:
            problem = f"no answer from LDAP server {_url(login.options, host)}: {_text(error)}"
        except ldap.LDAPError as error:
            return f"LDAP server {_url(login.options, host)}: {_text(error)}"
        else:
            return ""
    return problem


def _verify_at(host: str, login: LdapLogin) -> None:
    """Raises: _Refused, ldap.LDAPError."""
    options = login.options
    with _connect(_url(options, host), starttls=options.ldaptls) as server:
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
def _connect(url: str, *, starttls: bool) -> Iterator[Any]:
    """A connection that is closed in any case. Raises: ldap.LDAPError."""
    server = ldap.initialize(url)
    try:
        server.set_option(ldap.OPT_NETWORK_TIMEOUT, CONNECT_TIMEOUT)
        server.set_option(ldap.OPT_TIMEOUT, ANSWER_TIMEOUT)
        server.timeout = ANSWER_TIMEOUT
        if starttls:
            server.start_tls_s()
        yield server
    finally:
        with suppress(ldap.LDAPError):
            server.unbind_s()


def _url(options: LdapOptions, host: str) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{options.ldapscheme}://{host}:{options.ldapport}"


def _text(error: ldap.LDAPError) -> str:
    """What libldap says; the details are the server's words."""
    said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    texts = [str(said[key]) for key in ("desc", "info") if said.get(key)]
    return ": ".join(texts)[:_LONGEST_TEXT] or type(error).__name__
