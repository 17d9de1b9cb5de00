"""URLs of databases: what is read out of them, and that errors show nothing of them."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy.database_url import DatabaseUrl, Host, parse_url

# All that PostgreSQL can have in a password, and most of what one may paste into a variable.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
NASTY = "p@ss:w/o?r#d% &+=\\'\"[]{}<>|^`~$,;!*()äöü€\n\t"


def read(text: str) -> DatabaseUrl:
    return parse_url("DATABASE_URL", text)


def refusal(text: str) -> str:
    """The error's text. Nothing else comes with it: no cause, and nothing that was handled."""
    with pytest.raises(SettingError, match=r"^DATABASE_URL") as caught:
        read(text)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "".join(traceback.format_exception_only(error)).count("\n") == 1
    return str(error)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "PostgreSQL"])
def test_both_of_libpqs_schemes_are_read(scheme: str) -> None:
    assert read(f"{scheme}://app:secret@db.example:6432/shop") == DatabaseUrl(
        "DATABASE_URL",
        user="app",
        password="secret",
        hosts=(Host("db.example", 6432),),
        database="shop",
    )


@pytest.mark.parametrize("driver", ["psycopg", "psycopg_async", "psycopg2", "asyncpg"])
def test_the_driver_follows_a_plus(driver: str) -> None:
    assert read(f"postgresql+{driver}://db/shop").driver == driver
    assert read(f"postgres+{driver}://db/shop").driver == driver


def test_what_is_left_out_is_left_to_the_driver() -> None:
    assert read("postgresql://") == DatabaseUrl("DATABASE_URL")
    assert read("postgresql:///") == DatabaseUrl("DATABASE_URL")
    assert read("postgresql://@/shop") == DatabaseUrl("DATABASE_URL", database="shop")
    assert read("postgresql://app@").user == "app"


@given(user=TEXT, password=TEXT, database=TEXT)
@example(user=NASTY, password=NASTY, database=NASTY)
def test_percent_encoded_parts_are_read_whatever_they_hold(
    user: str, password: str, database: str
) -> None:
    encoded = [quote(each, safe="") for each in (user, password, database)]
    url = read("postgresql://{}:{}@db:5432/{}".format(*encoded))
    assert (url.user, url.password, url.database) == (user, password, database)
    assert url.hosts == (Host("db", 5432),)
    url = read("postgresql:///?user={}&password={}&dbname={}".format(*encoded))
    assert (url.user, url.password, url.database) == (user, password, database)


@pytest.mark.parametrize(
    "password", ["a/b", "a?b", "a?b=c", "a#b", "100%", "a:b", "a@b", "[x]", ""]
)
def test_a_password_with_characters_as_they_are_is_read_as_sqlalchemy_reads_it(
    password: str,
) -> None:
    url = read(f"postgresql://app:{password}@db:5432/shop?sslmode=require")
    assert url.password == password
    assert url.hosts == (Host("db", 5432),)
    assert url.query == (("sslmode", "require"),)


def test_an_at_sign_in_the_query_makes_no_user() -> None:
    url = read("postgresql://db:5432/shop?application_name=me@work")
    assert (url.user, url.hosts) == (None, (Host("db", 5432),))
    url = read("postgresql://db?user=app@server&password=p@ss")
    assert (url.user, url.password, url.hosts) == ("app@server", "p@ss", (Host("db"),))


def test_a_users_at_sign_is_the_users() -> None:
    url = read("postgresql://app@server:secret@db/shop")
    assert (url.user, url.password, url.hosts) == ("app@server", "secret", (Host("db"),))


