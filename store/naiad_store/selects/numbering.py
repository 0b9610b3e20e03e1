"""Numbers of series in SQL, without a join: a join of millions of rows with a list of series cost
twice what the rest of their question did."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from naiad_store.selects.rolled import Series

T = TypeVar("T")

# Of a series that is not in the list.
NONE = (1 << 32) - 1


def number_of(series: Sequence[Series], given: dict[str, object]) -> str:
    """SQL of the place in `series`, in which each stands once, of the columns run and path."""
    paths = sorted({path for _, path in series})
    runs = sorted({run for run, _ in series})
    salts = [0] * len(paths)
    while len({run ^ salt for run in runs for salt in salts}) < len(runs) * len(paths):
        salts = [random.getrandbits(64) for _ in paths]
    salt_of = dict(zip(paths, salts, strict=True))
    given["keys"] = [run ^ salt_of[path] for run, path in series]
    given["places"] = list(range(len(series)))
    key = "run"
    if len(paths) > 1:
        given["names"], given["salts"] = paths, salts
        key = (
            "bitXor(run, transform(path, {names:Array(String)}, {salts:Array(UInt64)},"
            " toUInt64(0)))"
        )
    return f"transform({key}, {{keys:Array(UInt64)}}, {{places:Array(UInt32)}}, toUInt32({NONE}))"


def rounds(pieces: Iterable[tuple[Series, T]]) -> list[list[tuple[Series, T]]]:
    """Lists in which each series stands once."""
    found: list[list[tuple[Series, T]]] = []
    times: dict[Series, int] = {}
    for series, piece in pieces:
        number = times.get(series, 0)
        times[series] = number + 1
        if number == len(found):
            found.append([])
        found[number].append((series, piece))
    return found
