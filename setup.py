"""The compiled modules; everything else about the package is in pyproject.toml.

PGMUX_REQUIRE_CYTHON=1    a module that doesn't compile fails the build (CI, wheels); else it runs
                          uncompiled
PGMUX_SANITIZE=undefined  builds with that sanitizer
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.errors import BaseError, CCompilerError

REQUIRED = (
    "PGMUX_REQUIRE_CYTHON=1 asks for pgmux's compiled form, which takes a C compiler (CC names "
    "one) and Python's headers; on Debian: gcc libc6-dev python3-dev"
)
IS_REQUIRED = os.environ.get("PGMUX_REQUIRE_CYTHON") == "1"

CYTHON_MODULES = (
    "pgmux.net._client_connection_cy",
    "pgmux.net._tls_cy",
    "pgmux.net._transport_cy",
    "pgmux.pool._pool_cy",
    "pgmux.session._entry_cy",
    "pgmux.session._relay_cy",
)

# Python's meaning wherever Cython leaves the choice: both forms must answer alike.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": True,
    "wraparound": True,
    "cdivision": False,
    "annotation_typing": True,
    "auto_pickle": False,
}


BUILD = Path("build/cython")  # so that the source tree holds nothing that is made


class build_ext(_build_ext):
    """Runs Cython, for which only this command has to wait; then the C compiler, on all cores."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = True

    def run(self) -> None:
        try:
            sources = write_c()
            for extension in self.extensions:
                extension.sources = sources[extension.name]
            super().run()  # says itself which optional modules fail
        except (CompileError, CCompilerError, BaseError) as error:
            if IS_REQUIRED:
                raise SystemExit(f"{error}\n{REQUIRED}") from error
            self.warn(f"Cython failed, so pgmux will run uncompiled: {error}")
            self.extensions = []


def build_extension(module: str) -> Extension:
    """One compiled module, with the sanitizer that was asked for."""
    sanitize = os.environ.get("PGMUX_SANITIZE")
    flags = []
    if sanitize:
        # Python's own flags have -fwrapv, with which no overflow of a signed integer is undefined.
        flags = [f"-fsanitize={sanitize}", f"-fno-sanitize-recover={sanitize}", "-fno-wrapv", "-O1"]
    return Extension(
        module,
        [str(source_of(module))],
        depends=["setup.py"],  # its flags
        extra_compile_args=flags,
        extra_link_args=flags,
        optional=not IS_REQUIRED,
    )


def source_of(module: str) -> Path:
    """Its Python file."""
    return Path("src", *module.split(".")).with_suffix(".py")


def write_c() -> dict[str, list[str]]:
    """The C files of every module."""
    stamps = {module: write_stamp(module) for module in CYTHON_MODULES}
    made = cythonize(
        [Extension(module, [str(source_of(module))]) for module in CYTHON_MODULES],
        build_dir=str(BUILD),
        include_path=["src"],  # where _system.pxd is found
        compiler_directives=DIRECTIVES,
    )
    return {extension.name: [*extension.sources, stamps[extension.name]] for extension in made}


def write_stamp(module: str) -> str:
    """A C file of one text, which becomes a part of the module: what source it is compiled from.
    `pgmux._pure` compares.
    """
    source = source_of(module)
    stamp = BUILD / f"{module}.stamp.c"
    text = f"pgmux: compiled from {zlib.crc32(source.read_bytes()):08x}"
    code = f'const char pgmux_compiled_from[] = "{text}";\n'
    if not stamp.exists() or stamp.read_text() != code:
        # Cython goes by the files' times, which tell less.
        (BUILD / source).with_suffix(".c").unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(code)
    return str(stamp)


setup(
    ext_modules=[build_extension(module) for module in CYTHON_MODULES],
    cmdclass={"build_ext": build_ext},
)
