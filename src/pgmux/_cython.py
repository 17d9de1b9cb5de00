"""Typed stand-in for the `cython` module, so that the `*_cy.py` modules run and type-check without Cython.

The compiled modules import it as

    if TYPE_CHECKING:
        from pgmux import _cython as cython
    else:
        try:
            import cython
        except ModuleNotFoundError:
            from pgmux import _cython as cython

The decorators do nothing, the C types are `int`, `bool` and `bytes`. Only names in use are here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

compiled = False

Py_ssize_t = int
bint = bool
int = int  # noqa: A001  the C type of that name
longlong = int
uchar = int
p_const_uchar = bytes


def cclass(cls: T) -> T:
    """An extension type when compiled."""
    return cls


def cfunc(function: T) -> T:
    """A C function, invisible from Python when compiled."""
    return function


def ccall(function: T) -> T:
    """Callable from C and from Python when compiled."""
    return function


def inline(function: T) -> T:
    """Hint for the C compiler."""
    return function


def final(cls: T) -> T:
    """An extension type without subclasses: its methods are called directly."""
    return cls


def declare(type_: Any, value: T = None) -> T:  # type: ignore[assignment]
    """A C variable when compiled; untyped module constants cost ten times as much."""
    return value


def locals(**types: Any) -> Callable[[T], T]:  # noqa: A001  Cython's name
    """C types of a function's variables."""

    def decorate(function: T) -> T:
        return function

    return decorate
