"""An ini edited in place: what changes, and that nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgmux.config import load_config
from pgmux.errors import ConfigError
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.ini_edit import EditError, IniEdit
from pgmux.ops.ini_text import entry_name, entry_value

MAIN = "pgbouncer.ini"
Edit = Callable[[IniEdit], object]


def reader(files: dict[str, str]) -> Callable[[str], str]:
    def read(path: str) -> str:
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return read


def edited(files: str | dict[str, str], edit: Edit) -> dict[str, str]:
    """The files that have changed, after `edit`."""
    texts = EditedTexts(reader(files if isinstance(files, dict) else {MAIN: files}))
    edit(IniEdit(MAIN, texts))
    return {path: texts.read(path) for path in texts.changed}


def set_db(ini: IniEdit) -> None:
    ini.set("databases", "shop", "host=new")


def remove_db(ini: IniEdit) -> None:
    ini.remove("databases", "shop")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "; ours\n[databases]\n  shop   =  host=old  \n\n# end\n[pgbouncer]\nlisten_port=1\n",
            "; ours\n[databases]\n  shop   =  host=new  \n\n# end\n[pgbouncer]\nlisten_port=1\n",
            id="indentation, blanks and comments stay",
        ),
        pytest.param(
            "[databases]\r\nshop=host=old\r\n[pgbouncer]\r\n",
            "[databases]\r\nshop=host=new\r\n[pgbouncer]\r\n",
            id="CRLF stays",
        ),
        pytest.param(
            "[databases]\nshop = host=a\nshop = host=b\n[pgbouncer]\n",
            "[databases]\nshop = host=a\nshop = host=new\n[pgbouncer]\n",
            id="of duplicates the last counts",
        ),
        pytest.param(
            "[databases]\nshop = host=a\n[pgbouncer]\n[databases]\nshop = host=b\n",
            "[databases]\nshop = host=a\n[pgbouncer]\n[databases]\nshop = host=new\n",
            id="of sections of one name, too",
        ),
        pytest.param(
            "[databases]\n'shop' = host=old\n[pgbouncer]\n",
            "[databases]\n'shop' = host=new\n[pgbouncer]\n",
            id="quotes stay",
        ),
        pytest.param(
            "[databases] shop = host=old\n[pgbouncer]\n",
            "[databases] shop = host=new\n[pgbouncer]\n",
            id="on the section's own line",
        ),
        pytest.param(
            "[databases]\nshop = host=old",
            "[databases]\nshop = host=new",
            id="the last line, without a newline",
        ),
        pytest.param(
            "[databases]\nshop =\n[pgbouncer]\n",
            "[databases]\nshop = host=new\n[pgbouncer]\n",
            id="one that had no value",
        ),
        pytest.param(
            "[databases]\n; shop = host=old\na = host=1\n; b = host=2\n\n[pgbouncer]\n",
            "[databases]\n; shop = host=old\na = host=1\nshop = host=new\n; b = host=2\n\n"
            "[pgbouncer]\n",
            id="a new one goes below the section's last",
        ),
        pytest.param(
            "[databases]\r\n\ta=host=1\r\n\r\n[pgbouncer]\r\n",
            "[databases]\r\n\ta=host=1\r\n\tshop=host=new\r\n\r\n[pgbouncer]\r\n",
            id="written as its neighbour is",
        ),
        pytest.param(
            "[databases]\na = host=1",
            "[databases]\na = host=1\nshop = host=new\n",
            id="below a line without a newline",
        ),
        pytest.param(
            "[databases]\r\na = host=1",
            "[databases]\r\na = host=1\r\nshop = host=new\r\n",
            id="below one without a newline, among CRLF",
        ),
        pytest.param(
            "[databases]\n\n[pgbouncer]\n",
            "[databases]\nshop = host=new\n\n[pgbouncer]\n",
            id="into an empty section",
        ),
        pytest.param(
            "[pgbouncer]\r\nlisten_port = 1",
            "[pgbouncer]\r\nlisten_port = 1\r\n\r\n[databases]\r\nshop = host=new\r\n",
            id="into a section that wasn't there",
        ),
    ],
)
def test_setting_an_entry_changes_nothing_else(before: str, after: str) -> None:
    assert edited(before, set_db) == {MAIN: after}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "[databases]\r\n; the shop\r\nshop = host=a\r\nb = host=c\r\n",
            "[databases]\r\n; the shop\r\nb = host=c\r\n",
        ),
        ("[databases]\nshop = a=1\nb = c=1\nshop = d=1\n", "[databases]\nb = c=1\n"),
        ("[databases] shop = a=1\r\nb = c=1\n", "[databases]\r\nb = c=1\n"),
        ("[databases]\nb = c=1\n'shop' = d=1", "[databases]\nb = c=1\n"),
    ],
)
def test_removing_an_entry_takes_all_of_its_name_and_nothing_else(before: str, after: str) -> None:
    assert edited(before, remove_db) == {MAIN: after}


def test_what_is_not_there_is_removed_without_a_change() -> None:
    assert edited("[databases]\na = host=1\n", remove_db) == {}


def test_a_setting_is_changed_where_it_counts_after_the_sections_last_start() -> None:
    before = "[pgbouncer]\nauth_type = md5\n[users]\n[pgbouncer]\nlisten_port = 1\n"
    after = "[pgbouncer]\nauth_type = md5\n[users]\n[pgbouncer]\nlisten_port = 1\nauth_type = x\n"
    assert edited(before, lambda ini: ini.set("pgbouncer", "auth_type", "x")) == {MAIN: after}


def test_an_entry_is_changed_in_the_file_where_it_stands() -> None:
    files = {
        MAIN: "[databases]\na = host=1\n%include more.ini\n[pgbouncer]\n",
        "more.ini": "# more\nshop = host=old\nlast = host=3\n",
    }
    assert edited(files, set_db) == {"more.ini": "# more\nshop = host=new\nlast = host=3\n"}
    assert edited(files, remove_db) == {"more.ini": "# more\nlast = host=3\n"}


def test_a_new_entry_goes_to_the_main_file_or_to_the_one_that_is_named() -> None:
    files = {
        MAIN: "[databases]\n%include more.ini\n[pgbouncer]\n",
        "more.ini": "a = host=1\n",
    }
    new = "[databases]\nshop = host=new\n%include more.ini\n[pgbouncer]\n"
    assert edited(files, set_db) == {MAIN: new}
    named = edited(files, lambda ini: ini.set("databases", "shop", "host=2", file="more.ini"))
    assert named == {"more.ini": "a = host=1\nshop = host=2\n"}
    with pytest.raises(EditError, match=r"other\.ini"):
        edited(files, lambda ini: ini.set("databases", "shop", "host=2", file="other.ini"))


def test_a_new_entry_goes_to_the_section_where_only_an_included_file_has_it() -> None:
    files = {MAIN: "[pgbouncer]\n%include more.ini\n", "more.ini": "[databases]\na = host=1\n"}
    assert edited(files, set_db) == {"more.ini": "[databases]\na = host=1\nshop = host=new\n"}


def test_bytes_that_are_no_text_stay() -> None:
    before = "[databases]\n; caf\udce9\nshop = host=old\n"
    assert edited(before, set_db) == {MAIN: before.replace("old", "new")}


def test_names_and_values_that_need_quotes_are_read_as_they_were_meant() -> None:
    value = entry_value({"host": "db", "dbname": "my db", "password": "it's '' = 1", "port": 5433})
    files = {MAIN: "[databases]\n[pgbouncer]\n"}
    changed = edited(files, lambda ini: ini.set("databases", "my db", value))
    database = load_config(MAIN, reader(changed)).databases["my db"]
    assert (database.host, database.port, database.dbname) == ("db", 5433, "my db")
    assert database.password == "it's '' = 1"
    assert edited(changed, lambda ini: ini.remove("databases", "my db")) == files


@pytest.mark.parametrize("name", ["", "it's", "two\nlines"])
def test_a_name_that_the_file_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name is empty"):
        entry_name(name)


@pytest.mark.parametrize("value", ["a\nb = 1", " a", "a ", "a\0"])
def test_a_value_that_the_file_cannot_say_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a value"):
        edited("[pgbouncer]\n", lambda ini: ini.set("pgbouncer", "auth_query", value))


def test_an_empty_value_in_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="host has no value"):
        entry_value({"host": ""})


def test_a_file_that_cannot_be_read_is_said_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"more.ini.*No such file"):
        edited("[databases]\n%include more.ini\n", set_db)


def test_an_entry_that_two_lines_make_is_left_to_a_person() -> None:
    with pytest.raises(EditError, match=r"pgbouncer.ini:\d"):
        edited("[databases]\n'two\nlines' = a=1\n", lambda i: i.set("databases", "two\nlines", "b"))


def test_a_diff_shows_what_changes_and_no_secret() -> None:
    before = "[databases]\nshop = host=a password=hush\n;b = password='two words' user=x\n"
    texts = EditedTexts(reader({MAIN: before, "users": '"ann" "hush" "hu"\n"bob" "hu""sh"\n'}))
    IniEdit(MAIN, texts).set("databases", "shop", "host=b password=hush2")
    texts.put("users", texts.read("users") + '"it" "hush3"\n')
    diff = texts.diff()
    assert "-shop = host=a password=********" in diff
    assert "+shop = host=b password=********" in diff
    assert " ;b = password=******** user=x" in diff
    assert '+"it" "********"' in diff
    assert "hu" not in diff
    assert "two words" not in diff


@pytest.mark.parametrize("edit", [set_db, remove_db])
def test_an_entry_that_is_included_into_two_sections_is_not_edited(edit: Edit) -> None:
    main = "[users]\n%include both.ini\n[databases]\n%include both.ini\n[pgbouncer]\n"
    with pytest.raises(EditError, match="editing shop would change others"):
        edited({MAIN: main, "both.ini": "shop = pool_size=1\n"}, edit)
