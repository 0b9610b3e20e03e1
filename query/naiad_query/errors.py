"""How a call ends that can't be answered."""

from __future__ import annotations

import grpc

from naiad_proto.filters import FilterError
from naiad_store import StoreError, StoreUnavailable

# https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
BAD_ARGUMENTS = 36
UNKNOWN_FUNCTION = 46
UNKNOWN_TABLE = 60
SYNTAX_ERROR = 62
READONLY = 164
BAD_PATTERN = 427
ACCESS_DENIED = 497
LIMITS = {158, 159, 160, 241, 307, 396}


class Refused(Exception):
    """The call ends with this status; the message is for the user."""

    def __init__(self, code: grpc.StatusCode, message: str, number: int = BAD_ARGUMENTS) -> None:
        """`number`: of ClickHouse's errors the one that its own drivers know this by."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.number = number


def invalid(message: str, number: int = BAD_ARGUMENTS) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message, number)


def of_filter(error: FilterError) -> Refused:
    """The message has the filter below it, and a caret below the place."""
    return invalid(str(error))


def of_store(error: StoreError, pattern: str = "a pattern") -> Refused:
    """What the store's error means for who asked; `pattern` says which one was tried."""
    text = str(error)
    if error.code == BAD_PATTERN:
        return invalid(
            f"{pattern} is not a regular expression that RE2 takes"
            f" (https://github.com/google/re2/wiki/Syntax): {_reason(text)}"
        )
    if error.code in LIMITS:
        return Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the question needs more time or memory than is allowed; ask for less: {text}",
        )
    if isinstance(error, StoreUnavailable):
        return Refused(grpc.StatusCode.UNAVAILABLE, f"{text}; ask again")
    return Refused(grpc.StatusCode.INTERNAL, text)


# What a question raises for a reason that its asker is told.
WITH_REASON = (Refused, FilterError, StoreError)


def refusal(error: Refused | FilterError | StoreError) -> Refused:
    match error:
        case Refused():
            return error
        case FilterError():
            return of_filter(error)
        case _:
            return of_store(error)


def _reason(text: str) -> str:
    return text.partition("re2: ")[2].partition(". Look at")[0] or text
