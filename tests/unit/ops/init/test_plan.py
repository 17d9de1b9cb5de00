"""What `pgmux init` makes of a PostgreSQL, without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pgmux.config import load_config
from pgmux.config.model import Config, SslMode
from pgmux.ops.init.facts import Facts
from pgmux.ops.init.plan import InitError, Plan, make_plan
from pgmux.ops.init.sizes import size
from pgmux.ops.init.values import Asked

ROOT = Path(__file__).parents[4]
VERIFIER = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$" + ":".join(["A" * 43 + "="] * 2)
ASKED = Asked("/srv/pooler", owner=(70, 70), account="postgres", program="/opt/pgmux/bin/pgmux")
FACTS = Facts("db.internal", 5433, ("shop", "my stock"), {"app": VERIFIER}, has_tls=True)
KNOWN = replace(FACTS, is_known=True)


def texts(plan: Plan) -> dict[str, str]:
    return {file.path.removeprefix("/srv/pooler/"): file.text for file in plan.files}


def config_of(plan: Plan) -> Config:
    by_path = {file.path: file.text for file in plan.files}
    ini, own = "/srv/pooler/pgbouncer.ini", "/srv/pooler/pgmux.ini"
    return load_config(ini, by_path.__getitem__, own)


@pytest.mark.parametrize(
    ("max_connections", "direct", "databases", "users", "expected"),
    [
        (100, 0, 1, 1, (87, 20)),
        (100, 17, 2, 3, (36, 12)),
        (500, 0, 1, 40, (447, 11)),
        (100, 97, 1, 1, (1, 1)),
        (20, 10, 9, 9, (1, 1)),
    ],
)
def test_the_databases_share_what_is_left_of_max_connections(
    max_connections: int, direct: int, databases: int, users: int, expected: tuple[int, int]
) -> None:
    sizes = size(max_connections, 3, direct, databases, users, 20000)
    assert (sizes.max_db_connections, sizes.default_pool_size) == expected
    assert bool(sizes.warnings) == (direct > 50 or expected == (1, 1))


def test_clients_are_no_more_than_file_descriptors() -> None:
    assert size(100, 3, 0, 1, 1, 1024).max_client_conn == 850
    assert size(100, 3, 0, 1, 1, 65536).max_client_conn == 1000


def test_the_files_are_closed_and_let_in_whom_postgresql_knows() -> None:
    plan = make_plan(ASKED, KNOWN, 20000)
    config = config_of(plan)
    assert plan.warnings == ()
    assert config.warnings == ()
    assert config.settings.listen_addr == ("127.0.0.1",)
    assert config.settings.unix_socket_dir == ""
    assert config.settings.auth_type == "scram-sha-256"
    assert config.settings.server_tls_sslmode is SslMode.REQUIRE
    assert config.userlist.keys() == {"pgmux_admin", "pgmux_stats", "app"}
    assert config.userlist["app"] == VERIFIER
    assert (config.databases["my stock"].host, config.databases["my stock"].port) == (
        "db.internal",
        5433,
    )
    assert plan.most_servers == 40


def test_what_is_secret_is_its_owners_alone_and_out_of_git() -> None:
    plan = make_plan(ASKED, KNOWN, 20000)
    modes = {Path(file.path).name: (file.mode, file.owner) for file in plan.files}
    assert modes["userlist.txt"] == (0o600, (70, 70))
    assert modes["admin.pgpass"] == (0o600, None)
    others = {
        mode for name, (mode, _) in modes.items() if name not in ("userlist.txt", "admin.pgpass")
    }
    assert others == {0o644}
    assert {"userlist.txt", "admin.pgpass"} <= set(texts(plan)[".gitignore"].splitlines())
    password = texts(plan)["admin.pgpass"].split(":")[4].strip()
    elsewhere = [text for name, text in texts(plan).items() if name != "admin.pgpass"]
    assert not any(password in text for text in elsewhere)


def test_every_line_that_is_no_default_says_why() -> None:
    lines = texts(make_plan(ASKED, KNOWN, 20000))["pgbouncer.ini"].splitlines()
    settings = lines[lines.index("[pgbouncer]") + 1 :]
    for before, line in zip(["", *settings], settings, strict=False):
        if not line.startswith((";", "listen_port = 6432")):
            assert before.startswith("; "), line


@pytest.mark.parametrize(
    ("facts", "sslmode"),
    [
        (replace(KNOWN, has_tls=True), SslMode.REQUIRE),
        (replace(KNOWN, has_tls=False, host="127.0.0.1"), SslMode.DISABLE),
        (replace(KNOWN, has_tls=False), SslMode.PREFER),
        (FACTS, SslMode.REQUIRE),
        (replace(FACTS, has_tls=None), SslMode.PREFER),
    ],
)
def test_tls_to_the_server_is_as_the_server_has_it(facts: Facts, sslmode: SslMode) -> None:
    assert config_of(make_plan(ASKED, facts, 20000)).settings.server_tls_sslmode is sslmode


@pytest.mark.parametrize(
    ("asked", "facts", "warning"),
    [
        (replace(ASKED, listen="*"), KNOWN, "clients come without TLS"),
        (ASKED, replace(KNOWN, has_tls=False), "crosses the net in clear"),
        (ASKED, replace(KNOWN, verifiers={}), "nobody but the console's users"),
        (replace(ASKED, users=("app", "web")), KNOWN, "verifiers weren't to be had: web"),
        (ASKED, replace(KNOWN, verifiers={"old": "md5" + "a" * 32}), "MD5 secrets"),
        (replace(ASKED, databases=("stok",)), KNOWN, "no database stok"),
        (ASKED, replace(KNOWN, direct=80), "80 connections are open directly"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(asked: Asked, facts: Facts, warning: str) -> None:
    assert any(warning in said for said in make_plan(asked, facts, 20000).warnings)


@pytest.mark.parametrize(
    ("asked", "facts", "reason"),
    [
        (replace(ASKED, admin="app"), KNOWN, "app is a role of PostgreSQL"),
        (replace(ASKED, databases=("it's",)), KNOWN, "a single quote"),
        (replace(ASKED, databases=("pgbouncer",)), KNOWN, 'name "pgbouncer" is reserved'),
        (replace(ASKED, listen="1.2.3.4\nx = y"), KNOWN, "a newline"),
    ],
)
def test_what_cannot_be_made_is_refused(asked: Asked, facts: Facts, reason: str) -> None:
    with pytest.raises(InitError, match=reason):
        make_plan(asked, facts, 20000)


def test_the_compose_file_runs_the_image_on_these_files_as_their_owner() -> None:
    awkward = replace(ASKED, directory="/srv/a $b")
    compose = next(f.text for f in make_plan(awkward, KNOWN, 20000).files if "compose" in f.path)
    service = yaml.safe_load(compose)["services"]["pgmux"]
    assert service["user"] == "70:70"
    assert service["command"] == ["pgmux", "run", "/srv/a $$b/pgbouncer.ini"]
    (mount,) = service["volumes"]
    assert (mount["source"], mount["target"], mount["read_only"]) == ("/srv/a $$b",) * 2 + (True,)
    assert service["network_mode"] == "host"
    assert "ports" not in service


def test_the_unit_has_what_the_one_that_is_shipped_has() -> None:
    made = texts(make_plan(ASKED, KNOWN, 20000))["pgmux.service"]
    shipped = (ROOT / "deploy/systemd/pgmux.service").read_text()

    def directives(text: str) -> set[str]:
        return {line for line in text.splitlines() if "=" in line and not line.startswith("#")}

    assert directives(shipped) - directives(made) == {
        "ExecStart=/opt/pgmux/bin/pgmux run /etc/pgbouncer/pgbouncer.ini",
        "ReadWritePaths=-/run/postgresql -/var/log/postgresql -/run/pgbouncer -/var/log/pgbouncer",
    }
    assert directives(made) - directives(shipped) == {
        "ExecStart=/opt/pgmux/bin/pgmux run /srv/pooler/pgbouncer.ini"
    }


def test_a_unit_for_files_in_a_home_directory_can_read_them() -> None:
    at_home = replace(ASKED, directory="/home/ann/pooler")
    made = [f.text for f in make_plan(at_home, KNOWN, 20000).files if "service" in f.path]
    assert "\nProtectHome=read-only\n" in made[0]


def test_of_many_roles_the_first_are_let_in_and_it_says_so() -> None:
    many = replace(KNOWN, verifiers={f"role{n:02}": VERIFIER for n in range(60)})
    plan = make_plan(ASKED, many, 20000)
    assert len(plan.users) == 50
    assert [w for w in plan.warnings if w.startswith("60 roles may log in: only the first 50")]
    named = make_plan(replace(ASKED, users=("role59",)), many, 20000)
    assert named.users == ("role59",)
    assert not [w for w in named.warnings if "role" in w]


@pytest.mark.parametrize("name", ["a,b", "a b", "a:b", "", "x" * 64])
def test_a_user_of_the_console_has_a_name_that_every_file_can_hold(name: str) -> None:
    with pytest.raises(InitError, match="can't be called"):
        make_plan(replace(ASKED, admin=name), KNOWN, 20000)
