"""Where `pgmux console` connects, from the command line, the environment and pgbouncer.ini."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pgmux.ops.console.place import CONFIG_FILES, Asked, Machine, Place, PlaceError, find_place

INI = "[databases]\n[pgbouncer]\nlisten_port = 6433\nunix_socket_dir = /run/pooler\n"
OURSELVES = 1000


def find(
    asked: Asked | None = None,
    *,
    files: Mapping[str, str] | None = None,
    owners: Mapping[str, int] | None = None,
    **environ: str,
) -> Place:
    """The place, on a machine with these files and sockets."""

    def read(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    find_owner = (owners or {}).get
    return find_place(asked or Asked(), Machine(environ, read, find_owner, OURSELVES, "joe"))


def shown(place: Place) -> str:
    """host, port and user in short."""
    get = place.parameters.get
    return f"{get('user')}@{get('host')}:{get('port')}/{get('dbname')}"


def test_without_any_word_the_usual_places_are_tried_in_turn() -> None:
    place = find()
    assert shown(place) == "None@/var/run/postgresql,/tmp,localhost:6432/pgbouncer"
    assert place.parameters["connect_timeout"] == "10"


def test_libpqs_variable_for_the_timeout_counts() -> None:
    assert "connect_timeout" not in find(PGCONNECT_TIMEOUT="3").parameters
    assert (
        find(Asked(url="connect_timeout=4"), PGCONNECT_TIMEOUT="3").parameters["connect_timeout"]
        == "4"
    )


@pytest.mark.parametrize("path", CONFIG_FILES)
def test_a_pgbouncer_ini_of_this_machine_is_found(path: str) -> None:
    place = find(files={path: INI})
    assert shown(place) == "pgbouncer@/run/pooler:6433/pgbouncer"
    assert place.source == path


def test_the_file_that_is_named_comes_before_the_environment() -> None:
    place = find(
        Asked(config="other.ini"),
        files={"other.ini": INI, "pgbouncer.ini": "[pgbouncer]\n"},
        PGHOST="elsewhere",
        PGPORT="1",
    )
    assert shown(place) == "pgbouncer@/run/pooler:6433/pgbouncer"


def test_a_file_that_is_named_and_not_there_is_an_error() -> None:
    with pytest.raises(PlaceError, match=r"cannot read other\.ini"):
        find(Asked(config="other.ini"))


@pytest.mark.parametrize(
    ("lines", "hosts"),
    [
        ("listen_addr = *", "/tmp,localhost"),
        ("listen_addr = 0.0.0.0", "/tmp,127.0.0.1"),
        ("listen_addr = ::", "/tmp,::1"),
        ("listen_addr = 10.0.0.7, 10.0.0.8\nunix_socket_dir =", "10.0.0.7"),
        ("unix_socket_dir = @pooler", "@pooler"),
    ],
)
def test_the_socket_comes_first_and_then_one_address(lines: str, hosts: str) -> None:
    place = find(files={"pgbouncer.ini": f"[pgbouncer]\n{lines}\n"})
    assert place.parameters["host"] == hosts


def test_a_pooler_that_listens_nowhere_is_an_error() -> None:
    with pytest.raises(PlaceError, match="neither unix_socket_dir nor listen_addr"):
        find(files={"pgbouncer.ini": "[pgbouncer]\nunix_socket_dir =\n"})


def test_a_file_with_mistakes_and_unknown_settings_is_good_enough() -> None:
    text = f"nonsense\n{INI}setting_of_tomorrow = 1\nlisten_addr = 127.0.0.1\n"
    assert find(files={"pgbouncer.ini": text}).parameters["host"] == "/run/pooler,127.0.0.1"


def test_libpqs_variables_come_before_a_file_that_is_only_found() -> None:
    place = find(files={"pgbouncer.ini": INI}, PGHOST="db1")
    assert shown(place) == "None@None:6432/pgbouncer"
    place = find(files={"pgbouncer.ini": INI}, PGPORT="7000", PGUSER="me")
    assert shown(place) == "None@/run/pooler:7000/pgbouncer"
    assert "port" not in find(PGSERVICE="pooler").parameters


def test_what_the_command_line_names_comes_first() -> None:
    asked = Asked("postgresql://u:p%40ss@db1:7000/other?sslmode=require", "db2", "7001", "me")
    place = find(asked, files={"pgbouncer.ini": INI}, PGHOST="db3", PGPORT="1", PGUSER="x")
    assert shown(place) == "me@db2:7001/other"
    assert (place.parameters["password"], place.parameters["sslmode"]) == ("p@ss", "require")


def test_pairs_and_a_mere_database_name_are_taken_as_psql_takes_them() -> None:
    assert shown(find(Asked("host=db1 user=me"))) == "me@db1:6432/pgbouncer"
    assert find(Asked("pgbouncer")).parameters["dbname"] == "pgbouncer"


@pytest.mark.parametrize("ending", ["%zz", "%de"])  # no code, and no UTF-8
def test_a_bad_url_is_refused_without_repeating_its_password(ending: str) -> None:
    with pytest.raises(PlaceError, match="--url is not a connection string") as refused:
        find(Asked(f"postgresql://u:topsecret{ending}@host"))
    assert "topsecret" not in str(refused.value)


def test_a_place_does_not_show_its_password() -> None:
    assert "topsecret" not in repr(find(Asked("postgresql://u:topsecret@host")))


SOCKET = "/run/pooler/.s.PGSQL.6433"


@pytest.mark.parametrize(
    ("users", "owners", "user"),
    [
        ("admin_users = admin, joe", {}, "joe"),
        ("admin_users = admin, ann", {}, "admin"),
        ("stats_users = looker", {}, "looker"),
        ("admin_users = admin", {SOCKET: 0}, "admin"),
        ("admin_users = admin", {SOCKET: OURSELVES}, "pgbouncer"),
        ("", {}, "pgbouncer"),
    ],
)
def test_the_user_is_one_who_may_log_in(users: str, owners: dict[str, int], user: str) -> None:
    place = find(files={"pgbouncer.ini": f"{INI}{users}\n"}, owners=owners)
    assert place.parameters["user"] == user


def test_the_poolers_own_account_is_admin_over_a_socket_that_is_named() -> None:
    owners = {"/here/.s.PGSQL.6432": OURSELVES}
    assert find(Asked(host="/here"), owners=owners).parameters["user"] == "pgbouncer"
    assert find(PGHOST="/here", owners=owners).parameters["user"] == "pgbouncer"
    assert find(Asked(host="/here", user="me"), owners=owners).parameters["user"] == "me"
    assert "user" not in find(Asked(host="/there"), owners=owners).parameters
