"""The text of an HBA file -> its rules, and what is wrong with the lines that don't count.

As PgBouncer, a line that can't be used is skipped with a warning, for a file that it starts with
must start; a line that was to reject somebody and doesn't is an error in the log. PostgreSQL's
samehost, samenet, samerole, +group, host names, include and the like are such lines.

Unlike there, a file of names (`@file`) may have blank lines, comments and several names on a line,
and in the user column `replication` is a name. Source: PgBouncer's hba.c, doc/config.md "HBA file
format". Errors: `Problem`s, never an exception.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pgmux.config.hba import ConnectionType, HbaMethod, HbaRule, IdentMap, Names, Network
from pgmux.config.hba_tokens import Kind, LineError, Tokens
from pgmux.config.ldap_options import LdapOptions, parse_ldap_options
from pgmux.config.problems import Read, clip, nearest, read_file
from pgmux.errors import Problem

MAX_REPORTED_LINES = 100
MAX_FILE_DEPTH = 10  # of @file within @file, as in PostgreSQL

_REJECTS = re.compile(rf"\b{HbaMethod.REJECT}\b")
_TYPES = tuple(ConnectionType)
_METHODS = tuple(HbaMethod)
_IPV4 = 0xFFFFFFFF
_MAPPED = (0xFFFF, (1 << 96) - 1)  # ::ffff:0:0/96 without the IPv4 address's 32 bits
_NOT_GROUPS = "groups aren't known here: write the names, or @file"
# What PostgreSQL has beside these, and what to write instead.
_OTHER_TYPES = {
    "hostgssenc": "there is no GSS encryption here: leave the line away",
    "hostnogssenc": "there is no GSS encryption here: write host",
    "include": "write the other file's lines here",
    "include_if_exists": "write the other file's lines here",
    "include_dir": "write the other files' lines here",
}
_OTHER_METHODS = {
    "pam": "auth_type = pam is for all logins or none",
    "any": "auth_type = any is for all logins or none",
    "ident": "over Unix sockets, peer is the same",
    "plain": "write password",
}


@dataclass(slots=True)
class HbaFile:
    """A file that has been read: its `rules`, the `problems` of its lines, the `files` it names.

    `asks_certificates`: whether clients are asked for theirs, as method cert takes it.
    """

    path: str
    read: Read
    maps: Mapping[str, IdentMap]
    asks_certificates: bool = True
    rules: list[HbaRule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, str | OSError] = field(default_factory=dict)
    _skipped: int = 0

    def load(self, text: str) -> None:
        """Takes every line that can be used."""
        for number, line in enumerate(text.split("\n"), 1):
            try:
                rule = self._read_line(Tokens(line), number)
            except LineError as error:
                self._skip(line, number, error)
                continue
            if rule is not None:
                self.rules.append(rule)
                self._warn_of_vanity(rule)
        if self._skipped > MAX_REPORTED_LINES:
            more = self._skipped - MAX_REPORTED_LINES
            message = f"could not parse {more} more lines, they are skipped too"
            self.problems.append(Problem(message, self.path, is_grave=True))

    # ---- a line

    def _read_line(self, tokens: Tokens, number: int) -> HbaRule | None:
        if tokens.is_end:
            return None
        type_ = _read_type(tokens)
        databases = self._read_names(tokens, is_database=True)
        users = self._read_names(tokens, is_database=False)
        network = None if type_ is ConnectionType.LOCAL else _read_network(tokens)
        method = _read_method(tokens)
        rule = HbaRule(self.path, number, type_, databases, users, network, method)
        if method is HbaMethod.LDAP:
            return replace(rule, ldap=self._read_ldap(tokens.take_rest(), rule))
        tokens.take()
        ident = self._read_map(tokens)
        if not tokens.is_end:
            raise LineError(f"unsupported parameters{tokens.found}", "map= is the only one")
        return replace(rule, ident=ident)

    def _read_names(self, tokens: Tokens, *, is_database: bool) -> Names:
        column = _Column(self, "database" if is_database else "user")
        column.add(tokens, self.path, 0)
        while tokens.take_comma():
            column.add(tokens, self.path, 0)
        return column.names()

    def _read_map(self, tokens: Tokens) -> IdentMap | None:
        if tokens.kind is not Kind.WORD:
            return None
        name, equals, value = tokens.take().partition("=")
        if name != "map" or not equals:
            message = f'"{clip(name)}" is malformed: it is not in map=value format'
            raise LineError(message, "map= is the only option")
        if value not in self.maps:
            hint = "write its lines there, and see auth_ident_file"
            raise LineError(f'ident map "{clip(value)}" is not found in ident config file', hint)
        return self.maps[value]

    def _read_ldap(self, text: str, rule: HbaRule) -> LdapOptions | None:
        """None is for a line that counts and lets nobody in, as in PgBouncer: were it skipped, the
        lines after it would decide.
        """
        try:
            return parse_ldap_options(text)
        except ValueError as error:
            self._warn(rule, f"this line lets nobody in: {error}", is_grave=True)
            return None

    # ---- what is wrong

    def _skip(self, line: str, number: int, error: LineError) -> None:
        self._skipped += 1
        if self._skipped > MAX_REPORTED_LINES:
            return
        message = f"could not parse hba config line {number}, it is skipped: {error}"
        is_grave = _REJECTS.search(line) is not None
        if is_grave:
            message += "; IT REJECTS NOBODY: the lines after it decide who gets in"
        self.problems.append(Problem(message, self.path, number, error.hint, is_grave))

    def _warn_of_vanity(self, rule: HbaRule) -> None:
        """Lines that count, and mean less than they seem to."""
        is_local = rule.type is ConnectionType.LOCAL
        for name in sorted(n for n in rule.databases.names | rule.users.names if n[:1] == "/"):
            text = f'"{clip(name)}" is taken for a name: there are no regular expressions here'
            self._warn(rule, text, rule.method is HbaMethod.REJECT)
        if rule.method is HbaMethod.PEER and not is_local:
            self._warn(rule, "peer is for Unix sockets: this line lets nobody in")
        if rule.method is HbaMethod.CERT:
            self._warn_of_cert(rule)
        if rule.ident and rule.method not in (HbaMethod.PEER, HbaMethod.CERT):
            self._warn(rule, f"map= has no effect with {rule.method}: it is for peer and cert")

    def _warn_of_cert(self, rule: HbaRule) -> None:
        if rule.type in (ConnectionType.LOCAL, ConnectionType.HOSTNOSSL):
            self._warn(rule, "cert is for TLS connections: this line lets nobody in")
        elif not self.asks_certificates:
            text = "no client is asked for a certificate: this line lets nobody in"
            hint = "set client_tls_sslmode and client_tls_ca_file"
            self._warn(rule, text, hint=hint)

    def _warn(self, rule: HbaRule, text: str, is_grave: bool = False, hint: str = "") -> None:
        if len(self.problems) < 2 * MAX_REPORTED_LINES:
            message = f"hba config line {rule.line}: {text}"
            self.problems.append(Problem(message, self.path, rule.line, hint, is_grave))

    # ---- files of names

    def text_of(self, path: str) -> str:
        """The text of a file of names, read once. Raises: LineError."""
        if path not in self.files:
            self.files[path] = read_file(path, self.read)
        text = self.files[path]
        if isinstance(text, OSError):
            reason = text.strerror or str(text)
            raise LineError(f'could not open file of names "{clip(path)}": {reason}')
        return text


class _Column:
    """The names of one column, as they are read."""

    def __init__(self, file: HbaFile, what: str) -> None:
        self._file = file
        self._what = what
        self._words: set[str] = set()
        self._names: set[str] = set()
        # PgBouncer knows sameuser in both columns.
        self._keywords = {"all", "sameuser"} | ({"replication"} if what == "database" else set())

    def names(self) -> Names:
        words = self._words
        return Names(
            frozenset(self._names), "all" in words, "sameuser" in words, "replication" in words
        )

    def add(self, tokens: Tokens, path: str, depth: int) -> None:
        """The next word, found in the file at `path`."""
        is_plain = tokens.kind is Kind.WORD
        name = tokens.take_name(f"{self._what} name")
        if is_plain and name in self._keywords:
            self._words.add(name)
        elif is_plain and name[0] == "@":
            inner = posixpath.join(posixpath.dirname(path), name[1:])
            self._add_file(inner, depth + 1)
        elif is_plain and (name[0] == "+" or name in ("samerole", "samegroup")):
            raise LineError(f'"{clip(name)}" is not supported', _NOT_GROUPS)
        else:
            self._names.add(name)

    def _add_file(self, path: str, depth: int) -> None:
        if depth > MAX_FILE_DEPTH:
            raise LineError(f'"{clip(path)}": files of names are nested too deeply')
        for line in self._file.text_of(path).split("\n"):
            tokens = Tokens(line)
            while not tokens.is_end:
                if not tokens.take_comma():
                    self.add(tokens, path, depth)


def _read_type(tokens: Tokens) -> ConnectionType:
    if tokens.kind is Kind.WORD and tokens.text in _TYPES:
        return ConnectionType(tokens.take())
    hint = _OTHER_TYPES.get(tokens.text) or f"one of these is expected: {', '.join(_TYPES)}"
    raise LineError(f"unknown type{tokens.found}", hint)


def _read_network(tokens: Tokens) -> Network | None:
    """The address column, and the mask's; None for any address."""
    if tokens.take_word("all"):
        return None
    if tokens.kind is not Kind.WORD:
        raise LineError(f"did not find address{tokens.found}", "write all, or 10.0.0.0/8")
    text, slash, bits = tokens.take().partition("/")
    address = _parse_address(text)
    if address is None:
        hint = "host names, samehost and samenet are not supported: write 10.0.0.0/8, or all"
        raise LineError(f'failed to parse address "{clip(text)}"', hint)
    width = address.max_prefixlen
    mask = _parse_bits(bits, width) if slash else _parse_mask(tokens, address)
    number = int(address)
    if number & ~mask:
        right = ipaddress.ip_address((number & mask).to_bytes(width // 8, "big"))
        hint = f"write {right} for the address"
        raise LineError(f'address does not match mask: "{text}" has bits beyond it', hint)
    if address.version == 6 and (number >> 32, mask >> 32) == _MAPPED:
        return Network(4, number & _IPV4, mask & _IPV4)  # so are its clients, see auth.hba
    return Network(address.version, number, mask)


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def _parse_bits(bits: str, width: int) -> int:
    number = int(bits) if bits.isascii() and bits.isdigit() and len(bits) <= 3 else width + 1
    if number > width:
        raise LineError(f'invalid mask "/{clip(bits)}"', f"a number from 0 to {width} is expected")
    return (1 << width) - (1 << (width - number))


def _parse_mask(tokens: Tokens, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """A mask in a column of its own. Any bits will do, as in PgBouncer."""
    text = tokens.text if tokens.kind is Kind.WORD else ""
    mask = _parse_address(text)
    if mask is None or mask.version != address.version:
        hint = f"write {address}/{address.max_prefixlen} for this address alone"
        raise LineError(f"did not find mask{tokens.found}", hint)
    tokens.take()
    return int(mask)


def _read_method(tokens: Tokens) -> HbaMethod:
    """The method, which is left the next word."""
    if tokens.kind is Kind.WORD and tokens.text in _METHODS:
        return HbaMethod(tokens.text)
    hint = _OTHER_METHODS.get(tokens.text) or nearest(tokens.text, _METHODS)
    known = f"one of these is expected: {', '.join(_METHODS)}"
    raise LineError(f"unsupported method{tokens.found}", f"{hint}; {known}" if hint else known)
