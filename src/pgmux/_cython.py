"""Typed stand-in for the `cython` module, so that the `*_cy.py` modules run and type-check without
Cython.

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
from typing import Any, TypeVar, overload

T = TypeVar("T")

_int = int  # `int` itself is the C type below
_bool = bool
Py_ssize_t = int
bint = bool
int = int  # noqa: A001  the C type of that name
double = float
longlong = int
uint = int
char: Any = None  # char[n] is an array
uchar: Any = None
p_char = Any
ulonglong: Any = list  # ulonglong[n] is an array
compiled = False
# libc's; used by compiled code alone, as the system calls below are
EAGAIN = ECONNABORTED = EINTR = errno = 0
nogil: Any = None
epoll_event: Any = None  # epoll_event[n] is an array


def cclass(cls: T) -> T:
    """An extension type when compiled."""
    return cls


def cfunc(function: T) -> T:
    """A C function, invisible from Python when compiled."""
    return function


def final(cls: T) -> T:
    """A class without subclasses: its methods are called directly."""
    return cls


def boundscheck(check: _bool) -> Callable[[T], T]:
    """Whether an index out of range raises IndexError."""
    return lambda function: function


def wraparound(wrap: _bool) -> Callable[[T], T]:
    """Whether an index below 0 counts from the end."""
    return lambda function: function


def ccall(function: T) -> T:
    """A C function that Python can call, too."""
    return function


@overload
def declare(type_: type[_bool], value: _bool = ..., *, visibility: str = ...) -> _bool: ...
@overload
def declare(type_: type[_int], value: _int = ..., *, visibility: str = ...) -> _int: ...
@overload
def declare(type_: type[float], value: float = ..., *, visibility: str = ...) -> float: ...
@overload
def declare(type_: type[object], value: Any = ..., *, visibility: str = ...) -> Any: ...
def declare(type_: Any, value: Any = None, *, visibility: str = "private") -> Any:
    """A C variable when compiled; untyped module constants cost ten times as much."""
    return value


def cast(type_: Callable[[Any], T], value: Any) -> T:
    """C's cast."""
    return type_(value)


def address(value: Any) -> Any:
    """C's `&`."""
    raise NotImplementedError


def epoll_wait(fd: _int, events: Any, most: _int, timeout: _int) -> _int:
    """epoll_wait(2)."""
    raise NotImplementedError


def accept4(fd: _int, sockaddr: Any, size: Any) -> _int:
    """accept4(2), non-blocking and close-on-exec."""
    raise NotImplementedError


def recv(fd: _int, buffer: Any, size: _int, flags: _int) -> _int:
    """recv(2)."""
    raise NotImplementedError


def send(fd: _int, buffer: Any, size: _int, flags: _int) -> _int:
    """send(2)."""
    raise NotImplementedError
