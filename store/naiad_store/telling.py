"""Errors of the engine and of the way to it, as ours."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator

import pyarrow as pa
import urllib3
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from clickhouse_connect.driver.exceptions import Error as ServerError

from naiad_store.address import Address
from naiad_store.errors import RowsRefused, StoreError, StoreUnavailable, one_line, store_error

_CODE = re.compile(r"\bCode:\s*(\d+)")
_STATUS = re.compile(r"HTTP status (\d{3})")
_URL = re.compile(r" \(for url [^)]*\)$")
# Of a server without words of ClickHouse's: a proxy whose server is away or overloaded.
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
# No user of that name, or another password.
LOGIN_REFUSED = frozenset({192, 193, 194, 516})


@contextlib.contextmanager
def told(what: str, address: Address, *, inserting: bool = False) -> Iterator[None]:
    """Raises StoreError and its kinds, beginning with `what` failed."""
    try:
        yield
    except StoreError:
        raise
    except ServerError as error:
        if error.code is None:
            raise _without_code(what, address, error) from error
        message = _URL.sub("", str(error))
        message = re.sub(
            r"^Received ClickHouse exception, code: \d+, server response: ", "", message
        )
        if error.code in LOGIN_REFUSED and address.host:
            raise StoreError(
                f"{what} failed: {_place(address)} does not take the user"
                f" {address.user or 'default'!r} with this password; both stand in the store's"
                f" URL, with % before what is no letter: {one_line(message)}",
                error.code,
            ) from error
        raise store_error(what, message, error.code, inserting=inserting) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        if address.host and not inserting:
            raise _no_answer(what, address, str(error)) from error
        kind = RowsRefused if inserting else StoreError
        raise kind(f"{what} failed: {one_line(str(error))}") from error
    except OSError as error:
        # Arrow's word for a stream that is none, for one.
        raise _no_answer(what, address, str(error)) from error
    except (
        ClickHouseError,
        pa.ArrowException,
        RuntimeError,
        urllib3.exceptions.HTTPError,
    ) as error:
        message = str(error).removeprefix("Streaming query failed: ")
        if code := _CODE.search(message):
            raise store_error(what, message, int(code[1]), inserting=inserting) from error
        if address.host:
            raise StoreUnavailable(
                f"{what} failed: {_place(address)}: {one_line(message)}"
            ) from error
        raise StoreError(f"{what} failed: {one_line(message)}") from error


def _without_code(what: str, address: Address, error: ServerError) -> StoreError:
    """Of something that is not ClickHouse's own word."""
    text = _URL.sub("", str(error))
    if code := _CODE.search(text):
        return store_error(what, text, int(code[1]))
    if status := _STATUS.search(text):
        number = int(status[1])
        kind = StoreUnavailable if number in _PASSING_STATUSES else StoreError
        body = text.partition("server response: ")[2]
        return kind(
            f"{what} failed: at {_place(address)} something answers with HTTP status {number} that"
            f" is not ClickHouse's word: a proxy before it, perhaps:"
            f" {one_line(_words(body))[:200] or 'nothing more'}"
        )
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return StoreError(
            f"{what} failed: TLS with {_place(address)} does not come about:"
            f" {one_line(str(cause))}; ca=FILE in the URL names whom to trust, and clickhouse://"
            " goes without TLS"
        )
    if cause is not None:
        return StoreUnavailable(
            f"{what} failed: the store at {_place(address)} can't be reached: {_said(cause)}"
        )
    if not isinstance(error, OperationalError):
        return StoreError(f"{what} failed: {one_line(text)}")
    if address.host:
        return _no_answer(what, address, text)
    return StoreUnavailable(f"{what} failed: {one_line(text)}")


def _no_answer(what: str, address: Address, text: str) -> StoreUnavailable:
    place = f" at {_place(address)}" if address.host else ""
    return StoreUnavailable(
        f"{what} failed: the answer{place} can't be read, which is none of ClickHouse's or is"
        f" broken: {one_line(_words(text))[:200]}"
    )


def _place(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _words(text: str) -> str:
    """Of HTML what it says."""
    text = re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", text)
    return re.sub(r"<[^>]*>", " ", text)


def _cause(error: BaseException) -> BaseException | None:
    """What lies at the bottom of an error of the connection."""
    seen: set[int] = set()
    found: BaseException | None = None
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        if isinstance(following, OSError | urllib3.exceptions.HTTPError):
            found = following
        reason = getattr(following, "reason", None)
        following = (
            reason if isinstance(reason, BaseException)
            else following.__cause__ or following.__context__
        )  # fmt: skip
    return found


def _said(cause: BaseException) -> str:
    if isinstance(cause, socket.gaierror):
        return f"its name is not known ({cause.strerror})"
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return one_line(str(cause)) or type(cause).__name__
