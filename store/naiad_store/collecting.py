"""What the roller has left behind is removed, some time after it was found.

Enters: a store, again and again. Leaves: fewer rows of `rollups` and `dirty_stretches`.

Promised: what a question may still count on that was begun less than `delay` before is there. What
is found twice, so long apart, goes. Rows go when they are worth the rewriting of those beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from naiad_store.purging import bytes_per_row
from naiad_store.selects.rolled import GOOD_FOR
from naiad_store.selects.superseded import (
    DealtWith,
    Edition,
    Home,
    Part,
    dealt_with,
    editions,
    merged_kept,
    parts,
    remove_editions,
    remove_marks,
    settled,
)
from naiad_store.store import Store

# In seconds. A question looks at its age itself.
DELAY = 2 * GOOD_FOR
# Of a table's rows, from when on they are removed: those beside them are written once more.
SHARE = 0.05
# Rows of `rollups` that are looked at in one go, and editions that are remembered.
_ROWS = 200_000_000
_MOST = 100_000


class Removed(NamedTuple):
    rollups: int
    marks: int
    # About.
    bytes: int


@dataclass(slots=True)
class _Seen:
    """When it was found first, how it was then, and how it is to go once that is long ago."""

    at: float
    edition: Edition
    due: Edition | None = None


class Collector:
    """Of one process, which may come and go: what it remembers it finds again."""

    def __init__(
        self,
        store: Store,
        *,
        delay: float = DELAY,
        share: float = SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`delay`: seconds. `share`: of a table, below which nothing is removed."""
        self._store = store
        self._delay = delay
        self._share = share
        self._clock = clock
        self._seen: dict[tuple[str, str, int, int], _Seen] = {}
        self._marks: dict[tuple[str, str, int, int], tuple[float, DealtWith]] = {}
        # Where the last look has ended.
        self._after = ("", "")

    def collect(self, home: Home | None = None) -> Removed:
        """Looks, and removes what is due. Raises StoreError; then it can be done again."""
        self._look(home)
        rows, size = self._remove_editions()
        return Removed(rows, self._remove_marks(home), size)

    # --- rollups ------------------------------------------------------------------------------

    def _look(self, home: Home | None) -> None:
        known = settled(self._store)
        everything = list(parts(self._store))
        paths = {(one.project, path) for one in everything for path in one.paths}
        self._seen = {key: seen for key, seen in self._seen.items() if key[:2] in paths}
        rest = [one for one in everything if (one.project, one.paths[0]) > self._after]
        count = 0
        for part in rest or everything:
            self._look_at(part, editions(self._store, part, known, home))
            self._after = (part.project, part.paths[-1])
            count += part.rows
            if count >= _ROWS:
                return
        self._after = ("", "")

    def _look_at(self, part: Part, found: list[Edition]) -> None:
        now = self._clock()
        paths = set(part.paths)
        there = {one[:4]: one for one in found}
        for key in [key for key in self._seen if key[0] == part.project and key[1] in paths]:
            if key not in there:
                del self._seen[key]
        for key, edition in there.items():
            seen = self._seen.get(key)
            if seen is None:
                if len(self._seen) < _MOST:
                    self._seen[key] = _Seen(now, edition)
            elif now - seen.at >= self._delay:
                kept = merged_kept((*seen.edition.kept, *edition.kept))
                self._seen[key] = _Seen(now, edition, seen.edition._replace(kept=kept))

    def _remove_editions(self) -> tuple[int, int]:
        due = [seen.due for seen in self._seen.values() if seen.due]
        rows = sum(one.rows for one in due)
        if not due or rows < self._share * _count(self._store, "rollups"):
            return 0, 0
        mean = bytes_per_row(self._store).get("rollups", 0.0)
        remove_editions(self._store, due)
        for one in due:
            del self._seen[one[:4]]
        return rows, round(rows * mean)

    # --- marks --------------------------------------------------------------------------------

    def _remove_marks(self, home: Home | None) -> int:
        now = self._clock()
        found = dealt_with(self._store, settled(self._store), home)
        seen = {one[:4]: self._marks.get(one[:4], (now, one)) for one in found}
        self._marks = seen
        due = []
        for one in found:
            at, before = seen[one[:4]]
            if now - at >= self._delay:
                due.append(one._replace(through=min(before.through, one.through)))
        count = sum(one.marks for one in due)
        if not due or count < self._share * _count(self._store, "dirty_stretches"):
            return 0
        remove_marks(self._store, due)
        for one in due:
            del self._marks[one[:4]]
        return count


def _count(store: Store, table: str) -> int:
    return int(store.query(f"SELECT count() AS rows FROM {table}").column(0)[0].as_py())


class Leavings(NamedTuple):
    """Rows, and how many of them are superseded; marks, and how many are dealt with."""

    rollups: int
    superseded: int
    marks: int
    dealt_with: int


def leavings(store: Store) -> Leavings:
    """Raises StoreError."""
    known = settled(store)
    superseded = sum(one.rows for part in parts(store) for one in editions(store, part, known))
    marks = sum(one.marks for one in dealt_with(store, known))
    return Leavings(_count(store, "rollups"), superseded, _count(store, "dirty_stretches"), marks)
