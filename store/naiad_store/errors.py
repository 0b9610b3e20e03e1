"""What can go wrong with a store, by what the caller should do.

StoreError              the statement or the store is wrong: say so and stop
  StoreBusy             another process has the folder: end that one
  StoreTooNew           a newer release made the store: upgrade
  StoreUnavailable      it can't answer now: ask again later
  RowsRefused           these rows can't be stored, and never will be
"""

from __future__ import annotations


class StoreError(Exception):
    """The store could not be opened or asked; the message says why.

    `code` is ClickHouse's error number where there is one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class StoreBusy(StoreError):
    """Another process has the folder open."""


class StoreTooNew(StoreError):
    """A newer release made the store."""


class StoreUnavailable(StoreError):
    """The store can't answer now: out of memory, disk or reach. The same may work later."""


class RowsRefused(StoreError):
    """An insert failed for what stands in its rows; inserting them again won't help."""


# https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
_PASSING = frozenset(
    {
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        76,  # CANNOT_OPEN_FILE
        77,  # CANNOT_CLOSE_FILE
        159,  # TIMEOUT_EXCEEDED
        198,  # DNS_ERROR
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        369,  # ALL_REPLICAS_ARE_STALE
        394,  # QUERY_WAS_CANCELLED, as at a server's shutdown
        415,  # ALL_REPLICAS_LOST
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        574,  # DISTRIBUTED_TOO_MANY_PENDING_BYTES
        999,  # KEEPER_EXCEPTION
    }
)
# Under the number of any C++ exception, where it isn't the engine's own.
_NO_SPACE = "No space left on device"
_ABOUT_ROWS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        33,  # CANNOT_READ_ALL_DATA
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
    }
)


def store_error(
    what: str, message: str, code: int | None, *, inserting: bool = False
) -> StoreError:
    """The error for ClickHouse's `message`, as one line that begins with `what` failed."""
    line = f"{what} failed: {one_line(message)}"
    if code in _PASSING or _NO_SPACE in message:
        return StoreUnavailable(line, code)
    if inserting and code in _ABOUT_ROWS:
        return RowsRefused(line, code)
    return StoreError(line, code)


def one_line(message: str) -> str:
    return " ".join(message.split())[:2000]
