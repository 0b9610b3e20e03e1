"""The lives of a run: which of them a writer belongs to, and which are in the trash.

A run id may be used again after its run was deleted. Each use is a **life**, with an incarnation,
and so a key and rows, of its own. Lives end by tombstones, and a writer's epoch alone says which
life is its: rows that come late, again or in another order go where the others went.

    epochs   1 … until      … until'     …
             life 0   |  life a    | life b     tombstones (until, 0, next a), (until', a, next b)

A tombstone's `next` changes when a life is restored: writers after the last end go on with it.
Changes of a run carry epochs above all that were known of it, so of two changes the one with the
lower version was overtaken, or comes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from naiad_store.keys import run_key

# Of no life: changes of the run themselves are its records.
CHANGES = (1 << 32) - 1

TRASH, PURGED, RESTORED = "trash", "purged", "restored"


class NotPossible(ValueError):
    """A change that can't be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A row of `tombstones`. Times are milliseconds since the Unix epoch."""

    project: str
    run_id: str
    until: int
    incarnation: int
    next: int
    state: str
    deleted_at: int
    deleted_by: str
    changed_at: int
    changed_by: str
    version: int

    @property
    def run(self) -> int:
        return run_key(self.project, self.run_id, self.incarnation)


@dataclass(frozen=True, slots=True)
class Change:
    """By whom a run is changed, when, and under which epoch and version."""

    epoch: int
    version: int
    at: int
    by: str


@dataclass
class Lives:
    """Of one run id, from its tombstones."""

    project: str
    run_id: str
    # Ascending by `until`.
    ends: list[Tombstone] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ends.sort(key=lambda end: end.until)

    def incarnation(self, epoch: int) -> int:
        """Of the life that writers of this epoch belong to."""
        for end in self.ends:
            if epoch <= end.until:
                return end.incarnation
        return self.current

    @property
    def current(self) -> int:
        """Of the life that new writers belong to, whether it has begun or not."""
        return self.ends[-1].next if self.ends else 0

    def key(self, incarnation: int) -> int:
        return run_key(self.project, self.run_id, incarnation)

    def end_of(self, incarnation: int) -> Tombstone | None:
        """The last that was said of a life; None if it was never deleted."""
        return next((end for end in reversed(self.ends) if end.incarnation == incarnation), None)

    def is_purged(self, incarnation: int) -> bool:
        end = self.end_of(incarnation)
        return end is not None and end.state == PURGED

    def is_hidden(self, incarnation: int) -> bool:
        end = self.end_of(incarnation)
        return end is not None and end.state != RESTORED

    @property
    def in_trash(self) -> list[Tombstone]:
        """The last deleted comes last."""
        return [end for end in self.ends if end.state == TRASH]

    @property
    def version(self) -> int:
        """Of the last change."""
        return max((end.version for end in self.ends), default=0)

    def delete(self, change: Change, *, until: int) -> Tombstone:
        """Moves the current life, whose writers' epochs go up to `until`, to the trash. Raises
        NotPossible."""
        until = max(until, change.epoch)
        if self.ends and until <= self.ends[-1].until:
            raise NotPossible(f"run {self.run_id!r} was deleted by another change")
        following = incarnation_after(until)
        if following in {0, CHANGES, *(end.next for end in self.ends)}:
            raise NotPossible("by chance this life can't be told from another one; try again")
        return self._take(
            Tombstone(
                self.project, self.run_id, until, self.current, following, TRASH,
                change.at, change.by, change.at, change.by, change.version,
            )
        )  # fmt: skip

    def restore(
        self, change: Change, incarnation: int | None, *, begun: Callable[[int], bool]
    ) -> list[Tombstone]:
        """Takes a life, by default the last deleted, out of the trash; `begun`: whether anything
        is there of a life. Raises NotPossible."""
        found = self._wanted(incarnation)
        wanted = next((end for end in reversed(found) if begun(end.incarnation)), found[-1])
        if begun(self.current):
            raise NotPossible(
                f"the run id {self.run_id!r} was used again after it was deleted: delete the run"
                " that has it now, then restore"
            )
        last = self.ends[-1]
        restored = self._changed(wanted, change, RESTORED)
        changed = {end.until: end for end in (last, restored)}
        changed[last.until] = replace(
            changed[last.until], next=wanted.incarnation, version=change.version
        )
        return [self._take(end) for end in changed.values()]

    def purge(self, change: Change, incarnation: int | None, *, before: int = 0) -> list[Tombstone]:
        """Gives up one life in the trash, or all of them, for good; with `before`, those that
        were deleted earlier than that. Raises NotPossible."""
        wanted = [end for end in self._wanted(incarnation) if not before or end.deleted_at < before]
        return [self._take(self._changed(end, change, PURGED)) for end in wanted]

    def _wanted(self, incarnation: int | None) -> list[Tombstone]:
        found = [end for end in self.in_trash if incarnation in (None, end.incarnation)]
        if found:
            return found
        which = f"incarnation {incarnation} of it" if incarnation is not None else "it"
        if incarnation is not None and self.in_trash:
            there = ", ".join(str(end.incarnation) for end in self.in_trash)
            raise NotPossible(
                f"run {self.run_id!r} has no incarnation {incarnation} in the trash; there are"
                f" {there}"
            )
        if any(end.state == PURGED for end in self.ends):
            raise NotPossible(
                f"run {self.run_id!r} is not in the trash: {which} was purged, and is gone for good"
            )
        raise NotPossible(f"run {self.run_id!r} is not in the trash; delete it first")

    def _changed(self, end: Tombstone, change: Change, state: str) -> Tombstone:
        return replace(
            end, state=state, changed_at=change.at, changed_by=change.by, version=change.version
        )

    def _take(self, end: Tombstone) -> Tombstone:
        self.ends = sorted(
            [*(one for one in self.ends if one.until != end.until), end],
            key=lambda one: one.until,
        )
        return end


def incarnation_after(until: int) -> int:
    """Of the life that follows one which ended at this epoch: from the epoch alone, so that it
    is the same whatever came before or after."""
    digest = hashlib.blake2b(until.to_bytes(8, "little"), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def tombstone_of(row: Mapping[str, Any]) -> Tombstone:
    """From a row of the table."""
    return Tombstone(
        row["project"], row["run_id"], row["until"], row["incarnation"], row["next"], row["state"],
        row["deleted_ms"], row["deleted_by"], row["changed_ms"], row["changed_by"],
        int.from_bytes(row["version"], "little"),
    )  # fmt: skip


def lives_of_runs(
    rows: Iterable[Tombstone], wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Lives]:
    """By (project, run id); of one that was never deleted too."""
    ends: dict[tuple[str, str], list[Tombstone]] = {names: [] for names in wanted}
    for row in rows:
        names = (row.project, row.run_id)
        if names in ends:
            ends[names].append(row)
    return {names: Lives(*names, found) for names, found in ends.items()}
