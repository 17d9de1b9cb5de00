"""auth_file, HBA and ident file as parts of the configuration: when they are read, and what becomes
of one that can't be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.config import AuthType, Config, apply_set, diff_config, with_access_after_set
from pgmux.errors import ConfigError
from tests.unit.config.helpers import load, reader, warnings_of

HBA = "[pgbouncer]\nauth_type = hba\nauth_file = u.txt\nauth_hba_file = h.conf\n"
IDENT = HBA + "auth_ident_file = i.conf\n"
USERS = '"bob" "pw"'
GONE = "No such file or directory"


def test_all_three_are_read() -> None:
    config = load(IDENT, u_txt=USERS, h_conf="local all all peer map=m\n", i_conf="m ada bob\n")
    assert config.userlist == {"bob": "pw"}
    (rule,) = config.hba
    assert rule.place == "h.conf:1"
    assert rule.ident is not None
    assert config.files == ("a.ini", "u.txt", "i.conf", "h.conf")
    assert (config.warnings, config.access_problems) == ((), ())


def test_a_file_of_names_is_among_the_files() -> None:
    config = load(HBA, u_txt=USERS, h_conf="local @d.txt all peer", d_txt="app")
    assert config.files[-1] == "d.txt"


@pytest.mark.parametrize("auth_type", [t for t in AuthType if t not in ("hba", "cert")])
def test_without_auth_type_hba_they_are_not(auth_type: AuthType) -> None:
    config = load(IDENT.replace("hba\n", f"{auth_type}\n", 1), u_txt=USERS)
    assert len(config.hba) == 0
    assert not any("conf" in problem.message for problem in config.warnings)


def test_an_hba_file_that_is_not_there_keeps_everybody_out_and_is_said() -> None:
    config = load(HBA, u_txt=USERS)
    assert len(config.hba) == 0
    (problem,) = config.access_problems
    assert problem in config.warnings
    assert problem.is_grave
    assert problem.message == f"could not open hba config file h.conf: {GONE}"


def test_an_hba_file_that_is_not_named_is_said() -> None:
    text = "[pgbouncer]\nauth_type = hba\n"
    (warning,) = warnings_of(text)
    assert warning.startswith("could not open hba config file : ")
    assert warning.endswith("(set auth_hba_file)")


def test_an_ident_file_that_is_not_there_takes_the_lines_with_maps_along() -> None:
    hba = "local all all peer map=m\nlocal all all md5\n"
    config = load(IDENT, u_txt=USERS, h_conf=hba)
    assert [rule.line for rule in config.hba] == [2]
    (problem,) = config.access_problems
    assert problem.message == f"could not open ident config file i.conf: {GONE}"
    assert [each.line for each in config.warnings] == [0, 1]


def test_broken_lines_are_warnings() -> None:
    config = load(IDENT, u_txt=USERS, h_conf="foo\nlocal all all md5", i_conf="foo\n")
    assert [problem.file for problem in config.warnings] == ["i.conf", "h.conf"]
    assert config.access_problems == ()


def test_an_hba_file_in_which_no_line_counts_is_said() -> None:
    (warning,) = warnings_of(HBA, u_txt=USERS, h_conf="# nothing\n")
    assert warning == "h.conf: no line of the hba config file counts: nobody can log in"


# SET


def after_set(text: str, name: str, value: str, **files: str) -> Config:
    texts = {file.replace("_", "."): content for file, content in files.items()}
    old = load(text, u_txt=USERS)
    return with_access_after_set(old, apply_set(old, name, value), reader(texts))


def test_set_of_auth_type_reads_the_hba_file() -> None:
    text = HBA.replace("= hba", "= md5")
    config = after_set(text, "auth_type", "hba", u_txt='"eve" "x"', h_conf="foo\nlocal all all md5")
    assert [rule.line for rule in config.hba] == [2]
    assert [problem.line for problem in config.warnings] == [1]
    assert config.userlist == {"bob": "pw"}  # till RELOAD


def test_set_of_auth_type_fails_where_there_is_no_hba_file() -> None:
    with pytest.raises(ConfigError, match="could not open hba config file"):
        after_set(HBA.replace("= hba", "= md5"), "auth_type", "hba", u_txt=USERS)


def test_set_of_auth_type_reads_an_auth_file_that_was_not_needed() -> None:
    config = after_set(HBA.replace("= hba", "= any"), "auth_type", "md5", u_txt=USERS)
    assert config.userlist == {"bob": "pw"}


def test_set_of_another_setting_reads_nothing() -> None:
    config = after_set(HBA.replace("= hba", "= md5"), "max_client_conn", "7")
    assert config.settings.max_client_conn == 7
    assert config.userlist == {"bob": "pw"}


# RELOAD


def reloaded(before: Config, after: Config) -> Config:
    return diff_config(before, after).config


def test_reload_takes_the_new_rules() -> None:
    before = load(HBA, u_txt=USERS, h_conf="local all all peer\n")
    after = load(HBA, u_txt=USERS, h_conf="local all all md5\n")
    assert reloaded(before, after).hba == after.hba


@pytest.mark.parametrize(
    "files", [{}, {"h_conf": ""}, {"i_conf": ""}], ids=["none", "no ident", "no hba"]
)
def test_reload_keeps_everything_where_a_file_is_gone(files: dict[str, str]) -> None:
    before = load(IDENT, u_txt=USERS, h_conf="local all all peer\n", i_conf="")
    with pytest.raises(ConfigError, match="could not open"):
        diff_config(before, load(IDENT, u_txt=USERS, **files))


def test_reload_takes_a_file_with_broken_lines_as_a_start_does() -> None:
    before = load(HBA, u_txt=USERS, h_conf="local all all peer\n")
    after = load(HBA, u_txt=USERS, h_conf="local all all md5\nhost all all samenet reject\n")
    assert [rule.method for rule in reloaded(before, after).hba] == ["md5"]


def test_what_was_gone_before_does_not_keep_reload_from_working() -> None:
    before = load(HBA, u_txt=USERS)
    assert reloaded(before, replace(before, files=())).files == ()


def test_another_file_that_is_gone_does() -> None:
    before = load(HBA, h_conf="local all all peer\n")
    with pytest.raises(ConfigError, match=r"h\.conf"):
        diff_config(before, load(HBA))


def test_an_hba_line_with_cert_needs_nothing_of_the_settings() -> None:
    config = load(HBA, u_txt=USERS, h_conf="hostssl all all all cert\n")
    assert len(config.hba) == 1


ALLOW = "client_tls_sslmode = allow\n"
CA = "client_tls_ca_file = ca.pem\n"


@pytest.mark.parametrize(
    ("settings", "is_said"),
    [
        ("", True),
        (CA, True),
        (ALLOW, True),
        (ALLOW + CA, False),
        ("client_tls_sslmode = verify-ca\n", False),
    ],
)
def test_a_cert_line_where_no_client_is_asked_for_a_certificate_is_said(
    settings: str, is_said: bool
) -> None:
    config = load(HBA + settings, u_txt=USERS, h_conf="host all all all cert\n")
    said = "hba config line 1: no client is asked for a certificate: this line lets nobody in"
    assert [problem.message for problem in config.warnings] == [said] * is_said
    assert len(config.hba) == 1
