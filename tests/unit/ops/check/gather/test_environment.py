"""What files of variables and compose files tell, whatever somebody wrote into them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from pgmux.ops.check.facts.environment import EnvironmentFacts, Program, Role
from pgmux.ops.check.gather import environment
from pgmux.ops.check.gather.interpolation import interpolate
from pgmux.ops.check.gather.reading import NotRead
from pgmux.ops.check.gather.yaml_tree import Table, read_yaml

SECRET = "correct-horse"


def look(
    directory: Path, *, environ: dict[str, str] | None = None, **files: str
) -> tuple[EnvironmentFacts, list[str]]:
    """What these files beside a pgbouncer.ini tell, and what couldn't be read."""
    for name, text in files.items():
        suffix = {"env": ".env", "airflow": "airflow.cfg", "compose": "compose.yaml"}[name]
        (directory / suffix).write_text(text)
    facts, unread = environment.gather(str(directory / "pgbouncer.ini"), environ=environ or {})
    return facts, [each.reason for each in unread]


def program(facts: EnvironmentFacts, name: str) -> Program:
    return next(each for each in facts.programs if os.path.basename(each.name) == name)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("$HOST:${PORT}", "db:5432"),
        ("${PORT:-1}${EMPTY:-2}${EMPTY-3}${NONE-4}", "543224"),
        ("${NONE:-${HOST}}", "db"),
        ("${NONE}|${NONE:?set it}", "?|?"),
        ("${HOST:+yes}${NONE:+no}", "yes"),
        ("100$$ $5 ${", "100$ $5 ${"),
    ],
)
def test_references_to_variables_mean_what_compose_says(text: str, means: str) -> None:
    assert interpolate(text, {"HOST": "db", "PORT": "5432", "EMPTY": ""}, "?") == means


def test_references_that_multiply_stay_bounded() -> None:
    assert len(interpolate("${A}" * 10_000, {"A": "x" * 10_000}, "")) <= 65536


@pytest.mark.parametrize(
    ("url", "place", "driver"),
    [
        ("postgres://app:pw@db/shop", "db:5432", ""),
        ("postgresql+asyncpg://app:p@ss:w/rd@pooler:6432/shop", "pooler:6432", "asyncpg"),
        ("db+postgresql://app:pw@db:5433/shop", "db:5433", ""),
        ("jdbc:postgresql://db:6432/shop?user=app", "db:6432", "jdbc"),
        ("postgres://app:pw@[::1]:6432/shop", "::1:6432", ""),
        ("postgres://${USER}:${PW}@${DB_HOST}:${PORT:-6432}/shop", "?:6432", ""),
        ("host=db port=6432 user=app password=pw", "db:6432", ""),
        ('{"conn_type": "postgres", "host": "db", "port": 6432, "password": "pw"}', "db:6432", ""),
    ],
)
def test_a_connection_is_found_in_every_spelling(
    tmp_path: Path, url: str, place: str, driver: str
) -> None:
    facts, _ = look(
        tmp_path, env=f"DATABASE_URL='{url}'\n" if "$" not in url else f"DATABASE_URL={url}"
    )
    (target,) = program(facts, ".env").targets
    assert (target.place, target.driver) == (place, driver)


def test_host_and_port_may_be_variables_of_their_own(tmp_path: Path) -> None:
    facts, _ = look(tmp_path, env="DB_HOST=pooler\nDB_PORT=6432\nDB_USER=app\nREDIS_HOST=r\n")
    (target,) = program(facts, ".env").targets
    assert (target.place, target.user, target.where) == (
        "pooler:6432",
        "app",
        f"{tmp_path}/.env:1",
    )


def test_no_secret_is_kept_of_what_is_read(tmp_path: Path) -> None:
    facts, _ = look(
        tmp_path,
        environ={"PGPASSWORD": SECRET, "PGHOST": "db"},
        env=f"A_URL=postgres://u:{SECRET}@db/a?password={SECRET}\nDB_PASSWORD={SECRET}\n"
        f"DSN=host=db password={SECRET}\nB_URL=postgres://u:{SECRET}/@db\nSTRANGE={SECRET}\n"
        f"C_HOST=postgres://u:{SECRET}@db\n",
        airflow=f"[database]\nsql_alchemy_conn = postgresql://u:{SECRET}@db/air\n",
        compose=f"services:\n  a:\n    environment:\n      POSTGRES_PASSWORD: {SECRET}\n"
        "      AIRFLOW_CONN_X: |\n"
        f'        {{"conn_type": "postgres", "host": "h", "password": "{SECRET}"}}\n',
    )
    assert SECRET not in repr(facts)
    assert len([each for every in facts.programs for each in every.targets]) >= 6


