"""Finds what is whole behind what is torn, in a segment that nobody writes any more.

A slot whose length is intact is skipped by it. Where the length is broken too, the next place
is searched, at multiples of 8, at which a slot stands whose check matches.

How many records a hole had is known if each of its slots has its length, or if the next
segment says where its own numbers begin. With several holes that nobody can count, the first
of them is given all that are missing: numbers rise, and none is given twice.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from naiad.spool.layout import (
    METRICS_HEAD,
    ROW,
    SLOT,
    STRING_HEAD,
    Kind,
    first_word,
    padded,
    payload_bytes,
)

# No item is larger; a search that believed every length would read the segment many times.
_LARGEST_ITEM = 4 * 1024 * 1024
_SEARCHED_AT_ONCE = 128 * 1024

_U32 = struct.Struct("<I")

Buffer: TypeAlias = bytes | memoryview


@dataclass(slots=True)
class Hole:
    """From `begin` to `end` of the file nothing can be read."""

    begin: int
    end: int
    # Is it one slot whose length is intact?
    counted: bool
    # Records that it takes.
    records: int


def is_slot(data: Buffer, at: int, end: int) -> int:
    """Where the slot at `at` ends; 0 unless it is a whole one."""
    if end - at <= SLOT.size:
        return 0
    length, check = SLOT.unpack_from(data, at)
    body = at + SLOT.size
    size, seed = payload_bytes(length), length if length & ROW else 0
    behind = body + padded(size)
    if not size or behind > end or not (seed or data[body] in _KINDS):
        return 0
    return behind if zlib.crc32(memoryview(data)[body : body + size], seed) == check else 0


_KINDS = frozenset(Kind)


def is_record(data: Buffer, at: int) -> bool:
    """Is the slot at `at` one? Not if it defines a shape."""
    return bool(_U32.unpack_from(data, at)[0] & ROW) or data[at + SLOT.size] != Kind.SHAPE


def survey(data: Buffer, base: int, committed: int, rows: set[int]) -> tuple[list[Hole], int]:
    """The holes of `data`, which stands at `base` in its file, and how many whole records
    there are. What follows the last whole slot is a hole only as far as it was published.
    `rows`: what slots of known shapes begin with; those that are found are added."""
    holes: list[Hole] = []
    good = at = 0
    end = len(data)
    while at < end:
        behind = is_slot(data, at, end)
        if behind:
            if is_record(data, at):
                good += 1
            else:
                length, _ = SLOT.unpack_from(data, at)
                rows.add(first_word(bytes(data[at + SLOT.size : at + SLOT.size + length])))
            at = behind
            continue
        hole = _skip(data, at, end, committed - base, rows)
        if hole is None:
            break
        at = hole.end
        hole.begin += base
        hole.end += base
        holes.append(hole)
    return holes, good


def _skip(data: Buffer, at: int, end: int, committed: int, rows: set[int]) -> Hole | None:
    found = next_slot(data, at + 8, end, rows)
    if end - at > SLOT.size:
        size = payload_bytes(SLOT.unpack_from(data, at)[0])
        behind = at + SLOT.size + padded(size)
        lands = behind == committed or (behind < end and is_slot(data, behind, end))
        # A whole one before that says that it is the length that is wrong.
        if size and lands and (found is None or found >= behind):
            return Hole(at, behind, True, int(is_record(data, at)))
    if found is not None:
        return Hole(at, found, False, 1)
    return Hole(at, committed, False, 1) if at < committed else None


def next_slot(data: Buffer, at: int, end: int, rows: set[int]) -> int | None:
    """The first multiple of 8 from `at` on where a whole slot stands. Of rows of metrics only
    of known shapes: half of all numbers look like one."""
    known = np.array(sorted(rows), "<u4")
    while (places := min(_SEARCHED_AT_ONCE, (end - at) // 8 - 1)) > 0:
        words = np.frombuffer(data, "<u4", 2 * (places + 1), at).reshape(-1, 2)
        # Zeros are by far the most; a length is never 0.
        lengths, kinds = words[:-1, 0], words[1:, 0] & 0xFF
        likely = (lengths != 0) & (lengths <= end - at) & (kinds >= 1) & (kinds <= max(Kind))
        likely |= np.isin(lengths, known)
        for place in np.flatnonzero(likely).tolist():
            candidate = at + 8 * place
            if _plausible(data, candidate, end) and is_slot(data, candidate, end):
                return candidate
        at += 8 * places
    return None


def _plausible(data: Buffer, at: int, end: int) -> bool:
    """Cheap questions first: a check over what is no slot may take long."""
    body = at + SLOT.size
    length, _ = SLOT.unpack_from(data, at)
    if length & ROW:
        return True
    kind = data[body]
    if kind not in _KINDS or body + padded(length) > end:
        return False
    if any(data[body + length : body + padded(length)]):
        return False
    if kind == Kind.ITEM:
        return bool(length <= _LARGEST_ITEM)
    if any(data[body + 1 : body + 4]):
        return False
    if kind == Kind.METRICS:
        return bool(length >= METRICS_HEAD.size and (length - METRICS_HEAD.size) % 8 == 0)
    return bool(kind != Kind.STRING or length >= STRING_HEAD.size)


def share_out(holes: list[Hole], missing: int | None) -> None:
    """Gives each hole its number of records; `missing`: how many there are in all, if that is
    known."""
    if missing is None:
        return
    for hole in holes:
        hole.records = min(hole.records, missing) if hole.counted else 0
        missing -= hole.records
    if holes and missing:
        next((hole for hole in holes if not hole.counted), holes[-1]).records += missing
