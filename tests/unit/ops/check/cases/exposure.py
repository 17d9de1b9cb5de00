"""EXPO: who could come in, or read what he shouldn't."""

from __future__ import annotations

from dataclasses import replace

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts import EnvironmentFacts, FileFacts, MachineFacts
from pgmux.ops.check.facts.environment import Mount, Program, Published, Role, Service, Variable
from pgmux.ops.check.facts.files import FileKind
from pgmux.ops.check.facts.machine import Firewall, Listener, OpenFiles
from tests.unit.ops.check.cases.case import Case, config_of

FILE = "pgbouncer.ini"
INI = "[databases]\n* =\n[pgbouncer]\nauth_file = userlist.txt\n"
SCRAM = "SCRAM-SHA-256$4096:c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "="
LIMITS = OpenFiles(1024, 4096, "this shell", is_pooler=False)
OPEN = MachineFacts(LIMITS, listeners=(Listener("", 6432),), firewall=Firewall("ufw", False, False))
CLOSED = replace(OPEN, firewall=Firewall("ufw", True, True))


def evidence(settings: str, userlist: str = '"app" "secret"\n', **parts: object) -> Evidence:
    return Evidence(FILE, config=config_of(INI + settings, userlist), **parts)  # type: ignore[arg-type]


def container(role: Role, address: str, port: int, **variables: str) -> EnvironmentFacts:
    """A compose file with one service, which publishes a port."""
    opened = (Published(address, port, port, "compose.yaml:9"),)
    service = Service("it", "compose.yaml:3", role, published=opened, mounts=(Mount("/x", "/y"),))
    said = {name: Variable(name, value, "compose.yaml:5") for name, value in variables.items()}
    return EnvironmentFacts((Program("it", said, service=service),))


def file(mode: int, *, committed: bool = False) -> FileFacts:
    is_open = bool(mode & 4)
    return FileFacts(
        "userlist.txt", FileKind.USERLIST, mode, "root", "2 passwords", True, is_open, committed
    )


CASES = {
    "EXPO001": Case(
        bad=evidence("listen_addr = *\n", environment=container(Role.POOLER, "0.0.0.0", 6432)),
        good=evidence("listen_addr = *\n", environment=container(Role.POOLER, "127.0.0.1", 6432)),
        says=("Docker publishes port 6432", "compose.yaml:9", "client_tls_sslmode = disable"),
    ),
    "EXPO002": Case(
        bad=evidence("auth_type = trust\nlisten_addr = 10.0.0.5\n"),
        good=evidence("auth_type = scram-sha-256\nlisten_addr = 10.0.0.5\n"),
        says=("auth_type = trust", "pgbouncer.ini:5"),
    ),
    "EXPO003": Case(
        bad=Evidence(FILE, files=(file(0o644, committed=True),)),
        good=Evidence(FILE, files=(file(0o600),)),
        count=2,
        says=("git tracks it", "mode 0644", "chmod 0600 userlist.txt"),
    ),
    "EXPO004": Case(
        bad=Evidence("pgbouncer.ini", config=config_of(INI, '"postgres" ""\n"app" "x"\n')),
        good=evidence("auth_type = cert\nclient_tls_sslmode = verify-full\n", '"postgres" ""\n'),
        says=("postgres", "userlist.txt", "md5 lets nobody in"),
    ),
    "EXPO008": Case(
        bad=evidence("admin_users = app\n"),
        good=evidence("admin_users = ops\n", '"app" "x"\n"ops" "y"\n'),
        says=("app is of admin_users", "pgbouncer.ini:5"),
    ),
    "EXPO009": Case(
        bad=evidence("admin_users = postgres\n"),
        good=evidence("admin_users = ops\n", '"app" "x"\n"ops" "y"\n'),
        says=("postgres of admin_users", "userlist.txt"),
    ),
    "EXPO010": Case(
        bad=Evidence(FILE, environment=container(Role.POSTGRES, "", 5432)),
        good=Evidence(FILE, environment=container(Role.POSTGRES, "127.0.0.1", 5432)),
        says=("PostgreSQL itself", "ufw deny 5432", "compose.yaml:9"),
    ),
    "EXPO011": Case(
        bad=evidence("listen_addr = *\n", machine=OPEN),
        good=evidence("listen_addr = *\n", machine=CLOSED),
        says=("ufw isn't active", "port 6432"),
    ),
    "EXPO012": Case(
        bad=Evidence(FILE, config=config_of("[databases]\na = host=8.8.8.8\n[pgbouncer]\n")),
        good=Evidence(FILE, config=config_of("[databases]\na = host=10.1.2.3\n[pgbouncer]\n")),
        says=("8.8.8.8", "server_tls_sslmode = prefer"),
    ),
}
