"""Every setting and key, one row each, for parser, defaults, SHOW CONFIG, SET and documentation.

Source: PgBouncer's src/main.c and src/loader.c (1.25.2; `model` says what is newer). The order of
`SETTINGS` is that of SHOW CONFIG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from pgmux.config.model import (
    AuthType,
    LoadBalanceHosts,
    LogFormat,
    Loop,
    PoolMode,
    SessionLink,
    SslMode,
)


class Kind(Enum):
    """How a text is read; the value is what the documentation calls it."""

    BOOL = "0 or 1"
    INT = "integer"
    UINT = "unsigned integer"
    SECONDS = "seconds"
    TEXT = "text"
    NAMES = "list, by commas or blanks"
    WORDS = "list, by commas"
    CHOICE = "one of"
    DATABASE = "database"
    LDAP = "LDAP options"
    LISTEN = "address:port"
    HOST_NAMES = "host names, by commas"
    # in the entries of [databases], [users] and [peers], which C's atoi reads
    COUNT = "number"
    WHOLE_SECONDS = "whole seconds"
    PORT = "port"


@dataclass(frozen=True, slots=True)
class Param:
    """One setting or key.

    `default` is the text that SHOW CONFIG shows, None for NULL and for "not set"; COUNT and
    WHOLE_SECONDS below `unset_below` are "not set" too.
    """

    name: str
    kind: Kind
    default: str | None
    help: str
    reloadable: bool = True
    unit: str = ""
    choices: type[StrEnum] | None = None
    aliases: tuple[str, ...] = ()
    unset_below: int = 0


def _table(*rows: Param) -> Mapping[str, Param]:
    return {row.name: row for row in rows}


BOOL, INT, UINT, SECONDS, TEXT = Kind.BOOL, Kind.INT, Kind.UINT, Kind.SECONDS, Kind.TEXT
NAMES, WORDS, CHOICE, COUNT = Kind.NAMES, Kind.WORDS, Kind.CHOICE, Kind.COUNT
WHOLE_SECONDS, PORT = Kind.WHOLE_SECONDS, Kind.PORT

_AUTH_QUERY = (
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_authid WHERE rolname=$1 AND rolcanlogin"
)
SYSLOG_FACILITIES = (
    *("auth", "authpriv", "daemon", "user"),
    *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)

# fmt: off
SETTINGS = _table(
    Param("admin_users", NAMES, "", "Users who may run every console command."),
    Param("application_name_add_host", BOOL, "0",
          "Add the client's address and port to its application_name at login."),
    Param("auth_dbname", Kind.DATABASE, None,
          "Entry of [databases] in which auth_query runs; unset: the client's own database."),
    Param("auth_file", TEXT, None, "File of users and their secrets (userlist.txt)."),
    Param("auth_hba_file", TEXT, "", "HBA rules, for auth_type = hba."),
    Param("auth_ident_file", TEXT, None,
          "User name maps that the HBA rules refer to."),
    Param("auth_ldap_options", Kind.LDAP, None,
          "LDAP server and how to ask it, for auth_type = ldap, as options of an HBA line."),
    Param("auth_query", TEXT, _AUTH_QUERY,
          "Query that returns a user's name and secret, $1 being the name."),
    Param("auth_type", CHOICE, "md5", "How clients log in.", choices=AuthType),
    Param("auth_user", TEXT, None,
          "User that runs auth_query for users who are not in auth_file; unset: nobody is"
          " looked up."),
    Param("autodb_idle_timeout", SECONDS, "3600",
          "Forget a database that came from the * entry when it was unused this long; 0 is"
          " never."),
    Param("cancel_wait_timeout", SECONDS, "10",
          "Longest wait of a cancel request for a server connection; 0 is no limit."),
    Param("client_idle_timeout", SECONDS, "0",
          "Close clients that are idle this long outside a transaction; 0 is never."),
    Param("client_login_timeout", SECONDS, "60",
          "Close clients that have not logged in by then; 0 is never."),
    Param("client_tls13_ciphers", TEXT, None,
          "TLS 1.3 cipher suites for clients; from Python 3.15 on."),
    Param("client_tls_ca_file", TEXT, "",
          "Certificates by which clients' certificates are verified; empty: the system's."),
    Param("client_tls_cert_file", TEXT, "",
          "The pooler's own certificate, shown to clients, with those between it and the CA's."),
    Param("client_tls_ciphers", TEXT, "default",
          "Ciphers up to TLS 1.2 for clients: an OpenSSL list; default, secure, fast or normal,"
          " which all are OpenSSL's default; or all."),
    Param("client_tls_dheparams", TEXT, "auto",
          "DHE key exchange up to TLS 1.2: none or auto; there is none with either."),
    Param("client_tls_ecdhcurve", TEXT, "auto",
          "Curve of the key exchange: auto or none, which leave it to OpenSSL, or OpenSSL's name"
          " of one."),
    Param("client_tls_key_file", TEXT, "", "Private key of client_tls_cert_file, unencrypted."),
    Param("client_tls_protocols", TEXT, "secure",
          "TLS versions for clients: a list of tlsv1.0 to tlsv1.3, or secure (1.2 and 1.3), all."),
    Param("client_tls_sslmode", CHOICE, "disable",
          "Whether clients use TLS, and whether their certificates are verified: see"
          " [TLS](tls.md).", choices=SslMode),
    Param("conffile", TEXT, None,
          "The configuration file; a change counts from the next RELOAD on."),
    Param("default_pool_size", INT, "20",
          "Most servers of a pool, that is of one database and user; 0 is no limit."),
    Param("disable_pqexec", BOOL, "0", "Refuse the simple query protocol.", reloadable=False),
    Param("dns_max_ttl", SECONDS, "15",
          "Longest time for which an address is remembered; the records' ttl may be shorter."
          " Below 1 it is 1."),
    Param("dns_nxdomain_ttl", SECONDS, "15",
          "How long it is remembered that a name has no address, or that nobody answered."
          " Below 1 it is 1."),
    Param("dns_zone_check_period", SECONDS, "0",
          "How often a zone's serial is asked for, to see changes; 0 is never."),
    Param("idle_transaction_timeout", SECONDS, "0",
          "Close clients that are idle in a transaction this long; 0 is never."),
    Param("ignore_startup_parameters", NAMES, "",
          "Startup parameters that are dropped instead of refused; options: unknown ones"
          " inside it."),
    Param("job_name", TEXT, "pgbouncer",
          "Name of the service on Windows; kept for its place in SHOW CONFIG.", reloadable=False),
    Param("listen_addr", WORDS, "",
          "Addresses to listen on; * is all, empty is Unix socket only.", reloadable=False),
    Param("listen_backlog", INT, "128",
          "Connections that may wait to be accepted.", reloadable=False),
    Param("listen_port", INT, "6432",
          "TCP port, and part of the Unix socket's name.", reloadable=False),
    Param("log_connections", BOOL, "1", "Log logins."),
    Param("log_disconnections", BOOL, "1", "Log disconnections with their reason."),
    Param("log_pooler_errors", BOOL, "1", "Log the errors that the pooler sends to clients."),
    Param("log_stats", BOOL, "1", "Log the averages every stats_period."),
    Param("logfile", TEXT, "", "Log file; opened anew at RELOAD."),
    Param("login_notify_message", TEXT, "", "NOTICE that every client gets after login."),
    Param("max_client_conn", INT, "100", "Most clients, the console's not counted."),
    Param("max_db_client_connections", INT, "0",
          "Most clients of a database; 0 is no limit."),
    Param("max_db_connections", INT, "0",
          "Most servers of a database, all users together; 0 is no limit."),
    Param("max_packet_size", UINT, "2147483647", "Largest message that is accepted.", unit="bytes"),
    Param("max_prepared_statements", INT, "200",
          "Prepared statements kept on each server in transaction and statement mode; 0"
          " leaves them alone."),
    Param("max_user_client_connections", INT, "0",
          "Most clients of a user; 0 is no limit."),
    Param("max_user_connections", INT, "0",
          "Most servers of a user, all databases together; 0 is no limit."),
    Param("min_pool_size", INT, "0",
          "Servers kept open in a pool that has a client or a forced user."),
    Param("peer_id", INT, "0",
          "This process's number among its peers, up to 16383; 0 is no peering."),
    Param("pidfile", TEXT, "",
          "File for the process id; needed to run as a daemon.", reloadable=False),
    Param("pkt_buf", INT, "4096",
          "Size of PgBouncer's buffers; nothing here.", reloadable=False, unit="bytes"),
    Param("pool_mode", CHOICE, "session", "When a server goes back to its pool.", choices=PoolMode),
    Param("pool_idle_timeout", SECONDS, "0",
          "Forget a pool that had neither client nor server this long; 0 is never."),
    Param("query_timeout", SECONDS, "0", "Longest time of a query; 0 is no limit."),
    Param("query_wait_notify", INT, "5",
          "Tell a client by a NOTICE that it waits for a server, after this time; 0 is never.",
          unit="seconds"),
    Param("query_wait_timeout", SECONDS, "120", "Longest wait for a server; 0 is no limit."),
    Param("reserve_pool_size", INT, "0",
          "Servers beyond the pool's size, for clients that waited reserve_pool_timeout; 0 is"
          " none."),
    Param("reserve_pool_timeout", SECONDS, "5",
          "Wait of a client after which the reserve is used; 0 is never."),
    Param("resolv_conf", TEXT, "",
          "File instead of /etc/resolv.conf; it is read at each look-up.", reloadable=False),
    Param("sbuf_loopcnt", INT, "5",
          "Reads of PgBouncer from one connection at a time; nothing here."),
    Param("scram_iterations", INT, "4096",
          "Iterations of the SCRAM secrets that are made from plaintext passwords."),
    Param("server_check_delay", SECONDS, "30",
          "A server idle longer than this is checked before use; 0 is always."),
    Param("server_check_query", TEXT, "<empty>",
          "The check: <empty> is an empty query, nothing at all is no check."),
    Param("server_connect_timeout", SECONDS, "15",
          "Longest time for connecting and logging in to a server."),
    Param("server_fast_close", BOOL, "0",
          "In session mode, close a server that is to be closed at the end of its"
          " transaction already."),
    Param("server_idle_timeout", SECONDS, "600",
          "Close servers that are idle this long; 0 is never."),
    Param("server_lifetime", SECONDS, "3600",
          "Close servers of this age when they are idle; 0 is after one use."),
    Param("server_login_retry", SECONDS, "15",
          "Pause after a failed connection or login to a server."),
    Param("server_reset_query", TEXT, "DISCARD ALL",
          "Sent to a server when its client leaves, in session mode."),
    Param("server_reset_query_always", BOOL, "0",
          "Send server_reset_query in the other modes too."),
    Param("server_round_robin", BOOL, "0",
          "Use the servers of a pool in turn, not the last one first."),
    Param("server_tls13_ciphers", TEXT, None,
          "TLS 1.3 cipher suites for servers; from Python 3.15 on."),
    Param("server_tls_ca_file", TEXT, "",
          "Certificates by which servers' certificates are verified, with verify-ca and"
          " verify-full; empty: the system's."),
    Param("server_tls_cert_file", TEXT, "",
          "The pooler's certificate, shown to servers that ask for one."),
    Param("server_tls_ciphers", TEXT, "default",
          "Ciphers up to TLS 1.2 for servers, as in client_tls_ciphers."),
    Param("server_tls_key_file", TEXT, "", "Private key of server_tls_cert_file, unencrypted."),
    Param("server_tls_protocols", TEXT, "secure",
          "TLS versions for servers, as in client_tls_protocols."),
    Param("server_tls_sslmode", CHOICE, "prefer",
          "Whether servers are reached by TLS, and whether their certificates are verified; allow"
          " is prefer: see [TLS](tls.md).", choices=SslMode),
    Param("so_reuseport", BOOL, "0",
          "Let several processes listen on the same TCP port.", reloadable=False),
    Param("stats_period", INT, "60", "Period of the averages in SHOW.", unit="seconds"),
    Param("stats_users", NAMES, "", "Users who may run SHOW on the console."),
    Param("suspend_timeout", SECONDS, "10",
          "Longest time for SUSPEND, which is gone; kept for its place in SHOW CONFIG."),
    Param("syslog", BOOL, "0", "Log to syslog, too, from level LOG up."),
    Param("syslog_facility", TEXT, "daemon",
          "Facility in syslog: auth, authpriv, daemon, user, local0 to local7, in lower case."),
    Param("syslog_ident", TEXT, "pgbouncer", "Program name in syslog and in systemd's journal."),
    Param("tcp_defer_accept", BOOL, "1", "Accept a connection only once it has sent data (Linux)."),
    Param("tcp_keepalive", BOOL, "1", "Send keepalive probes."),
    Param("tcp_keepcnt", INT, "0",
          "Probes without answer until a connection is dead; 0 is the system's number."),
    Param("tcp_keepidle", INT, "0",
          "Idle time before the first probe; 0 is the system's.", unit="seconds"),
    Param("tcp_keepintvl", INT, "0", "Time between probes; 0 is the system's.", unit="seconds"),
    Param("tcp_socket_buffer", INT, "0",
          "Size of the kernel's buffers of a connection; 0 is the system's.", unit="bytes"),
    Param("tcp_user_timeout", INT, "0",
          "Longest time that sent data may stay unacknowledged; 0 is the system's.",
          unit="milliseconds"),
    Param("track_extra_parameters", WORDS, "IntervalStyle",
          "Reported parameters to keep per client, beside the usual five.", reloadable=False),
    Param("transaction_timeout", SECONDS, "0", "Longest time of a transaction; 0 is no limit."),
    Param("unix_socket_dir", TEXT, "/tmp",
          "Directory of the Unix socket, also for servers without host; @name is abstract,"
          " empty is none.", reloadable=False),
    Param("unix_socket_group", TEXT, "", "Group of the Unix socket.", reloadable=False),
    Param("unix_socket_mode", INT, "0777", "Permissions of the Unix socket.", reloadable=False),
    Param("user", TEXT, None, "User to become when started as root.", reloadable=False),
    Param("verbose", INT, None, "1 and above: log DEBUG lines, too, as -v does."),
)

DATABASE_KEYS = _table(
    Param("dbname", TEXT, None, "Database on the server; unset: the entry's name."),
    Param("host", TEXT, None,
          "Name, address, /directory or @abstract socket, or several by commas; unset:"
          " Unix socket in unix_socket_dir."),
    Param("port", PORT, "5432", "Port of all hosts of the entry."),
    Param("user", TEXT, None,
          "Log in to the server as this user whoever the client is: one pool for all."),
    Param("password", TEXT, None, "Password of user; unset: the one in auth_file."),
    Param("auth_user", TEXT, None, "Instead of the setting of that name."),
    Param("auth_query", TEXT, None, "Instead of the setting of that name."),
    Param("auth_dbname", TEXT, None, "Instead of the setting of that name."),
    Param("pool_size", COUNT, None, "Instead of default_pool_size."),
    Param("min_pool_size", COUNT, None, "Instead of the setting of that name."),
    Param("reserve_pool_size", COUNT, None,
          "Instead of the setting of that name.", aliases=("reserve_pool",)),
    Param("max_db_connections", COUNT, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("max_db_client_connections", COUNT, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("pool_mode", CHOICE, None, "Instead of the setting of that name.", choices=PoolMode),
    Param("server_lifetime", WHOLE_SECONDS, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("query_wait_timeout", WHOLE_SECONDS, None,
          "Instead of the setting of that name; 0 is no limit."),
    Param("load_balance_hosts", CHOICE, "round-robin",
          "With several hosts: use them in turn, or (disable) the first until it fails.",
          choices=LoadBalanceHosts),
    Param("connect_query", TEXT, None, "Sent to every new server; its errors are logged only."),
    Param("client_encoding", TEXT, None, "Startup parameter of the server connections."),
    Param("datestyle", TEXT, None, "Startup parameter of the server connections."),
    Param("timezone", TEXT, None, "Startup parameter of the server connections."),
    Param("application_name", TEXT, None, "Startup parameter of the server connections."),
)

USER_KEYS = _table(
    Param("pool_mode", CHOICE, None,
          "Instead of the database's and the setting of that name.", choices=PoolMode),
    Param("pool_size", COUNT, None, "Instead of the database's and default_pool_size."),
    Param("reserve_pool_size", COUNT, None,
          "Instead of the database's and the setting of that name."),
    Param("max_user_connections", COUNT, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("max_user_client_connections", COUNT, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("query_timeout", WHOLE_SECONDS, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("query_wait_timeout", WHOLE_SECONDS, None,
          "Instead of the database's and the setting of that name; 0 is no limit."),
    Param("idle_transaction_timeout", WHOLE_SECONDS, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("transaction_timeout", WHOLE_SECONDS, None,
          "Instead of the setting of that name.", unset_below=1),
    Param("client_idle_timeout", WHOLE_SECONDS, None,
          "Instead of the setting of that name.", unset_below=1),
)

PEER_KEYS = _table(
    Param("host", TEXT, None, "Address or Unix socket directory of the peer; must be given."),
    Param("port", PORT, "6432", "The peer's port."),
    Param("pool_size", COUNT, None, "Connections to the peer; unset: default_pool_size."),
)

_STARTUP_PARAMETERS = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout"
    ",default_transaction_read_only,search_path"
)

PGMUX_SETTINGS = _table(
    Param("hide_unknown_users", BOOL, "0",
          "Ask whom auth_query doesn't find for a password and refuse it, so that nobody learns"
          " who exists; 0 answers `no such user`, as PgBouncer does."),
    Param("http_allowed_hosts", Kind.HOST_NAMES, "",
          "Names by which a browser may reach the [web process](web.md) besides http_listen's"
          " address, as behind a reverse proxy."),
    Param("http_listen", Kind.LISTEN, "",
          "Where the [web process](web.md) listens: metrics, health checks, dashboard. A port"
          " alone is one of 127.0.0.1; empty is no web process."),
    Param("http_token_file", TEXT, "",
          "File whose contents let a browser do what admin_users may; of mode 0600, the"
          " pooler's or root's. Empty: it may only look."),
    Param("log_format", CHOICE, "text",
          "How stderr and logfile are written: PgBouncer's lines, or a JSON object a line;"
          " syslog and the journal are as ever.",
          choices=LogFormat),
    Param("log_min_transaction_duration", SECONDS, "0",
          "Log transactions that take that long: once while they run, and at their end."
          " 0 logs none."),
    Param("log_min_wait_duration", SECONDS, "0",
          "Log clients that have waited that long for a server. 0 logs none."),
    Param("log_statement_literals", BOOL, "0",
          "Whether log lines of long transactions show statements with their literals;"
          " 0 shows `?` for each."),
    Param("loop", CHOICE, "epoll", "Event loop; epoll, pgmux's own, is Linux's alone.",
          reloadable=False, choices=Loop),
    Param("max_applications", INT, "500",
          "Applications counted by name, in all pools; where more come, those that have gone"
          " are counted together as `other`."),
    Param("session_link", CHOICE, "login",
          "When a client in session mode gets its server: at login, as with a direct"
          " connection, or with its first query, as PgBouncer does it.",
          choices=SessionLink),
    Param("startup_parameters", WORDS, _STARTUP_PARAMETERS,
          "Startup parameters, plain or in options, that are honoured per client though"
          " the server doesn't report them."),
)

PGMUX_DATABASE_KEYS = _table(
    Param("session_link", CHOICE, None, "Instead of the setting of that name.",
          choices=SessionLink),
    Param("startup_parameters", WORDS, None, "Instead of the setting of that name."),
)

PGMUX_USER_KEYS = _table(
    Param("session_link", CHOICE, None,
          "Instead of the database's and the setting of that name.", choices=SessionLink),
)
# fmt: on
