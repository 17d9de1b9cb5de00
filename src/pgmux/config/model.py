"""What a configuration says, as frozen values: no text, no files, no parsing.

Names are PgBouncer's, as attributes too; source: its src/main.c, src/loader.c and src/server.c
(1.25.2, and of 1.26 `pool_idle_timeout`, `login_notify_message` and the `query_wait_timeout` of
databases and users). Times are float seconds. `None` in an entry of [databases] or [users] means
"not set there": the methods of `Config` say what counts then. A test holds `Settings` and
`params.SETTINGS` together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from pgmux.config.hba_rules import HbaRules
from pgmux.config.ldap_options import LdapOptions
from pgmux.errors import Problem

T = TypeVar("T")

AUTODB_NAME = "*"
ADMIN_DATABASE = "pgbouncer"
MAX_PEER_ID = 0xFFFF  # what a cancel key has room for; PgBouncer documents 16383


class PoolMode(StrEnum):
    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


class SessionLink(StrEnum):
    LOGIN = "login"
    QUERY = "query"


class AuthType(StrEnum):
    ANY = "any"
    TRUST = "trust"
    PLAIN = "plain"
    MD5 = "md5"
    CERT = "cert"
    HBA = "hba"
    LDAP = "ldap"
    PAM = "pam"
    SCRAM_SHA_256 = "scram-sha-256"


class SslMode(StrEnum):
    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class LoadBalanceHosts(StrEnum):
    DISABLE = "disable"
    ROUND_ROBIN = "round-robin"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Loop(StrEnum):
    EPOLL = "epoll"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


@dataclass(frozen=True, slots=True)
class Settings:
    """Section [pgbouncer]; the defaults are PgBouncer's. `texts`: see `show.show_value`; `places`:
    file and line of each setting that a file gives.
    """

    admin_users: tuple[str, ...] = ()
    application_name_add_host: bool = False
    auth_dbname: str | None = None
    auth_file: str | None = None
    auth_hba_file: str = ""
    auth_ident_file: str | None = None
    auth_ldap_options: LdapOptions | None = None
    auth_query: str = (
        "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
        " FROM pg_authid WHERE rolname=$1 AND rolcanlogin"
    )
    auth_type: AuthType = AuthType.MD5
    auth_user: str | None = None
    autodb_idle_timeout: float = 3600.0
    cancel_wait_timeout: float = 10.0
    client_idle_timeout: float = 0.0
    client_login_timeout: float = 60.0
    client_tls13_ciphers: str | None = None
    client_tls_ca_file: str = ""
    client_tls_cert_file: str = ""
    client_tls_ciphers: str = "default"
    client_tls_dheparams: str = "auto"
    client_tls_ecdhcurve: str = "auto"
    client_tls_key_file: str = ""
    client_tls_protocols: str = "secure"
    client_tls_sslmode: SslMode = SslMode.DISABLE
    conffile: str | None = None
    default_pool_size: int = 20
    disable_pqexec: bool = False
    dns_max_ttl: float = 15.0
    dns_nxdomain_ttl: float = 15.0
    dns_zone_check_period: float = 0.0
    idle_transaction_timeout: float = 0.0
    ignore_startup_parameters: tuple[str, ...] = ()
    job_name: str = "pgbouncer"
    listen_addr: tuple[str, ...] = ()
    listen_backlog: int = 128
    listen_port: int = 6432
    log_connections: bool = True
    log_disconnections: bool = True
    log_pooler_errors: bool = True
    log_stats: bool = True
    logfile: str = ""
    login_notify_message: str = ""
    max_client_conn: int = 100
    max_db_client_connections: int = 0
    max_db_connections: int = 0
    max_packet_size: int = 2147483647
    max_prepared_statements: int = 200
    max_user_client_connections: int = 0
    max_user_connections: int = 0
    min_pool_size: int = 0
    peer_id: int = 0
    pidfile: str = ""
    pkt_buf: int = 4096
    pool_mode: PoolMode = PoolMode.SESSION
    pool_idle_timeout: float = 0.0
    query_timeout: float = 0.0
    query_wait_notify: int = 5
    query_wait_timeout: float = 120.0
    reserve_pool_size: int = 0
    reserve_pool_timeout: float = 5.0
    resolv_conf: str = ""
    sbuf_loopcnt: int = 5
    scram_iterations: int = 4096
    server_check_delay: float = 30.0
    server_check_query: str = "<empty>"
    server_connect_timeout: float = 15.0
    server_fast_close: bool = False
    server_idle_timeout: float = 600.0
    server_lifetime: float = 3600.0
    server_login_retry: float = 15.0
    server_reset_query: str = "DISCARD ALL"
    server_reset_query_always: bool = False
    server_round_robin: bool = False
    server_tls13_ciphers: str | None = None
    server_tls_ca_file: str = ""
    server_tls_cert_file: str = ""
    server_tls_ciphers: str = "default"
    server_tls_key_file: str = ""
    server_tls_protocols: str = "secure"
    server_tls_sslmode: SslMode = SslMode.PREFER
    so_reuseport: bool = False
    stats_period: int = 60
    stats_users: tuple[str, ...] = ()
    suspend_timeout: float = 10.0
    syslog: bool = False
    syslog_facility: str = "daemon"
    syslog_ident: str = "pgbouncer"
    tcp_defer_accept: bool = True
    tcp_keepalive: bool = True
    tcp_keepcnt: int = 0
    tcp_keepidle: int = 0
    tcp_keepintvl: int = 0
    tcp_socket_buffer: int = 0
    tcp_user_timeout: int = 0
    track_extra_parameters: tuple[str, ...] = ("IntervalStyle",)
    transaction_timeout: float = 0.0
    unix_socket_dir: str = "/tmp"
    unix_socket_group: str = ""
    unix_socket_mode: int = 0o777
    user: str | None = None
    verbose: int = 0
    texts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PgmuxSettings:
    """Section [pgmux] of pgmux.ini."""

    hide_unknown_users: bool = False
    http_allowed_hosts: tuple[str, ...] = ()
    http_listen: str = ""
    http_token_file: str = ""
    log_format: LogFormat = LogFormat.TEXT
    log_min_transaction_duration: float = 0.0
    log_min_wait_duration: float = 0.0
    log_statement_literals: bool = False
    loop: Loop = Loop.EPOLL
    max_applications: int = 500
    session_link: SessionLink = SessionLink.LOGIN
    startup_parameters: tuple[str, ...] = (
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "default_transaction_read_only",
        "search_path",
    )


@dataclass(frozen=True, slots=True)
class Database:
    """One entry of [databases]. `hosts` is `host` split at its commas, empty for the Unix socket.

    In the `*` entry `dbname` is "*" where the file gives none; `Config.find_database` fills it in.
    """

    name: str
    dbname: str
    host: str | None = None
    hosts: tuple[str, ...] = ()
    port: int = 5432
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    auth_user: str | None = None
    auth_query: str | None = None
    auth_dbname: str | None = None
    pool_size: int | None = None
    min_pool_size: int | None = None
    reserve_pool_size: int | None = None
    max_db_connections: int | None = None
    max_db_client_connections: int | None = None
    pool_mode: PoolMode | None = None
    server_lifetime: float | None = None
    query_wait_timeout: float | None = None
    load_balance_hosts: LoadBalanceHosts = LoadBalanceHosts.ROUND_ROBIN
    connect_query: str | None = None
    client_encoding: str | None = None
    datestyle: str | None = None
    timezone: str | None = None
    application_name: str | None = None
    session_link: SessionLink | None = None
    startup_parameters: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class User:
    """One entry of [users]: what differs for this user, whatever the database."""

    name: str
    pool_mode: PoolMode | None = None
    pool_size: int | None = None
    reserve_pool_size: int | None = None
    max_user_connections: int | None = None
    max_user_client_connections: int | None = None
    query_timeout: float | None = None
    query_wait_timeout: float | None = None
    idle_transaction_timeout: float | None = None
    transaction_timeout: float | None = None
    client_idle_timeout: float | None = None
    session_link: SessionLink | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of [peers]: another pooler that cancel requests are passed on to."""

    id: int
    host: str
    port: int = 6432
    pool_size: int | None = None

    @property
    def hosts(self) -> list[str]:
        """Where it may be reached, as a list of [databases] has it."""
        return [host for host in self.host.split(",") if host]


