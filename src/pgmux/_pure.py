"""Which form of the `*_cy.py` modules runs: the compiled one, or the same source uncompiled.

Python's own finders prefer an extension module to the source beside it. With PGMUX_PURE=1 the
package puts `PureFinder` before them, and it answers with the source.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent


class PureFinder:
    """Finds pgmux's `*_cy` modules as source, whatever lies beside it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not (fullname.startswith("pgmux.") and fullname.endswith("_cy")):
            return None
        for directory in path or ():
            source = Path(directory, fullname.rpartition(".")[2] + ".py")
            if source.is_file():
                return spec_from_file_location(fullname, source)
        return None


def install() -> None:
    """Makes every later import of a `*_cy` module load its source."""
    sys.meta_path.insert(0, PureFinder())


def cython_modules() -> list[str]:
    """Dotted names of the modules that compile, found by their file names."""
    sources = sorted(PACKAGE.glob("**/_*_cy.py"))
    return [
        ".".join(("pgmux", *source.relative_to(PACKAGE).with_suffix("").parts))
        for source in sources
    ]


def form() -> str:
    """Answers "compiled" if every `*_cy` module is an extension, "pure" if none, else "mixed"."""
    origins = [str(spec.origin) for spec in map(find_spec, cython_modules()) if spec]
    compiled = [origin.endswith(tuple(EXTENSION_SUFFIXES)) for origin in origins]
    if not any(compiled):
        return "pure"
    return "compiled" if all(compiled) else "mixed"