@pytest.mark.parametrize(
    ("place", "hosts"),
    [
        ("h1,h2", (Host("h1"), Host("h2"))),
        ("h1:1,h2:2", (Host("h1", 1), Host("h2", 2))),
        ("h1,h2:2", (Host("h1"), Host("h2", 2))),
        ("[::1]", (Host("::1"),)),
        ("[::1]:6432,10.0.0.1", (Host("::1", 6432), Host("10.0.0.1"))),
        ("[fe80::1%25eth0]:5432", (Host("fe80::1%eth0", 5432),)),
        ("%2Frun%2Fpostgresql", (Host("/run/postgresql"),)),
        ("%2Frun%2Fpostgresql:6432", (Host("/run/postgresql", 6432),)),
        ("%40abstract", (Host("@abstract"),)),
        (":6432", (Host("", 6432),)),
        ("bücher.example", (Host("bücher.example"),)),
    ],
)
def test_hosts_are_names_addresses_and_sockets(place: str, hosts: tuple[Host, ...]) -> None:
    assert read(f"postgresql://app:secret@{place}/shop").hosts == hosts
    assert read(f"postgresql://{place}").hosts == hosts


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("host=/tmp", (Host("/tmp"),)),
        ("host=/tmp&port=6432", (Host("/tmp", 6432),)),
        ("host=h1,h2&port=1,2", (Host("h1", 1), Host("h2", 2))),
        ("host=h1&host=h2&port=1", (Host("h1", 1), Host("h2", 1))),
        ("host=h1:1&host=h2:2", (Host("h1", 1), Host("h2", 2))),  # SQLAlchemy's
        ("host=::1", (Host("::1"),)),
        ("port=6432", (Host("db", 6432),)),
    ],
)
def test_the_querys_hosts_count_before_the_others(query: str, hosts: tuple[Host, ...]) -> None:
    assert read(f"postgresql://app@db/shop?{query}").hosts == hosts


def test_a_query_keeps_its_order_and_what_is_there_twice() -> None:
    url = read("postgresql:///?plugin=b&sslmode=require&plugin=a&empty=&options=-c%20x%3D1")
    assert url.query == (
        ("plugin", "b"),
        ("sslmode", "require"),
        ("plugin", "a"),
        ("options", "-c x=1"),
    )
    assert url.parameter("plugin") == "a"
    assert url.parameter("user") is None


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "",
        "mysql://app:hunter2@db/shop",
        "host=db password=hunter2",
        '"postgresql://app:hunter2@db/shop"',
        "jdbc:postgresql://db/shop?password=hunter2",
        "postgresql+hunter2://db",
        "postgresql:app:hunter2@db",
        "postgresql+pg8000://app:hunter2@db/shop",
        "postgresql://app:hunter2@db:hunter2/shop",
        "postgresql://app:hunter2@db:0/shop",
        "postgresql://app:hunter2@db:65536/shop",
        "postgresql://app:hunter2@db:١/shop",
        "postgresql://app:x/y@hunter2@db/shop",
        "postgresql://app:hunter2@d b/shop",
        "postgresql://app:hunter2@[db]/shop",
        "postgresql://app:hunter2@[::1/shop",
        "postgresql://app:hunter2@::1]:5/shop",
        "postgresql://app:hunter2@{db}/shop",
        "postgresql://app:hunter2/shop",
        "postgresql://app:hunter2%FF@db/shop",
        "postgresql://app:hunter2%00@db/shop",
        "postgresql://app:hunter2\udcff@db/shop",
        "postgresql://app:hunter2\0@db/shop",
        "postgresql://app@db/hunter2%FF",
        "postgresql://app@db/shop?hunter2",
        "postgresql://app@db/shop?password=hunter2%FF",
        "postgresql://app@db/shop?password=hunter2\udcff",
        "postgresql://app@db/shop?password=%00hunter2",
        "postgresql://app:hunter2@db/shop?host=a,b,c&port=1,2",
        "postgresql://app:hunter2@db/shop?port=hunter2",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_none_of_it_shown(text: str) -> None:
    assert "hunter2" not in refusal(text)


@given(st.text())
def test_any_text_is_read_or_refused_in_our_words(text: str) -> None:
    for each in (text, f"postgresql://{text}", f"postgres://app:secret@db/{text}"):
        try:
            read(each)
        except SettingError as error:
            assert error.__context__ is None


@given(password=TEXT, rest=st.text(max_size=10))
def test_no_error_shows_a_password_that_was_not_encoded(password: str, rest: str) -> None:
    password = f"hunter2{password}hunter2"
    text = f"postgresql://app:{password}@db:5432/shop{rest}"
    try:
        read(text)
    except SettingError as error:
        assert "hunter2" not in str(error)
        assert error.__context__ is None


def test_an_error_says_what_to_write_instead() -> None:
    assert refusal("postgresql://app:a@b/c@db:x/shop").endswith(
        "In a URL's password @ : / ? # % are written %40 %3A %2F %3F %23 %25."
    )
    assert refusal("mysql://db") == (
        "DATABASE_URL is not a URL of PostgreSQL: "
        "postgresql://user:password@host:port/database is accepted"
    )
    assert "psycopg, psycopg_async, psycopg2, asyncpg is accepted" in refusal("postgres+x://")


def test_the_repr_shows_no_password() -> None:
    url = read("postgresql://app:hunter2@db/shop?sslpassword=hunter2")
    assert "hunter2" not in repr(url)
