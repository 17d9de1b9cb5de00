"""EXPO: who could come in, or read what he shouldn't."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.config.hba import ConnectionType, HbaMethod, HbaRule
from pgmux.config.model import AuthType, Config, SslMode
from pgmux.ops.check.deployed import Route, entries, pooler_of, pooler_program, route, targets_of
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Role
from pgmux.ops.check.facts.files import FileKind
from pgmux.ops.check.openness import INSISTS, Reach, is_closed_by_hba, openness
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

_BY_SECRET = (AuthType.TRUST, AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256)
_CLOSE = "listen on 127.0.0.1 or a private address, or publish 127.0.0.1:PORT:PORT"


@rule("EXPO001", Severity.ERROR, "open to every address, without TLS", needs=("config",))
def open_port(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    found = openness(evidence)
    mode = config.settings.client_tls_sslmode
    if found.reach is not Reach.ANYWHERE or mode in INSISTS or is_closed_by_hba(config):
        return
    yield Found(
        f"{found.said}; client_tls_sslmode = {mode} lets clients in without TLS; "
        f"auth_type = {config.settings.auth_type} limits no address",
        f"{_CLOSE}; or client_tls_sslmode = require, or auth_type = hba with hostssl lines and the "
        "addresses that may come",
        found.where,
        None if found.is_sure else Severity.WARNING,
    )


@rule("EXPO002", Severity.ERROR, "logins that prove little", needs=("config",))
def weak_login(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    yield from _weak_auth_type(evidence, config)
    for line in config.hba:
        yield from _weak_hba_line(line)
    for program in evidence.environment.programs if evidence.environment is not None else ():
        is_server = program.service is not None and program.service.role is Role.POSTGRES
        if is_server and program.value("POSTGRES_HOST_AUTH_METHOD") == "trust":
            yield Found(
                f"service {program.name}: POSTGRES_HOST_AUTH_METHOD = trust: PostgreSQL asks "
                "nobody for a password",
                "leave it away, and set POSTGRES_PASSWORD",
                program.place("POSTGRES_HOST_AUTH_METHOD"),
            )


def _weak_auth_type(evidence: Evidence, config: Config) -> Iterator[Found]:
    settings = config.settings
    reach, place = openness(evidence).reach, _place(config, "auth_type")
    has_tls = settings.client_tls_sslmode in INSISTS
    if settings.auth_type in (AuthType.TRUST, AuthType.ANY):
        whom = "everybody who reaches the port" if reach else "every account of this machine"
        yield Found(
            f"auth_type = {settings.auth_type} lets in {whom}, under "
            + ("any name" if settings.auth_type is AuthType.ANY else "any name of auth_file"),
            "auth_type = scram-sha-256, or hba with peer for the Unix socket",
            place,
            Severity.ERROR if reach else Severity.WARNING,
        )
    elif settings.auth_type is AuthType.PLAIN and reach and not has_tls:
        yield Found(
            "auth_type = plain has passwords sent as they are, and clients may come without TLS",
            "auth_type = scram-sha-256, or client_tls_sslmode = require",
            place,
        )
    elif settings.auth_type is AuthType.MD5 and reach is Reach.ANYWHERE and not has_tls:
        weak = [name for name, secret in config.userlist.items() if not _is_scram(secret)]
        if weak:
            yield Found(
                f"auth_type = md5: what {len(weak)} of {len(config.userlist)} users send can be "
                "overheard, and guessed from; an MD5 hash is as good as the password",
                "SCRAM secrets in auth_file (pgmux userlist) and auth_type = scram-sha-256",
                place,
                Severity.WARNING,
            )


def _weak_hba_line(line: HbaRule) -> Iterator[Found]:
    if line.type is ConnectionType.LOCAL or (line.network is not None and _is_loopback(line)):
        return
    if line.method is HbaMethod.TRUST:
        yield Found(
            "method trust for addresses of other machines: nobody is asked for a password",
            "scram-sha-256, or cert with hostssl",
            line.place,
        )
    elif line.method is HbaMethod.PASSWORD and line.type is not ConnectionType.HOSTSSL:
        yield Found(
            "method password without TLS: passwords are sent as they are",
            "hostssl instead of host, or method scram-sha-256",
            line.place,
            Severity.WARNING,
        )


def _is_loopback(line: HbaRule) -> bool:
    assert line.network is not None
    kind = ipaddress.IPv4Address if line.network.version == 4 else ipaddress.IPv6Address
    bits = (1 << kind(0).max_prefixlen) - 1
    is_wide = line.network.mask.bit_count() < 8 and line.network.mask != bits
    return not is_wide and kind(line.network.address & line.network.mask).is_loopback


def _is_scram(secret: str) -> bool:
    return parse_secret(secret).kind is SecretKind.SCRAM


@rule("EXPO003", Severity.ERROR, "secrets that others can read", needs=("files",))
def readable_secret(evidence: Evidence) -> Iterator[Found]:
    for file in evidence.files or ():
        if not file.secrets:
            continue
        if file.is_committed:
            yield Found(
                f"git tracks it: {file.secrets}",
                f"new passwords; git rm --cached {file.path}, and its name into .gitignore",
                file.path,
                None if file.has_usable_secrets else Severity.WARNING,
            )
        if file.is_open:
            is_grave = file.has_usable_secrets and file.kind in (FileKind.USERLIST, FileKind.KEY)
            yield Found(
                f"mode {file.mode:04o}, of {file.owner}: every account of this machine can read "
                f"{file.secrets}",
                f"chmod 0600 {file.path}, of the account that the pooler runs as",
                file.path,
                None if is_grave else Severity.WARNING,
            )


@rule("EXPO004", Severity.ERROR, "a user with an empty password", needs=("config",))
def empty_password(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    methods = _methods(config)
    if not methods:
        return
    lets_in = "trust" in methods or ("scram-sha-256" in methods and not _is_pgmux(evidence))
    what = "lets in whoever gives none" if lets_in else "lets nobody in by it"
    for name, secret in config.userlist.items():
        if not secret:
            yield Found(
                f'"{name}" has an empty password in auth_file, and {" or ".join(methods)} {what}',
                f"give {name} one in PostgreSQL, then: pgmux userlist",
                config.settings.auth_file or "",
                None if lets_in else Severity.WARNING,
            )


def _methods(config: Config) -> list[str]:
    """By which auth_file's secrets may be asked for; cert, peer and the like need the names only.
    PgBouncer refuses empty passwords by md5 and plain, and takes one that SCRAM proves.
    """
    asked = {str(config.settings.auth_type), *(str(line.method) for line in config.hba)}
    return sorted(asked & {"trust", "plain", "password", "md5", "scram-sha-256"})


def _is_pgmux(evidence: Evidence) -> bool:
    return pooler_of(evidence).is_pgmux is True


@rule("EXPO008", Severity.WARNING, "applications with the console's rights", needs=("config",))
def console_for_applications(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    used = _application_users(evidence, config)
    for setting, right in (
        ("admin_users", "may PAUSE, KILL and SHUTDOWN"),
        ("stats_users", "sees every client"),
    ):
        for name in getattr(config.settings, setting):
            if name not in used:
                continue
            if setting == "stats_users" and name in config.settings.admin_users:
                continue
            yield Found(
                f"{name} is of {setting}, so whoever has its password {right}; {used[name]}",
                f"a name of its own in {setting} and auth_file, which is no role of PostgreSQL",
                _place(config, setting),
                None if setting == "admin_users" else Severity.NOTE,
            )


def _application_users(evidence: Evidence, config: Config) -> dict[str, str]:
    """Who applications log in as, and what says so."""
    found = {
        target.user: f"{target.variable} logs in as it ({target.where})"
        for program, target in targets_of(evidence)
        if target.user and route(evidence, program, target) is Route.POOLER
    }
    pooler = pooler_program(evidence)
    asking = {config.settings.auth_user, *(entry.auth_user for entry in entries(config))} - {None}
    for target in pooler.targets if pooler is not None else ():
        if target.user in asking and not _is_made(evidence):
            continue
        found.setdefault(target.user, f"the pooler's databases are this user's ({target.where})")
    consoles = {*config.settings.admin_users, *config.settings.stats_users}
    if config.userlist and not asking and consoles >= config.userlist.keys():
        for name in config.userlist:
            found.setdefault(name, "auth_file has no other user that applications could be")
    found.pop("", None)
    return found


@rule("EXPO009", Severity.WARNING, "an admin who can't log in", needs=("config",))
def locked_out_admin(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    settings = config.settings
    is_asked = settings.auth_user is not None and settings.auth_dbname is not None
    if settings.auth_type not in _BY_SECRET or is_asked or config.access_problems:
        return
    if settings.auth_file is None:
        return
    for setting in ("admin_users", "stats_users"):
        if _is_made(evidence) and setting not in settings.places:
            continue  # the image's default, which nobody asked for
        for name in getattr(settings, setting):
            if name not in config.userlist:
                yield Found(
                    f"{name} of {setting} isn't in {settings.auth_file}: the console refuses it",
                    f"add {name} to auth_file (pgmux userlist), or name in {setting} who is there",
                    _place(config, setting),
                )


@rule("EXPO012", Severity.WARNING, "servers over the internet without TLS", needs=("config",))
def server_without_tls(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    mode = config.settings.server_tls_sslmode
    if mode in INSISTS:
        return
    for entry in entries(config):
        public = [host for host in entry.hosts if _is_public(host)]
        if public:
            weak = "never asks for TLS" if mode is SslMode.DISABLE else "goes on without TLS"
            yield Found(
                f"[databases] {entry.name}: {', '.join(public)}; "
                f"server_tls_sslmode = {mode} {weak}",
                "server_tls_sslmode = verify-full with server_tls_ca_file",
                _place(config, "server_tls_sslmode"),
            )


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _is_made(evidence: Evidence) -> bool:
    """Whether a container makes the configuration: its auth_user is who applications are."""
    return evidence.environment is not None and evidence.config is evidence.environment.made


def _config(evidence: Evidence) -> Config:
    assert evidence.config is not None
    return evidence.config


def _place(config: Config, setting: str) -> str:
    file, line = config.settings.places.get(setting, ("", 0))
    return f"{file}:{line}" if line else config.settings.conffile or ""


RULES = (
    open_port,
    weak_login,
    readable_secret,
    empty_password,
    console_for_applications,
    locked_out_admin,
    server_without_tls,
)
