"""Which form of the `*_cy.py` modules runs: the compiled one, or the same source uncompiled.

Python's own finders prefer an extension module to the source beside it. `Finder`, which the package
puts before them, does so only where that was compiled from this source; with PGMUX_PURE=1 it always
answers with the source.

Errors: `StaleModule`.
"""

from __future__ import annotations

import mmap
import sys
import zlib
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent


class StaleModule(ImportError):
    """An extension module does something else than the source beside it says."""


class Finder:
    """Finds pgmux's `*_cy` modules; the sources alone if `pure`."""

    def __init__(self, *, pure: bool) -> None:
        self._pure = pure

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises: StaleModule."""
        if not (fullname.startswith("pgmux.") and fullname.endswith("_cy")):
            return None
        for directory in path or ():
            source = Path(directory, fullname.rpartition(".")[2] + ".py")
            if source.is_file():
                if self._pure:
                    return spec_from_file_location(fullname, source)
                spec = PathFinder.find_spec(fullname, [directory])
                if spec is not None and _is_extension(spec):
                    _refuse_if_stale(Path(str(spec.origin)), source)
                return spec
        return None


def install(*, pure: bool) -> None:
    """Has every later import of a `*_cy` module go through `Finder`."""
    sys.meta_path.insert(0, Finder(pure=pure))


def cython_modules() -> list[str]:
    """Dotted names of the modules that compile, found by their file names."""
    sources = sorted(PACKAGE.glob("**/_*_cy.py"))
    return [
        ".".join(("pgmux", *source.relative_to(PACKAGE).with_suffix("").parts))
        for source in sources
    ]


def form() -> str:
    """Answers "compiled" if every `*_cy` module is an extension, "uncompiled" if none, else
    "partly compiled". Raises: StaleModule.
    """
    compiled = [_is_extension(spec) for spec in map(find_spec, cython_modules()) if spec]
    if not any(compiled):
        return "uncompiled"
    return "compiled" if all(compiled) else "partly compiled"


def _is_extension(spec: ModuleSpec) -> bool:
    return str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))


def _refuse_if_stale(extension: Path, source: Path) -> None:
    """setup.py leaves the text in every module that it builds. Raises: StaleModule."""
    text = f"pgmux: compiled from {zlib.crc32(source.read_bytes()):08x}"
    with extension.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        if code.find(text.encode()) < 0:
            raise StaleModule(
                f"{extension} was not compiled from {source.name} as it is now: run `make build` "
                "in a source tree, else install pgmux anew; or set PGMUX_PURE=1, which runs the "
                "source uncompiled"
            )
