"""The options of LDAP authentication: auth_ldap_options, and what follows `ldap` in an HBA line.

    name=value name="value with blanks, commas and "" for a quote" ...

Source: PostgreSQL's chapter "LDAP Authentication" and src/backend/libpq/hba.c (tokens, which
options exclude each other); PgBouncer's src/ldapauth.c (commas between options).
Errors: ValueError, which says what is wrong and never has a password in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from pgmux.config.problems import clip, nearest

LDAP_PORT = 389
LDAPS_PORT = 636

_BLANK = re.compile(r"[\s,]*+", re.ASCII)
_TOKEN = re.compile(r'(?:"(?:[^"]|"")*+"|[^\s,"])++', re.ASCII)
_QUOTED = re.compile(r'"((?:[^"]|"")*+)"')
_PORT = re.compile("[0-9]{1,5}", re.ASCII)
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^][:/?\s]*)(?::(?P<port>[0-9]*))?(?:/(?P<rest>.*))?",
    re.ASCII | re.DOTALL,
)
_NO_PLACE = 'authentication method "ldap" requires argument "{}" to be set'


class LdapScope(StrEnum):
    """How far below ldapbasedn a search goes; the values are those of an LDAP URL."""

    BASE = "base"
    ONE = "one"
    SUB = "sub"


@dataclass(frozen=True, slots=True)
class LdapOptions:
    """Where to ask and how; `ldapserver` are hosts, in the order in which they are asked.

    Without ldapbasedn the DN is ldapprefix, user, ldapsuffix (simple bind); with it the DN is
    searched for (search+bind).
    """

    ldapserver: tuple[str, ...]
    ldapport: int
    ldapscheme: str = "ldap"
    ldaptls: bool = False
    ldapprefix: str = ""
    ldapsuffix: str = ""
    ldapbasedn: str | None = None
    ldapbinddn: str = ""
    ldapbindpasswd: str = field(default="", repr=False)
    ldapsearchattribute: str = "uid"
    ldapsearchfilter: str | None = None
    ldapscope: LdapScope = LdapScope.SUB
    text: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        """The options as they were written, the password hidden."""
        return self.text


def parse_ldap_options(text: str) -> LdapOptions:
    """The options of a line. Raises: ValueError."""
    given: dict[str, str] = {}
    shown: list[str] = []
    for number, token in enumerate(_tokens(text), 1):
        name, equals, value = token.partition("=")
        if name not in _NAMES or not equals:
            raise ValueError(_unknown(number, name))
        given[name] = value
        shown.append(f"{name}={_shown(name, value)}")
    url = given.pop("ldapurl", None)
    if url is not None:
        given = _with_url(url, given)
    _check_combination(given)
    return _build(given, " ".join(shown))


_NAMES = (
    *("ldapserver", "ldapport", "ldapscheme", "ldaptls", "ldapprefix", "ldapsuffix"),
    *("ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter"),
    "ldapurl",
)
_SEARCH_NAMES = (
    *("ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter"),
)
_URL_NAMES = ("ldapscheme", "ldapserver", "ldapport")


def _tokens(text: str) -> list[str]:
    """The text's words; quotes may stand anywhere in them, as in pg_hba.conf."""
    found = []
    at = _skip_blank(text, 0)
    while at < len(text) and text[at] != "#":
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError("a double quote is not closed")
        found.append(_QUOTED.sub(lambda quoted: quoted[1].replace('""', '"'), match[0]))
        if match.end() < len(text) and text[match.end()] == '"':
            raise ValueError("a double quote is not closed")
        at = _skip_blank(text, match.end())
    return found


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def _unknown(number: int, name: str) -> str:
    """A word may be a part of a password that was to stand in quotes: so it isn't repeated."""
    if name in _NAMES:
        return f"{name}=value is expected"
    if name.startswith("ldap"):
        return f'invalid LDAP option: "{clip(name)}" {nearest(name, _NAMES)}'.rstrip()
    where = f"invalid LDAP option, the {number}. one:"
    return f"{where} name=value is expected, and quotes around blanks and commas"


