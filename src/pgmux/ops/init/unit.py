"""The systemd unit: that of deploy/systemd/pgmux.service, for these files and this account.

Errors: none. A test holds both together.
"""

from __future__ import annotations

from pgmux.ops.init.values import Values

_UNIT = """\
# pgmux for the files in {directory}. cp it to /etc/systemd/system, then
# systemctl daemon-reload && systemctl enable --now pgmux

[Unit]
Description=pgmux, a connection pooler for PostgreSQL
Documentation=https://www.pgbouncer.org/config.html
After=network-online.target
Wants=network-online.target

[Service]
# notify-reload from systemd 253 on; then leave ExecReload= away.
Type=notify
ExecReload=/bin/kill -HUP $MAINPID
ExecStart={program} run {ini}
# Who owns userlist.txt, which nobody else can read.
User={account}
Restart=on-failure
RestartSec=1

# A stop lets transactions end and closes idle connections. SIGTERM would wait until every client
# has left, which a connection pool in an application never does.
KillMode=mixed
KillSignal=SIGINT
TimeoutStopSec=60

# An event loop that is stuck is ended, with a traceback in the journal, and started again.
WatchdogSec=30

# max_client_conn, and a connection to PostgreSQL for each place of a pool.
LimitNOFILE=65536

# It opens its sockets, and writes nothing.
ProtectSystem=strict
{home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
UMask=0027

[Install]
WantedBy=multi-user.target
"""
_HOMES = ("/home/", "/root/", "/run/user/")


def service_unit(values: Values) -> str:
    """The text of pgmux.service."""
    asked = values.asked
    paths = (asked.directory + "/", asked.program)
    is_at_home = any(path.startswith(_HOMES) for path in paths)
    seen = "# The files are in a home directory.\nProtectHome=read-only"
    return _UNIT.format(
        directory=asked.directory,
        program=_word(asked.program),
        ini=_word(f"{asked.directory}/pgbouncer.ini"),
        account=asked.account,
        home=seen if is_at_home else "ProtectHome=yes",
    )


def _word(path: str) -> str:
    """One word of ExecStart."""
    escaped = path.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{escaped}"' if escaped != path or " " in path else path
