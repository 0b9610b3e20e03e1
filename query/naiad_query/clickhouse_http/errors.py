"""Errors as ClickHouse's HTTP interface says them.

The codes and which status each has: src/Common/ErrorCodes.cpp and
src/Server/HTTP/exceptionCodeToHTTPStatus.cpp of ClickHouse.
"""

from __future__ import annotations

import re

BAD_ARGUMENTS = 36
UNKNOWN_TABLE = 60
SYNTAX_ERROR = 62
UNKNOWN_DATABASE = 81
READONLY = 164
REQUIRED_PASSWORD = 194
LIMIT_EXCEEDED = 290
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
UNAVAILABLE = 415

_NAMES = {
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    UNKNOWN_TABLE: "UNKNOWN_TABLE",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    UNKNOWN_DATABASE: "UNKNOWN_DATABASE",
    READONLY: "READONLY",
    REQUIRED_PASSWORD: "REQUIRED_PASSWORD",
    LIMIT_EXCEEDED: "LIMIT_EXCEEDED",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
}
_STATUS = {
    REQUIRED_PASSWORD: 401,
    **dict.fromkeys((192, 193, ACCESS_DENIED, AUTHENTICATION_FAILED), 403),
    # What can't be read or is no value of its type.
    **dict.fromkeys(
        (6, 26, 27, 33, 36, 38, 41, 42, 43, 44, 50, 53, 62, 63, 69, 70, 72, 117, 386, 427, 457), 400
    ),
    # Unknown names.
    **dict.fromkeys((8, 10, 16, 46, 47, 60, 61, 73, 81, 115, 371), 404),
    48: 501,  # NOT_IMPLEMENTED
    159: 408,  # TIMEOUT_EXCEEDED
    **dict.fromkeys((76, 209, 439), 503),
    **dict.fromkeys((223, 229), 413),
}
_CODE = re.compile(r"\bCode:\s*(\d+)")


class AskedWrongly(Exception):
    """The request ends with this; the message is for the user."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @property
    def text(self) -> str:
        name = f" ({_NAMES[self.code]})" if self.code in _NAMES else ""
        message = self.message.removesuffix(name)
        return f"Code: {self.code}. DB::Exception: {message}{name}"


class EngineRefused(AskedWrongly):
    """The engine's own words, which have code and name in them."""

    def __init__(self, message: str) -> None:
        found = _CODE.search(message)
        super().__init__(message, int(found[1]) if found else 1000)

    @property
    def text(self) -> str:
        start = self.message.find("Code: ")
        return self.message[max(start, 0) :].strip()


def status_of(code: int) -> int:
    return _STATUS.get(code, 500)
