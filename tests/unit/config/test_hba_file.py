"""An HBA file: every form of its lines, every way in which one breaks, and anything at all."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgmux.config.hba import ConnectionType, HbaMethod, HbaRule, IdentMap, Mapping, Names, Network
from pgmux.config.hba_file import MAX_REPORTED_LINES, HbaFile
from pgmux.config.ldap_options import parse_ldap_options
from tests.unit.config.helpers import reader

ADA = IdentMap("staff", (Mapping("ada", "postgres"),))


def read(text: str, **files: str) -> HbaFile:
    """The file /etc/hba with this text; others by name, in /etc too."""
    texts = {f"/etc/{name}": content for name, content in files.items()}
    file = HbaFile("/etc/hba", reader(texts), {"staff": ADA})
    file.load(text)
    return file


def rule(line: str, **files: str) -> HbaRule:
    """What a good line says."""
    file = read(line, **files)
    assert file.problems == []
    (found,) = file.rules
    return found


def problem(line: str, **files: str) -> str:
    """What is wrong with a line that is skipped."""
    file = read(line, **files)
    assert file.rules == []
    (found,) = file.problems
    assert (found.file, found.line) == ("/etc/hba", 1)
    start, _, message = str(found).partition("it is skipped: ")
    assert start == "/etc/hba:1: could not parse hba config line 1, "
    return message


def names(*plain: str) -> Names:
    return Names(frozenset(plain))


# Lines that count


@pytest.mark.parametrize("text", ["", "\n\n", "# comment", "  \t # comment", "\r\n", "\v\f"])
def test_blank_lines_and_comments_say_nothing(text: str) -> None:
    file = read(text)
    assert (file.rules, file.problems) == ([], [])


def test_a_line_for_unix_sockets_has_no_address() -> None:
    assert rule("local app bob peer") == HbaRule(
        "/etc/hba",
        1,
        ConnectionType.LOCAL,
        names("app"),
        names("bob"),
        None,
        HbaMethod.PEER,
    )


@pytest.mark.parametrize("type_", ["host", "hostssl", "hostnossl"])
def test_a_line_for_tcp_has_one(type_: str) -> None:
    found = rule(f"{type_} all all 10.0.0.0/8 md5")
    assert (found.type, found.network) == (type_, Network(4, 10 << 24, 0xFF000000))
    assert found.databases == found.users == Names(is_all=True)


@pytest.mark.parametrize("method", HbaMethod)
def test_every_method_is_known(method: HbaMethod) -> None:
    way = "local all all" if method is HbaMethod.PEER else "host all all all"
    options = "ldapserver=a ldapbasedn=x" if method is HbaMethod.LDAP else ""
    assert rule(f"{way} {method} {options}").method is method


def test_lines_keep_their_order_and_their_numbers() -> None:
    file = read("# head\r\nlocal all all peer\r\n\r\n\thost all all all md5#tail\r\n")
    assert [(found.line, found.method) for found in file.rules] == [(2, "peer"), (4, "md5")]
    assert file.rules[1].place == "/etc/hba:4"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("app", names("app")),
        ("a,b", names("a", "b")),
        ("a , b", names("a", "b")),
        ("a,a", names("a")),
        ('"a , b"', names("a , b")),
        ('"q1""q2"', names('q1"q2')),
        ('""', names("")),
        ('"all"', names("all")),
        ('"sameuser","replication","@x","+x"', names("sameuser", "replication", "@x", "+x")),
        ("all", Names(is_all=True)),
        ("sameuser", Names(is_sameuser=True)),
        ("replication", Names(is_replication=True)),
        ("app,replication", Names(frozenset({"app"}), is_replication=True)),
        ("ALL", names("ALL")),
        ("дом", names("дом")),
        ("\udcff", names("\udcff")),
    ],
)
def test_a_database_column(column: str, expected: Names) -> None:
    assert rule(f"local {column} all trust").databases == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("bob", names("bob")),
        ("bob,all", Names(frozenset({"bob"}), is_all=True)),
        ("sameuser", Names(is_sameuser=True)),
        ("replication", names("replication")),
    ],
)
def test_a_user_column(column: str, expected: Names) -> None:
    assert rule(f"local all {column} trust").users == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("all", None),
        ("10.1.2.3/32", Network(4, 0x0A010203, 0xFFFFFFFF)),
        ("0.0.0.0/0", Network(4, 0, 0)),
        ("128.0.0.0/1", Network(4, 1 << 31, 1 << 31)),
        ("127.0.0.0 255.255.255.0", Network(4, 0x7F000000, 0xFFFFFF00)),
        ("10.0.0.1 255.0.0.255", Network(4, 0x0A000001, 0xFF0000FF)),
        ("::1/128", Network(6, 1, 2**128 - 1)),
        ("::/0", Network(6, 0, 0)),
        ("ff11::0/16", Network(6, 0xFF11 << 112, 0xFFFF << 112)),
        ("fe80:: ffc0::", Network(6, 0xFE80 << 112, 0xFFC0 << 112)),
        ("::ffff:10.0.0.0/104", Network(4, 10 << 24, 0xFF000000)),
    ],
)
def test_an_address_column(column: str, expected: Network | None) -> None:
    assert rule(f"host all all {column} trust").network == expected


def test_a_map_is_the_ident_files() -> None:
    assert rule("local all all peer map=staff").ident == ADA
    assert rule("hostssl all all all cert map=staff # x").ident == ADA


def test_what_follows_ldap_are_its_options() -> None:
    options = 'ldapserver="a b", ldapbasedn="dc=x" ldapbindpasswd=secret'
    found = rule(f"host all all all ldap {options} # there")
    assert found.ldap == parse_ldap_options(options)
    assert "secret" not in repr(found)


@pytest.mark.parametrize("options", ["", "ldapserver", "ldapbindpasswd=secret", 'ldapserver="a'])
def test_a_line_with_wrong_options_of_ldap_counts_and_lets_nobody_in(options: str) -> None:
    file = read(f"host all all all ldap {options}")
    assert [(found.method, found.ldap) for found in file.rules] == [("ldap", None)]
    (found,) = file.problems
    assert found.message.startswith("hba config line 1: this line lets nobody in: ")
    assert found.is_grave
    assert "secret" not in found.message


# Files of names


def test_a_file_of_names_is_read() -> None:
    users = "# staff\nbob, eve\n\n  ada  'x' # more\n\"a b\"\n"
    assert rule("local all @users trust", users=users).users == names(
        "bob", "eve", "ada", "'x'", "a b"
    )


def test_a_file_of_names_has_the_columns_keywords() -> None:
    assert rule("local @dbs all trust", dbs="app sameuser").databases == Names(
        frozenset({"app"}), is_sameuser=True
    )


def test_an_empty_file_of_names_names_nobody() -> None:
    assert rule("local all @users trust", users="").users == Names()


def test_a_file_of_names_is_found_beside_the_one_that_names_it() -> None:
    files = {"/a/b/hba.conf": "", "/a/b/c/users": "bob @more\n", "/a/b/c/more": "eve @/x/y\n"}
    file = HbaFile("/a/b/hba.conf", reader(files | {"/x/y": "ada"}), {})
    file.load("local all @c/users trust")
    assert file.rules[0].users == names("bob", "eve", "ada")
    assert list(file.files) == ["/a/b/c/users", "/a/b/c/more", "/x/y"]


def test_a_file_of_names_beside_a_relative_path_is_relative() -> None:
    file = HbaFile("hba.conf", reader({"users": "bob"}), {})
    file.load("local all @users trust")
    assert file.rules[0].users == names("bob")


def test_a_file_that_names_itself_is_not_read_for_ever() -> None:
    assert problem("local all @users md5", users="bob @users").endswith("nested too deeply")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bob +staff", '"+staff" is not supported'),
        ('"bob', "a quote is never closed"),
        ("bob\0", "there is a NUL byte in it"),
        ("@gone", 'could not open file of names "/etc/gone": No such file or directory'),
    ],
)
def test_a_broken_file_of_names_breaks_the_line(text: str, message: str) -> None:
    assert problem("local all @users md5", users=text).startswith(message)


# Lines that don't


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hots all all all md5", 'unknown type: "hots" (one of these is expected: local, host,'),
        ('"host" all all all md5', 'unknown type: "host"'),
        (", all all md5", 'unknown type: ","'),
        ("hostgssenc all all all md5", 'unknown type: "hostgssenc" (there is no GSS'),
        ("hostnogssenc all all all md5", 'unknown type: "hostnogssenc" (there is no GSS'),
        ("include other.conf", 'unknown type: "include" (write the other file'),
        ("include_if_exists x", 'unknown type: "include_if_exists"'),
        ("include_dir x", 'unknown type: "include_dir"'),
        ("local", "there is no database name"),
        ("local ,", 'there is no database name: ","'),
        ("local app", "there is no user name"),
        ("local app,", "there is no database name"),
        ("local app bob,", "there is no user name"),
        ("local samerole all md5", '"samerole" is not supported (groups'),
        ("local samegroup all md5", '"samegroup" is not supported'),
        ("local +x all md5", '"+x" is not supported'),
        ("local all +x md5", '"+x" is not supported (groups'),
        ("local all bob,+x md5", '"+x" is not supported'),
        ("local all @ md5", "could not open file of names"),
        ("local all @gone md5", 'could not open file of names "/etc/gone": No such file'),
        ('local "all all md5', "a quote is never closed"),
        ("local all all m\0d5", "there is a NUL byte in it"),
        ("host all all", "did not find address"),
        ('host all all "10.0.0.0/8" md5', 'did not find address: "10.0.0.0/8"'),
        ("host all all md5", 'failed to parse address "md5" (host names, samehost'),
        ("host all all localhost md5", 'failed to parse address "localhost" (host names'),
        ("host all all .example.com md5", 'failed to parse address ".example.com"'),
        ("host all all samehost md5", 'failed to parse address "samehost"'),
        ("host all all samenet md5", 'failed to parse address "samenet"'),
        ("host all all 10.0.0/8 md5", 'failed to parse address "10.0.0"'),
        ("host all all 010.0.0.0/8 md5", 'failed to parse address "010.0.0.0"'),
        ("host all all 256.0.0.0/8 md5", 'failed to parse address "256.0.0.0"'),
        ("host all all fe80::1%eth0/128 md5", 'failed to parse address "fe80::1%eth0"'),
        ("host all all ١0.0.0.0/8 md5", 'failed to parse address "١0.0.0.0"'),
        ("host all all 10.0.0.0/33 md5", 'invalid mask "/33" (a number from 0 to 32'),
        ("host all all ::/129 md5", 'invalid mask "/129" (a number from 0 to 128'),
        ("host all all 0.0.0.0/ md5", 'invalid mask "/"'),
        ("host all all 0.0.0.0/-0 md5", 'invalid mask "/-0"'),
        ("host all all 0.0.0.0/٠ md5", 'invalid mask "/٠"'),
        (f"host all all 0.0.0.0/{'0' * 5000} md5", 'invalid mask "/000'),
        ("host all all 0.0.0.0/0/0 md5", 'invalid mask "/0/0"'),
        ("host all all 10.0.0.1 md5", 'did not find mask: "md5" (write 10.0.0.1/32 for this'),
        ("host all all ::1 md5", 'did not find mask: "md5" (write ::1/128'),
        ("host all all 10.0.0.0", "did not find mask"),
        ("host all all 10.0.0.0 ffff:: md5", 'did not find mask: "ffff::"'),
        ("host all all 192.168.1.1/0 md5", 'address does not match mask: "192.168.1.1" has'),
        ("host all all 10.0.0.1/8 md5", "address does not match mask"),
        ("host all all 10.0.0.1 255.0.0.0 md5", "address does not match mask"),
        ("host all all ff11::1/16 md5", 'address does not match mask: "ff11::1" has bits'),
        ("host all all all", "unsupported method"),
        ("host all all all md6", 'unsupported method: "md6" (did you mean "md5"?; one of'),
        ('host all all all "md5"', 'unsupported method: "md5"'),
        ("host all all all pam", 'unsupported method: "pam" (auth_type = pam is for all'),
        ("host all all all gss", 'unsupported method: "gss" (one of these is expected: trust'),
        ("local all all ident", 'unsupported method: "ident" (over Unix sockets, peer'),
        ("host all all all md5 clientcert=verify-full", '"clientcert" is malformed: it is not in'),
        ("host all all all md5 \\", '"\\" is malformed: it is not in map=value format'),
        ("local all all peer map", '"map" is malformed'),
        ("local all all peer map=gone", 'ident map "gone" is not found in ident config file'),
        ('local all all peer map="staff"', 'ident map "" is not found'),
        ("local all all peer map=staff x=y", 'unsupported parameters: "x=y"'),
        ('local all all peer "map=staff"', 'unsupported parameters: "map=staff"'),
        ("local all all md5,trust", 'unsupported parameters: ","'),
    ],
)  # fmt: skip
def test_a_broken_line_is_skipped_and_said(line: str, message: str) -> None:
    assert problem(line).startswith(message)


def test_the_lines_around_a_broken_one_count() -> None:
    file = read("local all all peer\nhost all all samehost md5\nhost all all all md5")
    assert [found.line for found in file.rules] == [1, 3]
    assert [found.line for found in file.problems] == [2]


def test_the_right_network_is_told() -> None:
    assert problem("host all all 10.9.8.7/8 md5").endswith("(write 10.0.0.0 for the address)")
    assert problem("host all all ff11::1/16 md5").endswith("(write ff11:: for the address)")


@pytest.mark.parametrize("line", ["host all all samenet reject", "host all +x all reject # no"])
def test_a_reject_line_that_is_skipped_is_no_mere_warning(line: str) -> None:
    (found,) = read(line).problems
    assert found.is_grave
    assert "IT REJECTS NOBODY: the lines after it decide who gets in" in found.message


@pytest.mark.parametrize("line", ["host all all samenet md5", "host all rejected samenet md5"])
def test_another_line_that_is_skipped_is_one(line: str) -> None:
    assert [found.is_grave for found in read(line).problems] == [False]


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("host all all all peer", "peer is for Unix sockets: this line lets nobody in"),
        ("local all all cert", "cert is for TLS connections: this line lets nobody in"),
        ("hostnossl all all all cert", "cert is for TLS connections: this line lets nobody in"),
        ("host all all all md5 map=staff", "map= has no effect with md5: it is for peer and cert"),
        ("local /^a all md5", '"/^a" is taken for a name: there are no regular expressions here'),
        ("local all /^a md5", '"/^a" is taken for a name: there are no regular expressions here'),
    ],
)
def test_a_line_that_means_less_than_it_seems_to_counts_and_is_said(
    line: str, warning: str
) -> None:
    file = read(line)
    assert len(file.rules) == 1
    assert [str(each) for each in file.problems] == [f"/etc/hba:1: hba config line 1: {warning}"]
    assert not file.problems[0].is_grave


def test_a_pattern_that_rejects_nobody_is_no_mere_warning() -> None:
    assert read("local /^a all reject").problems[0].is_grave


def test_a_file_of_nothing_but_broken_lines_is_reported_to_an_end() -> None:
    file = read("host all all samenet reject\n" * 5000)
    assert len(file.problems) == MAX_REPORTED_LINES + 1
    assert file.problems[-1].message == "could not parse 4900 more lines, they are skipped too"
    assert file.problems[-1].is_grave


def test_a_long_word_is_not_repeated_at_length() -> None:
    assert len(problem("host all all all " + "x" * 10**6)) < 1000


# Anything

WORDS = st.sampled_from(
    [
        *("local", "host", "hostssl", "hostnossl", "all", "sameuser", "replication", "app", "@f"),
        *("10.0.0.0/8", "::1/128", "10.0.0.0", "255.0.0.0", "map=staff", "map=", '"', '""', "#"),
        *(",", "\\", "\0", "+g", "/x", "@", *HbaMethod),
    ]
)
ALMOST_LINES = st.lists(WORDS, max_size=9).map(" ".join)


@given(st.lists(st.one_of(ALMOST_LINES, st.text(max_size=30))), st.text(max_size=30))
@example(["host all all \udc80/8 md5"], "")
def test_any_text_is_read_without_an_exception(lines: list[str], named: str) -> None:
    text = "\n".join(lines)
    file = read(text, f=named)
    numbers = {found.line for found in file.rules}
    skipped = {each.line for each in file.problems if "it is skipped" in each.message}
    assert not numbers & skipped
    # nothing is dropped without a word
    for number, line in enumerate(text.split("\n"), 1):
        is_said = number in numbers | skipped
        assert is_said or not line.strip(" \t\n\v\f\r") or line.lstrip(" \t\n\v\f\r")[0] == "#"
