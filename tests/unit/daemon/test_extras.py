"""Libraries that only some configurations need: asked for by name, and only then."""

from __future__ import annotations

import sys

import pytest

from pgmux.config import AuthType, Config, Settings
from pgmux.config.hba_file import HbaFile
from pgmux.daemon import extras
from pgmux.errors import ConfigError, PoolerError
from tests.unit.daemon.test_admin import make_admin
from tests.unit.session.rig import Rig


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""
    for extra, name in ((extras.LDAP, "ldap"), (extras.PAM, "pamela")):
        monkeypatch.delitem(sys.modules, extra.module, raising=False)
        monkeypatch.setitem(sys.modules, name, None)  # importing it is an ImportError


@pytest.mark.parametrize(
    ("auth_type", "library", "command"),
    [
        (AuthType.LDAP, "python-ldap", "pip install 'pgmux[ldap]'"),
        (AuthType.PAM, "pamela", "pip install 'pgmux[pam]'"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(
    bare: None, auth_type: AuthType, library: str, command: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        extras.require_extras(Config(settings=Settings(auth_type=auth_type, conffile="p.ini")))
    (problem,) = caught.value.problems
    assert problem.message.startswith(f"auth_type = {auth_type} needs {library}, which can't be")
    assert (problem.file, problem.hint) == ("p.ini", command)


def test_an_hba_line_is_named_with_its_place(bare: None) -> None:
    text = 'host all all all md5\nhost all all all ldap ldapserver=a ldapprefix="cn="\n'
    file = HbaFile("hba.conf", lambda path: "", {})
    file.load(text)
    rules = tuple(file.rules)
    with pytest.raises(ConfigError) as caught:
        extras.require_extras(Config(settings=Settings(auth_type=AuthType.HBA), hba=rules))
    (problem,) = caught.value.problems
    assert str(problem).startswith("hba.conf:2: method ldap needs python-ldap")
    extras.require_extras(Config(hba=rules))  # they aren't looked at


def test_who_needs_none_needs_none(bare: None) -> None:
    extras.require_extras(Config())


def test_set_refuses_what_is_not_installed(bare: None) -> None:
    console, _ = make_admin(Rig())
    with pytest.raises(PoolerError, match=r"SET failed: .*pip install 'pgmux\[pam\]'") as caught:
        console.set("auth_type", "pam")
    assert not caught.value.fatal
    assert console.config.settings.auth_type is AuthType.MD5