def test_secrets_that_stand_in_a_file_are_told_from_references(tmp_path: Path) -> None:
    facts, _ = look(
        tmp_path,
        env=f"DB_PASSWORD={SECRET}\nOTHER_PASSWORD=$X\nEMPTY_PASSWORD=\nPASSWORD_FILE=/run/x\n",
        compose="services:\n  a:\n    environment:\n      A_PASSWORD: ${P:?}\n"
        f"      URL: postgres://u:{SECRET}@db/a\n      URL2: postgres://u:${{P}}@db/a\n",
    )
    found = [(each.variable, each.line) for each in facts.secrets]
    assert found == [("DB_PASSWORD", 1), ("URL", 5)]


def test_a_compose_file_tells_services_ports_mounts_and_stops(tmp_path: Path) -> None:
    facts, unread = look(
        tmp_path,
        compose="""
x-common: &common
  image: edoburu/pgbouncer:1.23.1
  environment: &env {LISTEN_PORT: 6432}
services:
  pooler:
    <<: *common
    container_name: bouncer
    ports:
      - 6432:6432
      - "127.0.0.1:7432:6432"
      - "[::1]:8432:6432/tcp"
      - {target: 6432, published: "9432", host_ip: 10.0.0.1}
      - 53:53/udp
    volumes: [".:/etc/pgbouncer:ro", "data:/data"]
    environment: {<<: *env, POOL_MODE: transaction}
    ulimits: {nofile: {soft: 2048, hard: 4096}}
    stop_grace_period: 1m30s
    deploy: {replicas: 2}
  db: {image: "postgres:16", command: [postgres, -c, max_connections=200]}
""",
    )
    assert unread == []
    pooler, db = facts.services
    ports = [(each.address, each.outside, each.inside) for each in pooler.published]
    assert ports == [
        ("", 6432, 6432),
        ("127.0.0.1", 7432, 6432),
        ("::1", 8432, 6432),
        ("10.0.0.1", 9432, 6432),
    ]
    assert (pooler.role, db.role) == (Role.POOLER, Role.POSTGRES)
    assert set(pooler.names) == {"pooler", "bouncer"}
    assert (pooler.open_files, pooler.stop_grace, pooler.replicas) == (2048, 90.0, 2)
    assert pooler.mounts_file(str(tmp_path / "pgbouncer.ini"))
    assert pooler.path_here("/etc/pgbouncer/userlist.txt") == f"{tmp_path}/userlist.txt"
    assert pooler.path_here("/elsewhere") is None
    assert db.command == "postgres -c max_connections=200"
    variables = program(facts, "pooler").variables
    assert {name: each.value for name, each in variables.items()} == {
        "LISTEN_PORT": "6432",
        "POOL_MODE": "transaction",
    }


def test_a_compose_file_above_is_read_if_it_mounts_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "bouncer").mkdir()
    mounting = (
        "services:\n  pooler:\n    image: pgbouncer\n    volumes: ['./bouncer:/etc/pgbouncer']\n"
    )
    for text, names in ((mounting, ["pooler"]), (mounting.replace("./b", "./x"), [])):
        (tmp_path / "compose.yaml").write_text(text)
        facts, unread = environment.gather(str(tmp_path / "bouncer/pgbouncer.ini"), environ={})
        assert ([each.name for each in facts.services], unread) == (names, [])


def test_an_override_file_adds_to_the_services_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "compose.override.yaml").write_text(
        "services:\n  x:\n    ports: ['7:6432']\n    stop_signal: SIGINT\n"
        "    environment: {A_POOL: 2}\n"
    )
    facts, _ = look(
        tmp_path,
        compose="services:\n  x:\n    image: pgmux\n    ports: [6432]\n"
        "    environment: {A_POOL: 1, B_POOL: 1}\n",
    )
    (service,) = facts.services
    assert (service.image, service.role, service.stop_signal) == ("pgmux", Role.POOLER, "SIGINT")
    assert [each.outside for each in service.published] == [None, 7]
    assert program(facts, "x").number("A_POOL") == 2
    assert program(facts, "x").number("B_POOL") == 1


