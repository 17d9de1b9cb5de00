"""Configuration: the texts of pgbouncer.ini, pgmux.ini and userlist.txt become frozen values.

`load_config` makes a `Config`, `diff_config` says what a RELOAD has to do, `apply_set` is the
console's SET. Strings come in through a `read` function; no file, socket or clock is touched here.
"""

from pgmux.config.access import with_access_after_set
from pgmux.config.diff import Reload, diff_config
from pgmux.config.load import load_config
from pgmux.config.model import (
    AuthType,
    Config,
    Database,
    LoadBalanceHosts,
    Loop,
    Peer,
    PgmuxSettings,
    PoolMode,
    Settings,
    SslMode,
    User,
)
from pgmux.config.params import SETTINGS, Kind, Param
from pgmux.config.show import (
    apply_set,
    default_text,
    set_warnings,
    show_config,
    show_value,
)
from pgmux.config.userlist import parse_userlist

__all__ = [
    "SETTINGS",
    "AuthType",
    "Config",
    "Database",
    "Kind",
    "LoadBalanceHosts",
    "Loop",
    "Param",
    "Peer",
    "PgmuxSettings",
    "PoolMode",
    "Reload",
    "Settings",
    "SslMode",
    "User",
    "apply_set",
    "default_text",
    "diff_config",
    "load_config",
    "parse_userlist",
    "set_warnings",
    "show_config",
    "show_value",
    "with_access_after_set",
]