_NO_USER = User("")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the files say. Methods take a `Database` and the name of the pool's user."""

    settings: Settings = field(default_factory=Settings)
    pgmux: PgmuxSettings = field(default_factory=PgmuxSettings)
    databases: Mapping[str, Database] = field(default_factory=dict)
    autodb: Database | None = None
    users: Mapping[str, User] = field(default_factory=dict)
    peers: Mapping[int, Peer] = field(default_factory=dict)
    userlist: Mapping[str, str] = field(default_factory=dict, repr=False)
    hba: HbaRules = field(default_factory=HbaRules)
    warnings: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    # Of `warnings`, what is wrong with the files that say who may log in: RELOAD doesn't take them.
    access_problems: tuple[Problem, ...] = ()

    @property
    def peer_id(self) -> int:
        """This process's number among its peers; 0 where it has none."""
        return self.settings.peer_id if 0 < self.settings.peer_id <= MAX_PEER_ID else 0

    def find_database(self, name: str) -> Database | None:
        """The entry of that name, else the `*` entry under that name, else None."""
        db = self.databases.get(name)
        if db is not None or self.autodb is None or name == ADMIN_DATABASE:
            return db
        dbname = name if self.autodb.dbname == AUTODB_NAME else self.autodb.dbname
        return replace(self.autodb, name=name, dbname=dbname)

    def user(self, name: str | None) -> User:
        """The entry of [users], else one that sets nothing."""
        return self.users.get(name, _NO_USER) if name is not None else _NO_USER

    def pool_mode(self, db: Database, user: str | None = None) -> PoolMode:
        """Mode of the pool; replication connections are session mode whatever this says."""
        return self.user(user).pool_mode or db.pool_mode or self.settings.pool_mode

    def links_at_login(self, db: Database, user: str | None = None) -> bool:
        """Whether the pool's clients get their server at login: session mode only."""
        link = self.user(user).session_link or db.session_link or self.pgmux.session_link
        return self.pool_mode(db, user) is PoolMode.SESSION and link is SessionLink.LOGIN

    def pool_size(self, db: Database, user: str | None = None) -> int:
        """Most servers of the pool; 0 is no limit."""
        return _first(self.settings.default_pool_size, self.user(user).pool_size, db.pool_size)

    def min_pool_size(self, db: Database) -> int:
        """Servers to keep; PgBouncer has no such setting per user."""
        return _first(self.settings.min_pool_size, db.min_pool_size)

    def reserve_pool_size(self, db: Database, user: str | None = None) -> int:
        """Servers beyond pool_size for clients that wait too long."""
        own = self.user(user).reserve_pool_size
        return _first(self.settings.reserve_pool_size, own, db.reserve_pool_size)

    def max_db_connections(self, db: Database) -> int:
        """Most servers of the database, all users together; 0 is no limit."""
        return db.max_db_connections or self.settings.max_db_connections

    def max_db_client_connections(self, db: Database) -> int:
        """Most clients of the database; 0 is no limit."""
        return db.max_db_client_connections or self.settings.max_db_client_connections

    def max_user_connections(self, user: str | None) -> int:
        """Most servers of the user, all databases together; 0 is no limit."""
        return self.user(user).max_user_connections or self.settings.max_user_connections

    def max_user_client_connections(self, user: str | None) -> int:
        """Most clients of the user; 0 is no limit."""
        own = self.user(user).max_user_client_connections
        return own or self.settings.max_user_client_connections

    def server_lifetime(self, db: Database) -> float:
        """Seconds after which a server is closed when idle; 0 is: use it once."""
        return db.server_lifetime or self.settings.server_lifetime

    def query_wait_timeout(self, db: Database, user: str | None = None) -> float:
        """Seconds that a client may wait for a server; 0 is for ever."""
        own = self.user(user).query_wait_timeout
        return _first(self.settings.query_wait_timeout, own, db.query_wait_timeout)

    def query_timeout(self, user: str | None) -> float:
        """Seconds that a query may run; 0 is for ever."""
        return self.user(user).query_timeout or self.settings.query_timeout

    def idle_transaction_timeout(self, user: str | None) -> float:
        """Seconds that a client may be idle in a transaction; 0 is for ever."""
        return self.user(user).idle_transaction_timeout or self.settings.idle_transaction_timeout

    def transaction_timeout(self, user: str | None) -> float:
        """Seconds that a transaction may take; 0 is for ever."""
        return self.user(user).transaction_timeout or self.settings.transaction_timeout

    def client_idle_timeout(self, user: str | None) -> float:
        """Seconds that a client may be idle outside a transaction; 0 is for ever."""
        return self.user(user).client_idle_timeout or self.settings.client_idle_timeout

    def auth_user(self, db: Database) -> str | None:
        """Who runs auth_query for this database's unknown users, if anybody."""
        return _first(self.settings.auth_user, db.auth_user)

    def auth_query(self, db: Database) -> str:
        """The query that fetches a secret."""
        return _first(self.settings.auth_query, db.auth_query)

    def auth_dbname(self, db: Database) -> str | None:
        """The entry of [databases] to run auth_query in; None is the database itself."""
        return _first(self.settings.auth_dbname, db.auth_dbname)

    def startup_parameters(self, db: Database) -> tuple[str, ...]:
        """Startup parameters that are honoured though the server doesn't report them."""
        return _first(self.pgmux.startup_parameters, db.startup_parameters)


def _first(default: T, *overrides: T | None) -> T:
    """The first override that is set: 0 and "" are set, None isn't."""
    for value in overrides:
        if value is not None:
            return value
    return default
