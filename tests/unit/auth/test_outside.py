"""Names that go to an LDAP server are one value there, whatever a client says that it is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.outside import LdapLogin, PamLogin, bind_name, is_name_refused, search_filter
from pgmux.config.ldap_options import parse_ldap_options

SIMPLE = parse_ldap_options('ldapserver=a ldapprefix="uid=" ldapsuffix=",dc=x"')
UPN = parse_ldap_options("ldapserver=a ldapsuffix=@x.net")
DOMAIN = parse_ldap_options("ldapserver=a ldapprefix=CORP\\")
SEARCH = parse_ldap_options("ldapserver=a ldapbasedn=o=x")
FILTER = parse_ldap_options(
    'ldapserver=a ldapbasedn=o=x ldapsearchfilter="(|(uid=$username)(mail=$username))"'
)


def unescape(text: str) -> str:
    """RFC 4514's and 4515's pairs of hexadecimal digits read."""
    head, *tail = text.split("\\")
    return head + "".join(chr(int(part[:2], 16)) + part[2:] for part in tail)


def test_a_plain_name_is_itself() -> None:
    assert bind_name(SIMPLE, "bob.o'neil") == "uid=bob.o'neil,dc=x"
    assert bind_name(UPN, "bob") == "bob@x.net"
    assert bind_name(DOMAIN, "bob") == "CORP\\bob"
    assert search_filter(SEARCH, "bob") == "(uid=bob)"
    assert search_filter(FILTER, "bob") == "(|(uid=bob)(mail=bob))"


@given(st.text())
def test_a_name_in_a_dn_is_one_value(user: str) -> None:
    name = bind_name(SIMPLE, user)
    value = name.removeprefix("uid=").removesuffix(",dc=x")
    assert not set(value.replace("\\", "")) & set(',+"<>;=# \0')
    assert unescape(value) == user


@given(st.text())
def test_a_name_in_a_filter_is_one_value(user: str) -> None:
    for found in search_filter(FILTER, user)[len("(|(uid=") : -2].split(")(mail="):
        assert not set(found) & set("()*\0")
        assert unescape(found) == user


def test_a_name_that_looks_like_the_place_for_it_is_not_replaced_again() -> None:
    assert search_filter(FILTER, "$username") == "(|(uid=$username)(mail=$username))"


@pytest.mark.parametrize("user", ["*", "a*", "bob)(uid=*", "a\\2a", "a/b", "\udcff"])
def test_names_that_postgresql_refuses_are_refused(user: str) -> None:
    assert is_name_refused(user)


@pytest.mark.parametrize("user", ["bob", "bob@x.net", "Jürgen", "o'neil", "a b", "$username"])
def test_others_are_not(user: str) -> None:
    assert not is_name_refused(user)


def test_a_login_hides_its_password() -> None:
    assert "pw" not in repr(LdapLogin(SEARCH, "bob", b"pw"))
    assert "pw" not in repr(PamLogin("bob", b"pw", "::1"))


def test_logins_hang_together_where_the_servers_are_the_same() -> None:
    other = parse_ldap_options("ldapserver=b ldapbasedn=o=x")
    assert LdapLogin(SEARCH, "bob", b"").lane == LdapLogin(FILTER, "eve", b"").lane
    assert LdapLogin(SEARCH, "bob", b"").lane != LdapLogin(other, "bob", b"").lane
    assert PamLogin("bob", b"", "").lane != LdapLogin(SEARCH, "bob", b"").lane
