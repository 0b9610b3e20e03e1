"""Numbers for strings, so that the rest of the writer works on numpy columns."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Strings in all the groups that are remembered at once.
_REMEMBERED = 1_000_000


@dataclass(frozen=True, slots=True)
class NameGroup:
    """Strings that come together, again and again: a step's metrics."""

    # int32[m]
    numbers: npt.NDArray[np.int32]
    # No other group of this process has it.
    serial: int


class Names:
    """Gives each string a number, the same for the same string, for life."""

    _serials = itertools.count()

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []
        self._groups: dict[tuple[str, ...], NameGroup] = {}
        self._remembered = 0

    def __len__(self) -> int:
        return len(self._words)

    def number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._words)
            self._words.append(name)
        return number

    def group(self, names: tuple[str, ...]) -> NameGroup:
        """The numbers of several; looked up as one when they have come together before."""
        found = self._groups.get(names)
        if found is None:
            numbers = np.fromiter(map(self.number, names), np.int32, len(names))
            found = NameGroup(numbers, next(self._serials))
            if self._remembered + len(names) > _REMEMBERED:
                self._groups.clear()
                self._remembered = 0
            self._groups[names] = found
            self._remembered += len(names)
        return found

    def dictionary(self, numbers: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], pa.Array]:
        """The strings that `numbers` uses, in alphabetical order, and for each of
        `numbers` the place of its string there."""
        used = np.zeros(len(self._words), np.bool_)
        used[numbers] = True
        distinct = np.flatnonzero(used)
        words = pa.array([self._words[number] for number in distinct.tolist()], pa.string())
        order = pc.sort_indices(words)
        places = np.zeros(len(self._words), np.int32)
        places[distinct[order.to_numpy()]] = np.arange(len(distinct), dtype=np.int32)
        return places[numbers], words.take(order)
