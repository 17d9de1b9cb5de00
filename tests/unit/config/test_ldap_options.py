"""LDAP options: how they are written, what they mean, what is refused, and no secret in that."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config import apply_set, load_config, show_value
from pgmux.config.ldap_options import LdapOptions, LdapScope, parse_ldap_options
from pgmux.errors import ConfigError, PoolerError

SEARCH = 'ldapserver=a ldapbasedn="dc=x"'
URL = "ldapurl="


def refusal(text: str) -> str:
    with pytest.raises(ValueError) as caught:
        parse_ldap_options(text)
    return str(caught.value)


def test_simple_bind() -> None:
    options = parse_ldap_options('ldapserver=ldap.x ldapprefix="cn=" ldapsuffix=", dc=x, dc=net"')
    assert options == LdapOptions(("ldap.x",), 389, ldapprefix="cn=", ldapsuffix=", dc=x, dc=net")


def test_search_and_bind() -> None:
    options = parse_ldap_options(
        'ldapserver=a ldapport=1389 ldaptls=1 ldapbasedn="dc=x, dc=net" ldapbinddn="cn=reader,dc=x"'
        ' ldapbindpasswd="a ""b"", c" ldapsearchattribute=mail'
    )
    assert options == LdapOptions(
        ("a",),
        1389,
        ldaptls=True,
        ldapbasedn="dc=x, dc=net",
        ldapbinddn="cn=reader,dc=x",
        ldapbindpasswd='a "b", c',
        ldapsearchattribute="mail",
    )


@pytest.mark.parametrize(
    "text",
    [
        'ldapserver=a ldapport=3 ldapbasedn="dc=x"',
        'ldapserver=a,ldapport=3,ldapbasedn="dc=x"',
        'ldapserver=a "ldapport"=3 , "ldapbasedn=dc=x"',
        '  ldapserver="a"  ldapport=3 ldapbasedn=dc="x" # a comment',
        'ldapport=4 ldapserver=a ldapport=3 ldapbasedn="dc=x"',
    ],
)
def test_quotes_and_commas_stand_where_postgresql_and_pgbouncer_take_them(text: str) -> None:
    assert parse_ldap_options(text) == LdapOptions(("a",), 3, ldapbasedn="dc=x")


def test_several_servers_are_a_list() -> None:
    assert parse_ldap_options('ldapserver="a b" ldapbasedn=o').ldapserver == ("a", "b")


def test_an_empty_prefix_is_simple_bind_with_the_name_itself() -> None:
    options = parse_ldap_options('ldapserver=ad ldapprefix="" ldapsuffix=@x.net')
    assert (options.ldapprefix, options.ldapsuffix, options.ldapbasedn) == ("", "@x.net", None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "ldap://h:12345/dc=x,dc=net?uid?sub",
            LdapOptions(("h",), 12345, ldapbasedn="dc=x,dc=net"),
        ),
        (
            "ldaps://[::1]/dc=x??one?(|(uid=$username)(mail=$username))",
            LdapOptions(
                ("::1",),
                636,
                "ldaps",
                ldapbasedn="dc=x",
                ldapsearchfilter="(|(uid=$username)(mail=$username))",
                ldapscope=LdapScope.ONE,
            ),
        ),
        # RFC 4516: base unless it is said; only the first attribute counts
        (
            "LDAP://h/o=a%20b%3Fc?mail,cn",
            LdapOptions(
                ("h",),
                389,
                ldapbasedn="o=a b?c",
                ldapsearchattribute="mail",
                ldapscope=LdapScope.BASE,
            ),
        ),
    ],
)
def test_a_url_says_it_all(url: str, expected: LdapOptions) -> None:
    assert parse_ldap_options(f'ldapurl="{url}"') == expected


def test_a_url_goes_with_who_searches() -> None:
    options = parse_ldap_options('ldapurl="ldap://h/o=x?uid?sub" ldapbinddn=cn=r ldapbindpasswd=pw')
    assert (options.ldapbinddn, options.ldapbindpasswd) == ("cn=r", "pw")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set'),
        ("ldapserver=a", 'requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set'),
        ('ldapserver="" ldapprefix=cn=', 'requires argument "ldapserver" to be set'),
        ("ldapbasedn=dc=x", 'requires argument "ldapserver" to be set: SRV records'),
        (f'{URL}"ldap:///dc=x?uid?sub"', 'requires argument "ldapserver" to be set: SRV records'),
        (f"{SEARCH} ldapprefix=cn=", "cannot mix options for simple bind and search+bind modes"),
        ("ldapsuffix=@x ldapbinddn=o=x", "cannot mix options for simple bind and search+bind"),
        (
            f"{SEARCH} ldapsearchattribute=uid ldapsearchfilter=(uid=$username)",
            "cannot use ldapsearchattribute together with ldapsearchfilter",
        ),
        (f'{SEARCH} ldapurl="ldap://h/o=x"', "cannot use ldapurl together with ldapserver"),
        ('ldapbasedn=o=y ldapurl="ldap://h/o=x"', "cannot use ldapurl together with ldapbasedn"),
        (f'{URL}"ldap://h/o=x?uid?sub" ldapprefix=cn=', "cannot mix options"),
        (f'{URL}"http://h/o=x"', "unsupported LDAP URL scheme: http"),
        (f'{URL}"ldapi://%2ftmp/o=x"', "unsupported LDAP URL scheme: ldapi"),
        (f"{URL}nonsense", 'could not parse LDAP URL "nonsense"'),
        (f'{URL}"ldap://h/o=x?uid?everywhere"', "base, one or sub is expected"),
        (f'{URL}"ldap://h/o=x?uid?sub?(uid=a)?!x=1"', "critical extension"),
        (f'{URL}"ldap://h:99999/o=x"', 'invalid LDAP port number: "99999"'),
        (f"{SEARCH} ldapport=0", 'invalid LDAP port number: "0"'),
        (f"{SEARCH} ldapport=many", 'invalid LDAP port number: "many"'),
        (f"{SEARCH} ldapscheme=http", 'invalid ldapscheme value: "http"'),
        (f"{SEARCH} ldapscheme=ldaps ldaptls=1", "cannot use ldaptls together with ldaps"),
        (
            f"{SEARCH} ldapserver2=b",
            'invalid LDAP option: "ldapserver2" did you mean "ldapserver"?',
        ),
        ("ldapserver=a ldapbasedn=dc=x,dc=net", "the 3. one: name=value is expected, and quotes"),
        (f"{SEARCH} ldaptls", "ldaptls=value is expected"),
        (f'{SEARCH} ldapbinddn="cn=a', "a double quote is not closed"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    "password",
    [
        '"sec ret',
        "sec ret",
        "sec,ret",
        '"sec ret" ldapport=ret',
        '"se""c ret" ldaptls=1,ldapscheme=',
    ],
)
def test_a_refusal_repeats_no_part_of_a_password(password: str) -> None:
    said = refusal(f"ldapserver=a ldapbindpasswd={password}")
    assert "sec" not in said


@given(st.text())
def test_any_text_is_options_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse_ldap_options(text)


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_whatever_a_password_is_quotes_hold_it(password: str) -> None:
    doubled = password.replace('"', '""')
    options = parse_ldap_options(f'ldapserver=a ldapbindpasswd="{doubled}" ldapbasedn=o')
    assert options.ldapbindpasswd == password
    assert str(options) == 'ldapserver=a ldapbindpasswd="***" ldapbasedn=o'
    assert "ldapbindpasswd" not in repr(options)


# As a setting


def load(options: str) -> LdapOptions | None:
    text = f"[databases]\n[pgbouncer]\nauth_ldap_options = {options}\n"
    return load_config("p.ini", lambda path: text).settings.auth_ldap_options


def test_the_setting_is_what_its_text_says() -> None:
    loaded = load(f'{SEARCH}, ldapbindpasswd="hun ter2"')
    assert loaded is not None
    assert loaded.ldapbindpasswd == "hun ter2"


def test_show_config_hides_the_password() -> None:
    text = (
        "[databases]\n[pgbouncer]\nauth_ldap_options = ldapserver=a ldapbasedn=o ldapbindpasswd=b"
    )
    settings = load_config("p.ini", lambda path: text).settings
    shown = show_value("auth_ldap_options", settings)
    assert shown == 'ldapserver=a ldapbasedn=o ldapbindpasswd="***"'


def test_a_bad_setting_is_said_with_its_place_and_without_its_text() -> None:
    with pytest.raises(ConfigError) as caught:
        load("ldapserver=a ldapbindpasswd=hunter2")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("p.ini", 3)
    assert "invalid value for parameter auth_ldap_options" in problem.message
    assert 'requires argument "ldapbasedn"' in problem.hint
    assert "hunter2" not in str(problem)


def test_set_refuses_it_without_its_text() -> None:
    config = load_config("p.ini", lambda path: "[databases]\n[pgbouncer]\n")
    with pytest.raises(PoolerError, match="ldapbasedn") as caught:
        apply_set(config, "auth_ldap_options", "ldapbindpasswd=hunter2")
    assert "hunter2" not in caught.value.message