def _shown(name: str, value: str) -> str:
    if name == "ldapbindpasswd":
        return '"***"'
    needs_quotes = not value or re.search(r'[\s,"#]', value)
    return '"' + value.replace('"', '""') + '"' if needs_quotes else value


def _with_url(url: str, given: dict[str, str]) -> dict[str, str]:
    """The options that an LDAP URL (RFC 4516) stands for, with the others. Raises: ValueError."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(f'could not parse LDAP URL "{clip(url)}"')
    scheme = match["scheme"].lower()
    if scheme not in ("ldap", "ldaps"):
        raise ValueError(f"unsupported LDAP URL scheme: {clip(scheme)}")
    rest: str = match["rest"] or ""
    base, attributes, scope, search, *extensions = [*rest.split("?"), *[""] * 4]
    if any(name.startswith("!") for part in extensions for name in part.split(",")):
        raise ValueError(f'critical extension in LDAP URL "{clip(url)}"')
    said = {
        "ldapscheme": scheme,
        "ldapserver": match["host"].strip("[]"),
        "ldapport": match["port"] or "",
        "ldapbasedn": unquote(base),
        "ldapsearchattribute": unquote(attributes.partition(",")[0]),
        "ldapsearchfilter": unquote(search),
    }
    said = {name: value for name, value in said.items() if value}
    twice = [name for name in (*_URL_NAMES, *said) if name in given]
    if twice:
        raise ValueError(f"cannot use ldapurl together with {twice[0]}")
    scope = scope.lower() or LdapScope.BASE
    if scope not in [each.value for each in LdapScope]:
        raise ValueError(f'could not parse LDAP URL "{clip(url)}": base, one or sub is expected')
    return given | said | {"ldapscope": scope}


def _check_combination(given: dict[str, str]) -> None:
    """Raises: ValueError for options that exclude each other, and where too little is said."""
    if "ldapprefix" in given or "ldapsuffix" in given:
        if any(name in given for name in _SEARCH_NAMES):
            raise ValueError("cannot mix options for simple bind and search+bind modes")
    elif not given.get("ldapbasedn"):
        raise ValueError(_NO_PLACE.format('ldapbasedn", "ldapprefix", or "ldapsuffix'))
    if not given.get("ldapserver", "").strip():
        missing = _NO_PLACE.format("ldapserver")
        raise ValueError(f"{missing}: SRV records of ldapbasedn's domain aren't looked up")
    if "ldapsearchattribute" in given and "ldapsearchfilter" in given:
        raise ValueError("cannot use ldapsearchattribute together with ldapsearchfilter")


def _build(given: dict[str, str], shown: str) -> LdapOptions:
    scheme = given.get("ldapscheme", "ldap")
    if scheme not in ("ldap", "ldaps"):
        raise ValueError(f'invalid ldapscheme value: "{clip(scheme)}"')
    is_tls = given.get("ldaptls") == "1"
    if is_tls and scheme == "ldaps":
        raise ValueError("cannot use ldaptls together with ldaps, which has TLS from the start")
    texts = {name: given[name] for name in (*_SEARCH_NAMES, "ldapprefix", "ldapsuffix")
             if name in given}  # fmt: skip
    return LdapOptions(
        ldapserver=tuple(given.get("ldapserver", "").split()),
        ldapport=_port(given.get("ldapport"), LDAPS_PORT if scheme == "ldaps" else LDAP_PORT),
        ldapscheme=scheme,
        ldaptls=is_tls,
        ldapscope=LdapScope(given.get("ldapscope", LdapScope.SUB)),
        text=shown,
        **texts,
    )


def _port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not _PORT.fullmatch(text) or not 0 < int(text) <= 0xFFFF:
        raise ValueError(f'invalid LDAP port number: "{clip(text)}"')
    return int(text)
