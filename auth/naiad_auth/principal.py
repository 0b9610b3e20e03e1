"""The one who asks, and the variable in which a request's handlers find them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """`read` and `write` are the projects ("workspace/name") allowed; None means all."""

    name: str
    read: frozenset[str] | None = None
    write: frozenset[str] | None = None

    def may_read(self, project: str) -> bool:
        return self.read is None or project in self.read

    def may_write(self, project: str) -> bool:
        return self.write is None or project in self.write


# Everybody, where nobody has to log in.
ANONYMOUS = Principal("anonymous")

# No default: a handler that is reached without authentication must fail, not pass.
_current: ContextVar[Principal] = ContextVar("naiad_principal")


def current_principal() -> Principal:
    """Who made the request being handled.

    Raises RuntimeError when nothing authenticated it: the server lacks its AuthInterceptor.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "this request was not authenticated; build the server with"
            " interceptors=[AuthInterceptor(...)]"
        ) from None


def become(principal: Principal) -> None:
    """Makes `principal` the current one of the running task's context."""
    _current.set(principal)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """What runs inside is done as `principal`: for front ends that aren't gRPC."""
    before = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(before)
