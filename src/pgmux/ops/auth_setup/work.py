"""auth-setup from its options to its outcome: databases first, then auth_file and pgbouncer.ini.

All that can be known to fail is found before anything is changed: the statements are rehearsed in
every database, the files' new texts are made. Errors: those of `state`, `steps`, `undo`, `files`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pgmux.ops.auth_setup.files import (
    check_writable,
    edit_ini,
    ini_lines,
    remove_user,
    secret_in,
    unedit_ini,
)
from pgmux.ops.auth_setup.password import choose_password
from pgmux.ops.auth_setup.run import Done, connected, databases_of, rehearsed
from pgmux.ops.auth_setup.setup import Setup, SetupError
from pgmux.ops.auth_setup.state import read_role
from pgmux.ops.auth_setup.steps import Session, make_lookup, make_role
from pgmux.ops.auth_setup.trial import Trial, try_lookup
from pgmux.ops.auth_setup.undo import check_elsewhere, drop_role, take_out_lookup
from pgmux.ops.entries.texts import EditedTexts
from pgmux.ops.server_connection import ServerConnection
from pgmux.ops.userlist.place import UserlistPlace
from pgmux.ops.userlist.update import update_of


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, or would be. `ini_lines` are those that the ini file needs; or, after an
    undo, those that it must no longer have.
    """

    databases: tuple[Done, ...]
    userlist: str
    userlist_written: bool
    ini: str | None
    ini_lines: dict[str, str]
    ini_written: bool
    trials: tuple[Trial, ...] = ()


def set_up(server: ServerConnection, wish: Wish, place: UserlistPlace) -> Outcome:
    """Makes what is missing, and tries it."""
    setup = wish.setup
    role = read_role(server, setup.role)
    in_file = secret_in(place.file, setup.role)
    stored = None if role is None else role.secret
    chosen = choose_password(setup, stored, in_file, wish.password, rotate=wish.rotate)
    secrets = {setup.role: chosen.password}
    update = update_of(place.file, secrets, secrets)
    if update.needs_writing:
        check_writable(place.file)
    lines = ini_lines(server, setup, wish.auth_dbname, place)
    texts = _edited(wish, place, lines)
    names = [wish.auth_dbname] if wish.auth_dbname else wish.databases

    def of_role(session: Session) -> None:
        make_role(session, setup, chosen.verifier)

    def of_database(session: Session) -> None:
        make_lookup(session, setup, replace=wish.replace)

    with connected(server, databases_of(server, names, everyone=wish.everyone)) as servers:
        done = rehearsed(servers, of_role, of_database, keep=not wish.is_dry)
        written = not wish.is_dry and update.write(place.config)
        _write(wish, texts)
        trials = () if wish.is_dry else _trials(servers, setup, chosen.password)
    changed = bool(texts.changed) and not wish.is_dry
    return Outcome(tuple(done), place.file, written, place.config, lines, changed, trials)


def undo(server: ServerConnection, wish: Wish, place: UserlistPlace) -> Outcome:
    """Takes out what auth-setup has made; without a database named, in all of them."""
    setup = wish.setup
    role = read_role(server, setup.role)
    is_ours = role is not None and role.is_marked
    lines = ini_lines(server, setup, wish.auth_dbname or "", place)
    texts = unedit_ini(place.config, lines) if wish.edit and place.config else EditedTexts()
    in_file = secret_in(place.file, setup.role)
    is_known = bool(in_file) and (is_ours or role is None)
    if is_known:
        check_writable(place.file)
    names = [wish.auth_dbname] if wish.auth_dbname else wish.databases
    everyone = wish.everyone or not names
    with connected(server, databases_of(server, names, everyone=everyone)) as servers:
        if is_ours:
            check_elsewhere(server, setup, [each.dbname for each in servers])
        done = rehearsed(
            servers, _nothing, lambda each: take_out_lookup(each, setup), keep=not wish.is_dry
        )
    if is_ours:
        done.append(_without_role(server, wish))
    if is_known and not wish.is_dry:
        remove_user(place.file, setup.role)
    _write(wish, texts)
    changed = bool(texts.changed) and not wish.is_dry
    del lines["auth_dbname"]
    written = is_known and not wish.is_dry
    return Outcome(tuple(done), place.file, written, place.config, lines, changed)


def _without_role(server: ServerConnection, wish: Wish) -> Done:
    if wish.is_dry:  # it could be rehearsed only without the rest
        return Done(server.dbname, (f'DROP ROLE "{wish.setup.role}";',))
    session = Session(server)
    with server.transaction():
        drop_role(session, wish.setup)
    return Done(server.dbname, tuple(session.told))


def _edited(wish: Wish, place: UserlistPlace, lines: dict[str, str]) -> EditedTexts:
    if not wish.edit:
        return EditedTexts()
    if place.config is None:
        raise SetupError("there is no pgbouncer.ini to edit: name it")
    return edit_ini(place.config, lines)


def _write(wish: Wish, texts: EditedTexts) -> None:
    if not wish.is_dry:
        texts.write()


def _trials(servers: Sequence[ServerConnection], setup: Setup, password: str) -> tuple[Trial, ...]:
    return tuple(try_lookup(server, setup, password) for server in servers)


def _nothing(session: Session) -> None:
    """Of the role: it goes last."""
