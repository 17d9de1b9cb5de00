"""The sdist and the wheel, built, looked into, installed and run; with a compiler and without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgmux import _pure
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port

ROOT = Path(__file__).parents[3]
NOT_SOURCE = (".*", "build", "dist", "*.egg-info", "__pycache__")
PACKAGE = {
    f"pgmux/{path.relative_to(_pure.PACKAGE)}"
    for path in _pure.PACKAGE.glob("**/*")
    if path.suffix == ".py" or path.name == "py.typed" or "static" in path.parts
    if path.is_file()
}
EXTENSIONS = {
    name.replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX")
    for name in _pure.cython_modules()
}


def run(
    *command: str | Path, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """With nothing of this installation in the way."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PGMUX_PURE", "CC")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environ,
        capture_output=True,
        text=True,
    )


def pip(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Offline: what it needs is there."""
    return run(sys.executable, "-m", "pip", *arguments, **environ)


INSTALL = ("install", "--no-deps", "--no-index", "--no-build-isolation")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a copy of the tree, compiled modules and all."""
    place = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, place / "tree", ignore=shutil.ignore_patterns(*NOT_SOURCE))
    made = run(sys.executable, "setup.py", "-q", "sdist", "-d", place, cwd=place / "tree")
    assert made.returncode == 0, made.stderr
    (found,) = place.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def sources(sdist: Path) -> Path:
    """The sdist unpacked."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return Path(str(sdist).removesuffix(".tar.gz"))


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    """The compiled one, made of the sdist."""
    made = pip(
        *("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir"),
        *(sources.parent, sources),
        PGMUX_REQUIRE_CYTHON="1",
        CFLAGS="-O0 -g0",  # a quarter of the time
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (found,) = sources.parent.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def without_compiler(wheel: Path, sources: Path) -> Path:
    """The same sources where nothing can be compiled; what Cython made of them is there still."""
    for made in (sources / "build").iterdir():
        if made.name != "cython":
            shutil.rmtree(made)
    return sources


def venv(directory: Path) -> Path:
    """A new environment's Python. It has the packages of the running one, behind its own, but no
    editable installation of pgmux.
    """
    made = run(sys.executable, "-m", "venv", "--without-pip", directory)
    assert made.returncode == 0, made.stderr
    own = next(directory.glob("lib/python*/site-packages"))
    (own / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory / "bin" / "python"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel."""
    python = venv(tmp_path_factory.mktemp("compiled") / "venv")
    done = pip("--python", python, *INSTALL, wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def test_the_sdist_has_the_sources_and_nothing_that_is_made(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in PACKAGE} <= names
    wanted = ("setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "Makefile")
    assert {*wanted, "tests/forms/rig.py", "docs/performance.md", "bench/__main__.py"} <= names
    assert {"deploy/systemd/pgmux.service", "deploy/docker/Dockerfile"} <= names
    assert [n for n in names if n.endswith((".so", ".c", ".pyc")) or n.startswith("build")] == []


def test_the_wheel_has_both_forms_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == PACKAGE | EXTENSIONS


@pytest.mark.parametrize(("pure", "form"), [("0", "compiled"), ("1", "uncompiled")])
def test_the_installed_wheel_says_its_form(installed: Path, pure: str, form: str) -> None:
    where = run(installed, "-P", "-c", "import pgmux; print(pgmux.__file__)")
    assert where.stdout.startswith(str(installed.parents[1]))
    shown = run(installed.with_name("pgmux"), "--version", PGMUX_PURE=pure)
    assert shown.stdout.endswith(f"({form})\n")


@pytest.fixture(params=["compiled", "uncompiled"])
def pooler(
    request: pytest.FixtureRequest, installed: Path, postgres: EmbeddedPostgres
) -> Iterator[PoolerProcess]:
    """A pooler of the installed wheel."""
    pure = f"PGMUX_PURE={int(request.param == 'uncompiled')}"
    with PoolerProcess(
        port=find_free_port(),
        databases={"postgres": f"host={postgres.host} port={postgres.port}"},
        users={postgres.superuser: postgres.password},
        settings={"auth_type": "trust", "pool_mode": "transaction"},
        command=("env", "-u", "PYTHONPATH", pure, str(installed.with_name("pgmux")), "run"),
    ) as pooler:
        yield pooler
        assert f"({request.param})" in (pooler.directory / "log").read_text()


def test_a_query_goes_through_the_installed_wheel(
    pooler: PoolerProcess, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(
        host=pooler.host, port=pooler.port, user=postgres.superuser, dbname="postgres"
    ) as connection:
        assert connection.execute("SELECT 6 * 7").fetchone() == (42,)


def test_without_a_compiler_it_installs_and_runs_uncompiled(
    without_compiler: Path, tmp_path: Path
) -> None:
    python = venv(tmp_path / "venv")
    done = pip("--python", python, *INSTALL, without_compiler, CC="false")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = run(python.with_name("pgmux"), "--version")
    assert shown.stdout.endswith("(uncompiled)\n")


def test_without_a_compiler_it_fails_where_the_compiled_form_is_required(
    without_compiler: Path, tmp_path: Path
) -> None:
    python = venv(tmp_path / "venv")
    done = pip(
        *("--python", python, *INSTALL, without_compiler), CC="false", PGMUX_REQUIRE_CYTHON="1"
    )
    assert done.returncode != 0
    assert "PGMUX_REQUIRE_CYTHON=1 asks for pgmux's compiled form" in done.stdout + done.stderr
    assert not python.with_name("pgmux").exists()


# What one writes without a thought, and what `_message_len` of the relay is careful about.
CANARY = """
import cython

def shifted(data: bytes) -> cython.longlong:
    return data[0] << 24

def added(data: bytes) -> cython.longlong:
    length: cython.int = data[0]
    length = length * 0x800000
    return length + length

def widened(data: bytes) -> cython.longlong:
    length: cython.longlong = data[0]
    return length << 24
"""


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module of that is, built as `make sanitize` builds pgmux's."""
    place = tmp_path_factory.mktemp("canary")
    (place / "src").mkdir()
    (place / "src" / "canary.py").write_text(CANARY)
    setup = (ROOT / "setup.py").read_text()
    setup = re.sub(r"(?s)(CYTHON_MODULES =) \(.*?\)", r'\1 ("canary",)', setup)
    (place / "setup.py").write_text(setup)
    built = run(
        *(sys.executable, "setup.py", "-q", "build_ext", "--build-lib", place),
        cwd=place,
        PGMUX_REQUIRE_CYTHON="1",
        PGMUX_SANITIZE="undefined",
    )
    assert built.returncode == 0, built.stderr
    return place


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("shifted", "left shift of 255 by 24 places cannot be represented in type 'int'"),
        ("added", "signed integer overflow"),
        ("widened", ""),
    ],
)
def test_a_sanitized_build_ends_at_a_length_that_overflows(
    canary: Path, function: str, error: str
) -> None:
    code = f"import canary; print(canary.{function}(b'\\xff'))"
    done = run(sys.executable, "-P", "-c", code, PYTHONPATH=str(canary))
    assert (done.returncode == 0) == (not error), done.stderr
    assert error in done.stderr
