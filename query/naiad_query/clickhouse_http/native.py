"""ClickHouse's Native format, as its own drivers want it over HTTP.

The engine writes it as it stands in files. A client that says a `client_protocol_version` expects
what the TCP protocol has besides: before each block a few words about it, and, since revision
54454, behind the type of each column whether its values are written in a special way. For that
it has to be known where a column ends, which only reading its type and values tells.

https://clickhouse.com/docs/native-protocol/columns
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Iterable
from typing import NamedTuple

from naiad_query.clickhouse_http.errors import AskedWrongly

_CUSTOM_SERIALIZATION = 54454
# Field 1, is_overflows: no; field 2, bucket_num: -1; the end.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_BROKEN = 32
_NOT_IMPLEMENTED = 48
_SIZES = {
    "Bool": 1, "Date": 2, "Date32": 4, "DateTime": 4, "DateTime64": 8, "Decimal32": 4,
    "Decimal64": 8, "Decimal128": 16, "Decimal256": 32, "Enum8": 1, "Enum16": 2, "Float32": 4,
    "Float64": 8, "BFloat16": 2, "IPv4": 4, "IPv6": 16, "Nothing": 1, "Time": 4, "Time64": 8,
    "UUID": 16,
    **{f"{sign}Int{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)},
    **{f"Interval{unit}": 8 for unit in ("Nanosecond", "Microsecond", "Millisecond", "Second",
       "Minute", "Hour", "Day", "Week", "Month", "Quarter", "Year")},
}  # fmt: skip
# Of LowCardinality: how wide an index is, and whether the values stand with it.
_INDEX_BYTES = (1, 2, 4, 8)
_HAS_KEYS = 1 << 9


def framed(pieces: Iterable[bytes], revision: int) -> Generator[bytes]:
    """Blocks as the engine wrote them, cut anywhere, for a client of `revision`; holds one block.
    Raises AskedWrongly for a type whose values can't be read here."""
    waiting, enough = bytearray(), 1
    for piece in pieces:
        waiting += piece
        if len(waiting) < enough:
            continue
        data, done = bytes(waiting), 0
        while done < len(data) and (block := _block(data, done, revision)):
            yield block.framed
            done = block.end
        del waiting[:done]
        # A block is read from its begin again once there is twice as much of it, so that reading
        # it costs no more the more pieces it comes in.
        enough = 2 * len(waiting) if waiting else 1
    data, done = bytes(waiting), 0
    while done < len(data):
        block = _block(data, done, revision)
        if block is None:
            raise AskedWrongly("the answer ends in the middle of a block", _BROKEN)
        yield block.framed
        done = block.end


class _Block(NamedTuple):
    framed: bytes
    # Where it ends in what the engine wrote.
    end: int


class _Unfinished(Exception):
    """More is to come of it."""


def _block(data: bytes, place: int, revision: int) -> _Block | None:
    """The block that begins there; None where it goes on behind `data`."""
    try:
        return _whole_block(data, place, revision)
    except (_Unfinished, IndexError, struct.error):
        return None


def _whole_block(data: bytes, place: int, revision: int) -> _Block:
    columns, at = _number(data, place)
    rows, at = _number(data, at)
    out = [_BLOCK_INFO, data[place:at]]
    for _ in range(columns):
        begin = at
        _, at = _text(data, at)
        kind, at = _text(data, at)
        out.append(data[begin:at])
        if revision >= _CUSTOM_SERIALIZATION:
            out.append(b"\0")
        if rows:
            begin = at
            at = _end(_Type.parse(kind), rows, data, at + 8 * _Type.parse(kind).prefixes)
            if at > len(data):
                raise _Unfinished
            out.append(data[begin:at])
    return _Block(b"".join(out), at)


class _Type:
    """A type by its name and what stands in its parentheses, as far as sizes depend on it."""

    def __init__(self, name: str, inner: list[_Type], width: int = 0) -> None:
        self.name = name
        self.inner = inner
        self.width = width

    @property
    def prefixes(self) -> int:
        """LowCardinality in it: each has 8 bytes before the column."""
        own = self.name == "LowCardinality"
        return own + sum(inner.prefixes for inner in self.inner)

    @classmethod
    def parse(cls, text: str) -> _Type:
        name, _, rest = text.partition("(")
        inside = rest.removesuffix(")")
        arguments = _split(inside) if inside else []
        match name:
            case "FixedString":
                return cls(name, [], int(arguments[0]))
            case "Decimal":
                digits = int(arguments[0])
                width = next(width for most, width in ((9, 4), (18, 8), (38, 16), (76, 32))
                             if digits <= most)  # fmt: skip
                return cls(name, [], width)
            case "Array" | "Nullable" | "LowCardinality" | "Map":
                return cls(name, [cls.parse(one) for one in arguments])
            case "Tuple" | "Nested":
                # `name Type` where they are named.
                types = [re.sub(r"^(`(?:[^`\\]|\\.)*`|\w+) +(?=\w)", "", one) for one in arguments]
                return cls(name, [cls.parse(one) for one in types])
            case "SimpleAggregateFunction":
                return cls.parse(arguments[1])
            case "String":
                return cls(name, [])
        if name in _SIZES:
            return cls(name, [], _SIZES[name])
        raise AskedWrongly(
            f"values of type {text[:100]} can't be sent in this version of the Native format; ask"
            " for them as toString(...)",
            _NOT_IMPLEMENTED,
        )


def _end(kind: _Type, rows: int, data: bytes, at: int) -> int:
    """Where `rows` values end that begin at `at`."""
    if kind.width:
        return at + rows * kind.width
    match kind.name:
        case "String":
            for _ in range(rows):
                size, at = _number(data, at)
                at += size
            return at
        case "Nullable":
            return _end(kind.inner[0], rows, data, at + rows)
        case "Tuple":
            for inner in kind.inner:
                at = _end(inner, rows, data, at)
            # One without elements has a byte a row.
            return at if kind.inner else at + rows
        case "Array" | "Map" | "Nested":
            if not rows:
                return at
            (inside,) = struct.unpack_from("<Q", data, at + 8 * (rows - 1))
            at += 8 * rows
            for inner in kind.inner:
                at = _end(inner, inside, data, at)
            return at
        case _:
            return _end_of_low_cardinality(kind.inner[0], rows, data, at)


def _end_of_low_cardinality(kind: _Type, rows: int, data: bytes, at: int) -> int:
    # Its keys hold NULL as one of them.
    keys = kind.inner[0] if kind.name == "Nullable" else kind
    while rows:
        (flags,) = struct.unpack_from("<Q", data, at)
        at += 8
        if flags & _HAS_KEYS:
            (count,) = struct.unpack_from("<Q", data, at)
            at = _end(keys, count, data, at + 8)
        (here,) = struct.unpack_from("<Q", data, at)
        at += 8 + here * _INDEX_BYTES[flags & 0xFF]
        rows -= here
    return at


def _split(text: str) -> list[str]:
    """At commas that stand in no parentheses and no quotes."""
    parts, depth, begin, quote, place = [], 0, 0, "", 0
    while place < len(text):
        letter = text[place]
        if quote:
            if letter == "\\":
                place += 1
            elif letter == quote:
                quote = ""
        elif letter in "'`":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == "," and not depth:
            parts.append(text[begin:place].strip())
            begin = place + 1
        place += 1
    return [*parts, text[begin:].strip()]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, at = _number(data, at)
    if at + size > len(data):
        raise _Unfinished
    return data[at : at + size].decode("utf-8", "replace"), at + size
