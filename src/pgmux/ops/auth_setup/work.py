"""auth-setup from its options to its outcome: databases first, then auth_file and pgbouncer.ini.

All that can be known to fail is found before anything is changed: the statements are rehearsed in
every database, the files' new texts are made. Errors: those of `state`, `steps`, `undo`, `files`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pgmux.ops.auth_setup.files import (
    check_writable,
    edit_ini,
    has_entry,
    ini_lines,
    missing,
    remove_user,
    secret_in,
    unedit_ini,
)
from pgmux.ops.auth_setup.password import choose_password
from pgmux.ops.auth_setup.run import Done, carry_out, connected, databases_of, rehearse
from pgmux.ops.auth_setup.setup import Setup, SetupError
from pgmux.ops.auth_setup.state import read_role
from pgmux.ops.auth_setup.steps import Session, make_lookup, make_role
from pgmux.ops.auth_setup.trial import Trial, try_lookup
from pgmux.ops.auth_setup.undo import check_elsewhere, drop_role, take_out_lookup
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.server_connection import ServerConnection
from pgmux.ops.severity import Severity
from pgmux.ops.userlist.place import UserlistPlace
from pgmux.ops.userlist.update import Update, update_of


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says. `auth_dbname` is the one database to ask in, if one is named."""

    setup: Setup
    databases: tuple[str, ...] = ()
    everyone: bool = False
    auth_dbname: str | None = None
    password: str | None = field(default=None, repr=False)
    rotate: bool = False
    replace: bool = False
    edit: bool = False
    is_dry: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """The databases that are named, by whichever option."""
        return (self.auth_dbname,) if self.auth_dbname else self.databases


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, or would be. `ini_lines` are those that the ini file lacked; or, after an
    undo, those that it must no longer have.
    """

    databases: tuple[Done, ...]
    userlist: str
    userlist_written: bool
    ini: str | None
    ini_lines: dict[str, str]
    ini_written: bool
    trials: tuple[Trial, ...] = ()
    warning: str = ""


def set_up(server: ServerConnection, wish: Wish, place: UserlistPlace) -> Outcome:
    """Makes what is missing, and tries it."""
    setup = wish.setup
    role = read_role(server, setup.role)
    in_file = secret_in(place.file, setup.role)
    stored = None if role is None else role.secret
    chosen = choose_password(setup, stored, in_file, wish.password, rotate=wish.rotate)
    secrets = {setup.role: chosen.password}
    update = update_of(place.file, secrets, secrets)
    lines = missing(place.config, ini_lines(server, setup, wish.auth_dbname, place))
    texts = _edited(wish, place, lines)
    check_writable(*([place.file] if update.needs_writing else []), *texts.changed)

    def of_role(session: Session) -> None:
        make_role(session, setup, chosen.verifier)

    def of_database(session: Session) -> None:
        make_lookup(session, setup, replace=wish.replace)

    trials = [] if has_entry(place.config, wish.auth_dbname) else [_no_entry(wish, place)]
    names = databases_of(server, wish.named, everyone=wish.everyone)
    with connected(server, names) as servers:
        done = rehearse(servers, of_role, of_database)
        if not wish.is_dry:
            done = carry_out(servers, of_role, of_database, lambda: _write(update, place))
            texts.write()
            trials += [try_lookup(each, setup, chosen.password) for each in servers]
    kept = not wish.is_dry
    return Outcome(
        tuple(done),
        place.file,
        kept and update.needs_writing,
        place.config,
        lines,
        kept and bool(texts.changed),
        tuple(trials),
        update.warning,
    )


def undo(server: ServerConnection, wish: Wish, place: UserlistPlace) -> Outcome:
    """Takes out what auth-setup has made; without a database named, in all of them. The userlist's
    line goes with the role: where that isn't ours or isn't here, the line may be for another
    PostgreSQL, or another user's.
    """
    setup = wish.setup
    role = read_role(server, setup.role)
    is_ours = role is not None and role.is_marked
    lines = ini_lines(server, setup, wish.auth_dbname, place)
    lines.pop("auth_file", None)
    texts = unedit_ini(place.config, lines) if wish.edit and place.config else EditedTexts()
    has_line = is_ours and bool(secret_in(place.file, setup.role))
    check_writable(*([place.file] if has_line else []), *texts.changed)

    def of_database(session: Session) -> None:
        take_out_lookup(session, setup)

    names = databases_of(server, wish.named, everyone=wish.everyone or not wish.named)
    with connected(server, names) as servers:
        if is_ours:
            check_elsewhere(server, setup, [each.dbname for each in servers])
        done = rehearse(servers, _nothing, of_database)
        if not wish.is_dry:
            done = carry_out(servers, _nothing, of_database, lambda: None)

    def take_out_line() -> None:
        if has_line:
            remove_user(place.file, setup.role)

    if is_ours:
        done.append(_without_role(server, wish, take_out_line))
    if not wish.is_dry:
        texts.write()
    kept = not wish.is_dry
    return Outcome(
        tuple(done),
        place.file,
        kept and has_line,
        place.config,
        lines,
        kept and bool(texts.changed),
    )


def _without_role(server: ServerConnection, wish: Wish, before_commit: Callable[[], None]) -> Done:
    if wish.is_dry:  # it could be rehearsed only without the rest
        return Done(server.dbname, (f'DROP ROLE "{wish.setup.role}";',))
    session = Session(server)
    with server.transaction():
        drop_role(session, wish.setup)
        before_commit()
    return Done(server.dbname, tuple(session.told))


def _edited(wish: Wish, place: UserlistPlace, lines: dict[str, str]) -> EditedTexts:
    if not wish.edit:
        return EditedTexts()
    if place.config is None:
        raise SetupError("there is no pgbouncer.ini to edit: name it")
    return edit_ini(place.config, lines)


def _write(update: Update, place: UserlistPlace) -> None:
    update.write(place.config)


def _no_entry(wish: Wish, place: UserlistPlace) -> Trial:
    text = f"{place.config} has no entry of this name in [databases]: auth_dbname needs one"
    return Trial(wish.auth_dbname or "", Severity.WARNING, text)


def _nothing(session: Session) -> None:
    """Of the role: it goes last."""
