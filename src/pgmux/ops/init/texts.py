"""The text of each file. Every line that isn't a default says why it is there.

pgbouncer.ini has only what PgBouncer 1.18 knows as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgmux.config.userlist import userlist_line
from pgmux.ops.ini_text import checked_value, entry_name, entry_value
from pgmux.ops.init.values import Values

Setting = tuple[str, object, str]  # and why, unless it is a default

GITIGNORE = """\
# Secrets: they stay on this machine.
userlist.txt
.userlist.txt.*
admin.pgpass
.admin.pgpass.*
*.key
"""
USERLIST_EXAMPLE = """\
; auth_file: "user" "secret", one a line; `pgmux user add NAME` writes it.
; A secret is what PostgreSQL stores for the role (SELECT rolpassword FROM pg_authid): with it the
; pooler lets the user in and logs in to PostgreSQL. Or it is the password. 0600, never in git.
"app" "SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY"
"""


def pgbouncer_ini(values: Values) -> str:
    """The pooler's configuration, of pgmux and of PgBouncer."""
    facts, asked = values.facts, values.asked
    place = {**({"host": facts.host} if facts.host else {}), "port": facts.port}
    lines = [
        f"; Made by pgmux init for PostgreSQL at {values.place}. After a change, RELOAD: pgmux",
        f"; console --config {asked.directory}/pgbouncer.ini -U {asked.admin} RELOAD",
        "[databases]",
        *(f"{entry_name(n)} = {entry_value({**place, 'dbname': n})}" for n in values.databases),
        "",
        "[pgbouncer]",
    ]
    for key, value, why in (*_doors(values), *_pools(values), *_servers(values)):
        lines += [f"; {why}"] if why else []
        lines.append(f"{key} = {checked_value(str(value))}".rstrip())
    return "\n".join([*lines, ""])


def _doors(values: Values) -> list[Setting]:
    """Who gets in, and where."""
    asked = values.asked
    here = "This machine alone."
    open_ = "As asked. Who reaches it may try passwords: set client_tls_sslmode, have a firewall."
    return [
        ("listen_addr", asked.listen, open_ if values.is_open else here),
        ("listen_port", asked.port, ""),
        ("unix_socket_dir", "", "No Unix socket: over it the pooler's account is admin unasked."),
        ("auth_type", "scram-sha-256", "Nobody without a password, and none crosses the net."),
        ("auth_file", f"{asked.directory}/userlist.txt", "Who gets in; mode 0600."),
        ("admin_users", asked.admin, "May PAUSE, RELOAD, KILL; its password is in admin.pgpass."),
        ("stats_users", asked.stats, "May SHOW, for monitoring; likewise."),
    ]


def _pools(values: Values) -> list[Setting]:
    """How many connections."""
    facts, sizes = values.facts, values.sizes
    sum_ = f"max_connections {facts.max_connections} - reserved {facts.reserved}"
    assumed = "" if facts.is_known else " (assumed)"
    by = f"{len(values.databases)} databases" if len(values.databases) > 1 else "one database"
    per_database = f"9/10 of {sum_} - connected directly {facts.direct}{assumed}, for {by}."
    users = f"{values.users} users" if values.users > 1 else "one user"
    clients = f"A client costs little, and a file descriptor; there are {values.files} here."
    return [
        ("pool_mode", "transaction", "A server is a client's for a transaction, then the next's."),
        (
            "default_pool_size",
            sizes.default_pool_size,
            f"Of a database's, for {users}; 20 at most.",
        ),
        ("max_db_connections", sizes.max_db_connections, per_database),
        ("max_client_conn", sizes.max_client_conn, clients),
    ]


def _servers(values: Values) -> list[Setting]:
    """What PostgreSQL is told."""
    ca_file = values.asked.ca_file
    java = "Java's driver sends it, and nothing changes without it."
    signer: list[Setting] = [("server_tls_ca_file", ca_file, "Who signs PostgreSQL's certificate.")]
    return [
        ("server_tls_sslmode", values.sslmode, values.why_sslmode),
        *(signer if ca_file else []),
        ("ignore_startup_parameters", "extra_float_digits", java),
    ]


def pgmux_ini(values: Values) -> str:
    """What only pgmux knows; PgBouncer doesn't read this file."""
    if values.asked.http_listen:
        why = "; Dashboard, /metrics, /healthz; from this machine alone."
        return f"[pgmux]\n{why}\nhttp_listen = {values.asked.http_listen}\n"
    return "; Dashboard and metrics (extra `web`): http_listen = 127.0.0.1:9127\n[pgmux]\n"


def userlist(secrets: Mapping[str, str]) -> str:
    """auth_file."""
    return "".join(f"{userlist_line(user, secret)}\n" for user, secret in secrets.items())


def pgpass(values: Values, passwords: Mapping[str, str]) -> str:
    """libpq's password file, for the console."""
    place = f"{_reached(values).replace(':', chr(92) + ':')}:{values.asked.port}"
    return "".join(f"{place}:pgbouncer:{user}:{password}\n" for user, password in passwords.items())


def compose_yaml(values: Values) -> str:
    """The image of deploy/docker, on the host's network: one configuration for it and systemd."""
    where = values.asked.directory
    uid, gid = values.asked.owner
    host, port = _quoted(_reached(values)), values.asked.port
    return f"""\
# The image: docker build -f deploy/docker/Dockerfile -t pgmux . (in pgmux's repository).
services:
  pgmux:
    image: pgmux
    restart: always
    # The pooler listens where pgbouncer.ini says; a port that Docker publishes is open to all,
    # whatever the firewall says.
    network_mode: host
    # Who owns userlist.txt, which nobody else can read.
    user: "{uid}:{gid}"
    command: ["pgmux", "run", {_quoted(f"{where}/pgbouncer.ini")}]
    volumes:
      # At the same place as outside: pgbouncer.ini names userlist.txt by its whole path.
      - type: bind
        source: {_quoted(where)}
        target: {_quoted(where)}
        read_only: true
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    # max_client_conn, and a descriptor for each connection to PostgreSQL.
    ulimits:
      nofile: 65536
    healthcheck:
      test: ["CMD", "pg_isready", "-q", "-h", {host}, "-p", "{port}"]
      interval: 10s
    # SIGINT lets transactions end; SIGTERM would wait for clients that never leave.
    stop_signal: SIGINT
    stop_grace_period: 60s
"""


def _reached(values: Values) -> str:
    """Where this machine reaches the pooler."""
    first = values.asked.listen.split(",")[0].strip()
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(first, first)


def _quoted(text: str) -> str:
    """As YAML reads it in double quotes; `$` is Compose's own."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'
