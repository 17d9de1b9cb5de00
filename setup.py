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
from setuptools import Extension, setup

CYTHON_MODULES = (
    "pgmux.net._tls_cy",
    "pgmux.net._transport_cy",
    "pgmux.pool._pool_cy",
    "pgmux.session._relay_cy",
)

# Python's meaning wherever Cython leaves the choice: both forms must answer alike.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": True,
    "wraparound": True,
    "cdivision": False,
    "annotation_typing": True,
}


BUILD = Path("build/cython")  # so that the source tree holds nothing that is made


def build_extension(module: str) -> Extension:
    """One compiled module, with the sanitizer that was asked for."""
    sanitize = os.environ.get("PGMUX_SANITIZE")
    flags = [f"-fsanitize={sanitize}", f"-fno-sanitize-recover={sanitize}"] if sanitize else []
    return Extension(
        module,
        [f"src/{module.replace('.', '/')}.py"],
        extra_compile_args=flags,
        extra_link_args=flags,
    )


def build_stamp(module: str) -> str:
    """A C file of one text, which becomes a part of the module: what source it is compiled from.
    `pgmux._pure` compares.
    """
    source = Path("src", *module.split(".")).with_suffix(".py")
    stamp = BUILD / f"{module}.stamp.c"
    text = f"pgmux: compiled from {zlib.crc32(source.read_bytes()):08x}"
    code = f'const char pgmux_compiled_from[] = "{text}";\n'
    if not stamp.exists() or stamp.read_text() != code:
        # Cython goes by the files' times, which tell less.
        (BUILD / source).with_suffix(".c").unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(code)
    return str(stamp)


def build_extensions() -> list[Extension]:
    """All of them."""
    stamps = {module: build_stamp(module) for module in CYTHON_MODULES}
    extensions: list[Extension] = cythonize(
        [build_extension(module) for module in CYTHON_MODULES],
        build_dir=str(BUILD),
        compiler_directives=DIRECTIVES,
    )
    for extension in extensions:
        extension.sources.append(stamps[extension.name])
        # Here, because cythonize makes new objects and drops this attribute.
        extension.optional = os.environ.get("PGMUX_REQUIRE_CYTHON") != "1"
    return extensions


setup(ext_modules=build_extensions())
