"""Which line of an HBA file is for a login."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.hba import MAX_WEIGHED, Attempt, find_rule, is_refused_anyway
from pgmux.config.hba import HbaMethod
from pgmux.config.hba_file import HbaFile
from pgmux.config.hba_rules import HbaRules


def rules(text: str) -> HbaRules:
    file = HbaFile("hba", lambda path: "", {})
    file.load(text)
    assert file.problems == []
    return HbaRules(file.rules)


def attempt(
    host: str | None = "10.0.0.9",
    database: str = "app",
    user: str = "bob",
    *,
    tls: bool = False,
    physical: bool = False,
) -> Attempt:
    return Attempt(host, tls, physical, database, user)


def is_for(line: str, login: Attempt) -> bool:
    return find_rule(rules(line), login) is not None


UNIX, PLAIN, TLS = attempt(None), attempt(), attempt(tls=True)


@pytest.mark.parametrize(
    ("line", "logins"),
    [
        ("local all all md5", [UNIX]),
        ("host all all all md5", [PLAIN, TLS]),
        ("hostssl all all all md5", [TLS]),
        ("hostnossl all all all md5", [PLAIN]),
    ],
)
def test_a_line_is_for_its_type_of_connection(line: str, logins: list[Attempt]) -> None:
    assert [login for login in (UNIX, PLAIN, TLS) if is_for(line, login)] == logins


@pytest.mark.parametrize(
    ("network", "host", "expected"),
    [
        ("all", "10.0.0.9", True),
        ("all", "::1", True),
        ("all", "unknown", True),
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.0/8", "::10.0.0.1", False),
        ("10.0.0.0/8", "unknown", False),
        ("10.0.0.9/32", "10.0.0.9", True),
        ("10.0.0.9/32", "10.0.0.8", False),
        ("0.0.0.0/0", "255.255.255.255", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "10.0.0.9", False),
        ("::/0", "fe80::1", True),
        ("::/0", "unknown", False),
        ("::1/128", "::1", True),
        ("::1/128", "::2", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("ff20::/12", "ff22:3::1", True),
        ("10.0.0.1 255.0.0.255", "10.7.7.1", True),
        ("10.0.0.1 255.0.0.255", "10.7.7.2", False),
        # an IPv4 client of a socket for both
        ("10.0.0.0/8", "::ffff:10.0.0.9", True),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.9", True),
        ("::ffff:10.0.0.0/104", "10.0.0.9", True),
        ("::ffff:10.0.0.0/104", "11.0.0.9", False),
        ("::/0", "::ffff:10.0.0.9", False),
    ],
)
def test_a_line_is_for_its_addresses(network: str, host: str, expected: bool) -> None:
    assert is_for(f"host all all {network} md5", attempt(host)) is expected


@pytest.mark.parametrize(
    ("databases", "database", "user", "expected"),
    [
        ("all", "app", "bob", True),
        ("app", "app", "bob", True),
        ("x,app", "app", "bob", True),
        ("App", "app", "bob", False),
        ('"all"', "app", "bob", False),
        ('"all"', "all", "bob", True),
        ("sameuser", "bob", "bob", True),
        ("sameuser", "app", "bob", False),
        ("sameuser,app", "app", "bob", True),
        ("replication", "app", "bob", False),
        ("replication", "replication", "bob", False),
        ('"replication"', "replication", "bob", True),
    ],
)
def test_a_line_is_for_its_databases(
    databases: str, database: str, user: str, expected: bool
) -> None:
    login = attempt(None, database, user)
    assert is_for(f"local {databases} all md5", login) is expected


@pytest.mark.parametrize(
    ("users", "user", "expected"),
    [
        ("all", "bob", True),
        ("bob", "bob", True),
        ("eve,bob", "bob", True),
        ("eve", "bob", False),
        ("sameuser", "app", True),
        ("sameuser", "bob", False),
        ("replication", "replication", True),
    ],
)
def test_a_line_is_for_its_users(users: str, user: str, expected: bool) -> None:
    assert is_for(f"local all {users} md5", attempt(None, "app", user)) is expected


@pytest.mark.parametrize(
    ("databases", "expected"),
    [
        ("all", False),
        ("app", False),
        ("sameuser", False),
        ("replication", True),
        ("x,replication", True),
    ],
)
def test_physical_replication_is_for_lines_that_say_so(databases: str, expected: bool) -> None:
    line = f"local {databases} all md5"
    assert is_for(line, attempt(None, "bob", "bob", physical=True)) is expected


def test_the_first_line_that_matches_decides() -> None:
    lines = rules("host all eve all reject\nhost app all 10.0.0.0/8 md5\nhost all all all reject")
    assert [
        found.line if (found := find_rule(lines, login)) else None
        for login in (attempt(user="eve"), attempt(), attempt("11.0.0.1"), attempt(None))
    ] == [1, 2, 3, None]


@pytest.mark.parametrize(
    ("login", "text"),
    [
        (UNIX, "local"),
        (PLAIN, "hostnossl from 10.0.0.9"),
        (TLS, "hostssl from 10.0.0.9"),
        (attempt(physical=True), "hostnossl from 10.0.0.9, replication"),
    ],
)
def test_a_login_is_described_in_the_files_words(login: Attempt, text: str) -> None:
    assert str(login) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("local all all md5", True),
        ("host all all 11.0.0.0/8 md5", True),
        ("host other all all md5", True),
        ("host all all all reject\nhost all all all md5", True),
        ("host app all all reject\nhost all all all md5", True),
        ("host all bob all reject\nhost all all all md5", False),
        ("host other all all reject\nhost all all all md5", False),
        ("host sameuser all all reject\nhost all all all md5", False),
        ("host all eve all md5\nhost all all all reject", False),
        ("host sameuser all all md5", False),
    ],
)
def test_who_is_refused_whoever_it_is_needs_no_look_up(text: str, expected: bool) -> None:
    assert is_refused_anyway(rules(text), PLAIN) is expected


COLUMNS = st.sampled_from(
    ["all", "app", "bob", "eve", "sameuser", "replication", "app,replication"]
)
LINES = st.builds(
    "host {} {} {} {}".format,
    COLUMNS,
    COLUMNS.filter(lambda names: "replication" not in names),
    st.sampled_from(["all", "10.0.0.0/8", "11.0.0.0/8"]),
    st.sampled_from([HbaMethod.MD5, HbaMethod.REJECT]),
)


@given(st.lists(LINES, max_size=6).map("\n".join), st.booleans(), st.sampled_from(["app", "bob"]))
def test_refused_anyway_is_who_is_refused_under_any_name(
    text: str, physical: bool, database: str
) -> None:
    lines = rules(text)
    login = attempt(database=database, physical=physical)
    found = [find_rule(lines, replace(login, user=name)) for name in ("app", "bob", "eve", "zoe")]
    may_enter = any(rule is not None and rule.method is not HbaMethod.REJECT for rule in found)
    if is_refused_anyway(lines, login):
        assert not may_enter


def test_where_it_takes_many_lines_to_see_a_refusal_somebody_is_asked_who_it_is() -> None:
    lines = "local all all md5\n" * MAX_WEIGHED
    assert is_refused_anyway(rules(lines), PLAIN)
    assert not is_refused_anyway(rules(lines + "local all all md5"), PLAIN)


# A file of many lines

MANY_COLUMNS = st.sampled_from(
    ["all", "app", "bob", '"all"', "sameuser", "app,bob", "a,b,c,d,app,bob", "app,sameuser"]
)
MANY_NETWORKS = st.sampled_from(
    ["all", "10.0.0.0/8", "10.0.0.9/32", "0.0.0.0/0", "10.0.0.1 255.0.0.255", "::/0", "fe80::/10"]
)
MANY_LINES = st.one_of(
    st.builds("local {} {} md5".format, MANY_COLUMNS, MANY_COLUMNS),
    st.builds(
        "{} {} {} {} md5".format,
        st.sampled_from(["host", "hostssl", "hostnossl"]),
        st.one_of(MANY_COLUMNS, st.sampled_from(["replication", "app,replication"])),
        MANY_COLUMNS,
        MANY_NETWORKS,
    ),
)
NAMES = st.sampled_from(["app", "bob", "all", "zoe"])
HOSTS = st.sampled_from([None, "10.0.0.9", "10.0.0.1", "::ffff:10.0.0.9", "fe80::1%eth0", "?"])


@given(
    st.lists(MANY_LINES, max_size=12).map("\n".join),
    st.builds(Attempt, HOSTS, st.booleans(), st.booleans(), NAMES, NAMES),
)
def test_the_line_found_is_the_first_of_all_that_match(text: str, login: Attempt) -> None:
    lines = rules(text)
    alone = (line for line in lines if find_rule(HbaRules([line]), login) is not None)
    assert find_rule(lines, login) == next(alone, None)


@pytest.mark.parametrize(
    "line",
    [
        "host all user{0} all md5",
        "host db{0} all all md5",
        "host all all 10.{1}.{2}.{3}/32 reject",
        "host db{0},x user{0},y 10.{1}.{2}.{3}/32 md5",
    ],
)
def test_a_login_is_compared_with_few_lines_of_many(line: str) -> None:
    numbers = ((n, n >> 16, n >> 8 & 255, n & 255) for n in range(3000))
    text = "\n".join(line.format(*each) for each in numbers)
    lines = rules(f"{text}\nhost all all all reject")
    near = list(lines.near("db77", "user77", 4, 10 << 24 | 77))
    assert [each.line for each in near] == [78, 3001]