def test_a_container_without_a_file_has_the_configuration_of_its_variables(tmp_path: Path) -> None:
    facts, _ = look(
        tmp_path,
        compose="services:\n  pgbouncer:\n    image: edoburu/pgbouncer\n    environment:\n"
        "      DATABASE_URL: postgres://app:${P:?}@db/shop\n      POOL_MODE: transaction\n",
    )
    assert facts.made is not None
    assert facts.made.databases["shop"].host == "db"
    assert facts.made.settings.places["pool_mode"] == (f"{tmp_path}/compose.yaml", 6)


def test_what_a_container_cant_be_started_with_is_said(tmp_path: Path) -> None:
    facts, unread = look(
        tmp_path,
        compose="services:\n  pgbouncer:\n    image: edoburu/pgbouncer\n    environment:\n"
        f"      DATABASE_URL: mysql://app:{SECRET}@db/shop\n      POOL_MODE: sometimes\n",
    )
    assert facts.made is None
    assert "DATABASE_URL" in unread[0] and "POOL_MODE" in unread[0] and SECRET not in unread[0]


def test_airflow_cfg_is_the_variables_that_say_the_same(tmp_path: Path) -> None:
    facts, _ = look(
        tmp_path, airflow="# x\n[core]\nparallelism = 64\n\n[database]\nsql_alchemy_pool_size=9\n"
    )
    airflow = program(facts, "airflow.cfg")
    assert airflow.number("AIRFLOW__CORE__PARALLELISM") == 64
    assert airflow.place("AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE") == f"{tmp_path}/airflow.cfg:6"


def _bomb() -> str:
    levels = (f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    return "a0: &a0 [x]\n" + "".join(levels) + "services: {a: {ports: *a11}}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_bomb().encode(), "its aliases make more than 50,000 values"),
        (b"services: &s\n  a: *s\n", "its aliases make more than 50,000 values"),
        (b"services: " + b"[" * 5000, "nested too deep"),
        (bytes(range(256)), "not a text"),
        (b"x" * 300_000, "300,000 bytes; files up to 262,144 are read"),
        (b"services: [\n", "no YAML: line 2"),
        (b"- a\n- b\n", "no YAML table"),
        (b"services: !!python/object/apply:os.system [false]\n", "it has no services"),
        (b"", "no YAML table"),
    ],
)
def test_a_compose_file_that_is_none_is_said_and_costs_little(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "compose.yaml").write_bytes(content)
    facts, unread = look(tmp_path)
    assert facts.services == ()
    (said,) = unread
    assert f"{tmp_path}/compose.yaml: " in said and reason in said


def test_what_is_no_file_is_said_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").mkdir()
    os.mkfifo(tmp_path / ".env")
    _, unread = look(tmp_path)
    assert unread == [
        f"{tmp_path}/.env: not a file",
        f"{tmp_path}/compose.yaml: Is a directory",
    ]


def test_a_named_file_that_is_missing_is_said(tmp_path: Path) -> None:
    ini, missing = str(tmp_path / "pgbouncer.ini"), str(tmp_path / "none.env")
    _, unread = environment.gather(ini, [missing], environ={})
    assert [each.reason for each in unread] == [f"{missing}: No such file or directory"]


def test_files_that_a_compose_file_includes_are_said_to_be_left_out(tmp_path: Path) -> None:
    _, unread = look(
        tmp_path, compose="include: [x.yaml]\nservices:\n  a: {extends: {service: b}}\n"
    )
    assert unread == [
        f"{tmp_path}/compose.yaml:1: include isn't followed",
        f"{tmp_path}/compose.yaml:3: extends isn't followed",
    ]


def test_yaml_keeps_what_is_written_and_where() -> None:
    root = read_yaml("a: &x {b: 60s, c: ~, d: 1_000}\ne: {<<: *x, b: no}\nf: [<<, '']\n")
    assert isinstance(root, Table)
    assert (root.text("e", "b"), root.text("e", "d"), root.text("a", "c")) == ("no", "1_000", "")
    assert root.entries["e"].line == 2


def test_yaml_that_cant_be_decoded_is_refused_or_read_never_a_traceback() -> None:
    for text in ("a: \udcff\n", "\ufffe", "a: \x07\n", "? [1, 2]\n: x\n", "%YAML 9.9\n---\na: b\n"):
        with suppress(NotRead):
            read_yaml(text)
