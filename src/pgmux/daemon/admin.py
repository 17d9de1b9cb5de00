"""What the console can have done: `admin.pooler.AdminPooler` of a running pooler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pgmux.admin.pooler import ShutdownMode
from pgmux.config import Config, apply_set, set_warnings
from pgmux.config.model import ADMIN_DATABASE
from pgmux.daemon.configuration import describe, read_after_set, say_problems
from pgmux.daemon.log import Log, cannot_open
from pgmux.daemon.snapshot import DaemonSnapshot
from pgmux.daemon.version import PGBOUNCER, PGMUX
from pgmux.errors import ConfigError, PoolerError
from pgmux.net.console_connection import Consoles
from pgmux.session import operator
from pgmux.session.pooler import Pooler

_TLS_KEPT = "TLS settings could not be applied, still using old configuration"
_KILLED = "database removed"  # PgBouncer's word for it


class Process(Protocol):
    """What the console asks of the process (`daemon.app.App`)."""

    @property
    def pooler(self) -> Pooler: ...
    @property
    def snapshot(self) -> DaemonSnapshot: ...
    @property
    def consoles(self) -> Consoles: ...
    @property
    def log(self) -> Log: ...
    @property
    def is_shutting_down(self) -> bool: ...

    def reload(self) -> None:
        """Raises: ConfigError, and nothing has changed then."""

    def set_up_tls(self) -> bool:
        """Go by the TLS settings as they are now; False where they are bad, and nothing changes."""

    def tune_sockets(self) -> None:
        """Go by the tcp_* settings in force, for connections from now on."""

    def set_up_web(self) -> None:
        """Go by the http_* settings in force."""

    def shut_down(self, mode: ShutdownMode) -> None:
        """Begin to end."""


class DaemonAdmin:
    """See the module."""

    def __init__(self, app: Process) -> None:
        self._app = app

    @property
    def _pooler(self) -> Pooler:
        return self._app.pooler

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._pooler.config

    @property
    def version_lines(self) -> Sequence[str]:
        """SHOW VERSION's rows."""
        return (PGBOUNCER, PGMUX)

    @property
    def server_version(self) -> str:
        """As PgBouncer's console says it."""
        return f"{PGBOUNCER.removeprefix('PgBouncer ')}/bouncer"

    @property
    def snapshot(self) -> DaemonSnapshot:
        """What SHOW tells."""
        return self._app.snapshot

    @property
    def is_paused(self) -> bool:
        """PAUSE of everything is in force or under way."""
        return self._pooler.paused

    @property
    def is_shutting_down(self) -> bool:
        """The process is about to end."""
        return self._app.is_shutting_down

    def has_database(self, name: str) -> bool:
        """Whether SHOW DATABASES has that row."""
        return name == ADMIN_DATABASE or name in self._pooler.databases

    def register_database(self, name: str) -> bool:
        """The same, once `*` has had its chance."""
        return name == ADMIN_DATABASE or self._pooler.find_database(name) is not None

    def is_database_paused(self, name: str) -> bool:
        """PAUSE or KILL of this database is in force or under way."""
        return name in self._pooler.databases and self._pooler.databases[name].paused

    def log(self, text: str) -> None:
        """A line of level LOG."""
        self._app.log.log(text)

    def reload(self) -> None:
        """Read the files again. Raises: ConfigError, and nothing has changed then."""
        self._app.reload()

    def set(self, name: str, text: str) -> str:
        """Change one setting until the next start or RELOAD; the text of a NOTICE, or "".

        Raises: PoolerError, fatal=False.
        """
        old = self._pooler.config
        try:
            config = read_after_set(old, apply_set(old, name, text))
        except ConfigError as error:
            problems = "; ".join(map(describe, error.problems))
            raise PoolerError(f"SET failed: {problems}", fatal=False) from error
        log, path = self._app.log, config.settings.logfile
        try:
            if path != log.path:
                log.use_file(path)
        except OSError as error:
            raise PoolerError(f"SET failed: {cannot_open(path, error)}", fatal=False) from error
        log.configure(config.settings, config.pgmux)
        for warning in set_warnings(name, text):
            log.warning(f"SET: {warning}")
        say_problems(config, log)
        self._pooler.use_config(config)
        self._pooler.launch_all()
        self._app.tune_sockets()
        if name.startswith("http_"):
            self._app.set_up_web()
        is_tls = "_tls_" in name or "_tls13_" in name
        return _TLS_KEPT if is_tls and not self._app.set_up_tls() else ""

    def pause(self, database: str | None) -> bool:
        """Close servers as they become free; True where none was left."""
        operator.hold(self._pooler, database, held=True)
        return operator.busy_count(self._pooler, database) == 0

    def resume(self, database: str | None) -> None:
        """End a pause."""
        operator.hold(self._pooler, database, held=False)

    def reconnect(self, database: str | None) -> None:
        """Servers are closed when they are released."""
        operator.reconnect(self._pooler, database)

    def wait_close(self, database: str | None) -> bool:
        """True where no server is left that RECONNECT or RELOAD has marked."""
        return operator.close_needed_count(self._pooler, database) == 0

    def kill(self, database: str | None) -> None:
        """Close all clients and servers, and leave the databases paused: each, not the pooler."""
        pools = {key.database for key in self._pooler.pools}
        for name in sorted(pools) if database is None else [database]:
            operator.hold(self._pooler, name, held=True, reason=_KILLED)
        operator.kill(self._pooler, database, _KILLED)

    def kill_client(self, client_id: int) -> bool:
        """Close the client of that id, which may be a console; False where there is none."""
        is_client = operator.kill_client(self._pooler, client_id)
        return is_client or self._app.consoles.kill(client_id)

    def set_disabled(self, database: str, disabled: bool) -> None:
        """Whether new clients of the database are refused."""
        self._pooler.databases[database].disabled = disabled

    def shutdown(self, mode: ShutdownMode) -> None:
        """Begin to end the process."""
        self._app.shut_down(mode)


class WebAdmin(DaemonAdmin):
    """The same for who has shown the token of http_token_file: the log tells them from others."""

    def log(self, text: str) -> None:
        """A line of level LOG."""
        super().log(f"{text} (via the web process)")

    def set(self, name: str, text: str) -> str:
        """As on any console; the value may be a secret."""
        self.log(f"SET {name} command issued")
        return super().set(name, text)

    def kill_client(self, client_id: int) -> bool:
        """As on any console."""
        self.log(f"KILL_CLIENT {client_id} command issued")
        return super().kill_client(client_id)
