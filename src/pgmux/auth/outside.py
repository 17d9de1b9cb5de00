"""Logins that somebody else decides: what an LDAP server or PAM is asked, as values.

Source: PostgreSQL's chapter "LDAP Authentication" and auth.c's CheckLDAPAuth; RFC 4514 (DNs) and
RFC 4515 (filters) for what a user's name must not bring into them; PgBouncer's ldapauth.c, pam.c.
Errors: AuthenticationFailed for a name that can't be asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pgmux.config.ldap_options import LdapOptions

PAM_SERVICE = "pgbouncer"

_DN_SPECIAL = re.compile(r'[\\,+"<>;=# \0]')
_FILTER_SPECIAL = re.compile(r"[\\*()\0]")
_REFUSED = re.compile(r"[*()\\/]")  # by PostgreSQL: nobody has them in a name in good faith
_USERNAME = "$username"


@dataclass(frozen=True, slots=True)
class LdapLogin:
    """Whether an LDAP server of `options` takes this password, which isn't empty, for the user."""

    options: LdapOptions
    user: str
    password: bytes = field(repr=False)

    @property
    def service(self) -> str:
        return "LDAP"

    @property
    def refusal(self) -> str:
        return "LDAP authentication failed"

    @property
    def lane(self) -> object:
        """Logins that may hang together: those of the same servers."""
        return (self.options.ldapserver, self.options.ldapport)


@dataclass(frozen=True, slots=True)
class PamLogin:
    """Whether PAM takes this password for the user, who comes from `rhost`."""

    user: str
    password: bytes = field(repr=False)
    rhost: str

    @property
    def service(self) -> str:
        return "PAM"

    @property
    def refusal(self) -> str:
        return "PAM authentication failed"

    @property
    def lane(self) -> object:
        return "PAM"


OutsideLogin = LdapLogin | PamLogin


def is_name_refused(user: str) -> bool:
    """Whether nobody is searched for by this name: it isn't UTF-8, or could be part of a filter."""
    return bool(_REFUSED.search(user)) or not is_utf8(user)


def is_utf8(text: str) -> bool:
    """LDAP has no other text."""
    return not any("\udc80" <= char <= "\udcff" for char in text)


def bind_name(options: LdapOptions, user: str) -> str:
    """Simple bind: what the user binds as. In a DN the name is one value, whatever is in it; what
    has no attribute in front (`user@example.net`, `DOMAIN\\user`) is taken as it is.
    """
    if "=" in options.ldapprefix:
        user = _DN_SPECIAL.sub(lambda found: f"\\{ord(found[0]):02x}", user)
    return f"{options.ldapprefix}{user}{options.ldapsuffix}"


def search_filter(options: LdapOptions, user: str) -> str:
    """Search+bind: what finds the user's entry. The name is one value, whatever is in it."""
    value = _FILTER_SPECIAL.sub(lambda found: f"\\{ord(found[0]):02x}", user)
    if options.ldapsearchfilter is not None:
        return options.ldapsearchfilter.replace(_USERNAME, value)
    return f"({options.ldapsearchattribute}={value})"
