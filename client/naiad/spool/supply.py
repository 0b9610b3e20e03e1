"""The segments that a writer goes on to: how large, and one of them made ahead."""

from __future__ import annotations

from pathlib import Path

from naiad.spool.bounds import Bounds
from naiad.spool.health import Health
from naiad.spool.layout import FIRST_SEGMENT_BYTES, Header, padded
from naiad.spool.segment import Segment, segment_kind

# A segment up to this size has the next one made at once, a larger one when it is half full.
_EAGER_BYTES = 8 * 1024 * 1024
# The smallest segment that is worth a file; its head takes less than half of it.
_LEAST_BYTES = 16 * 1024


class SegmentSupply:
    """All but `make` and `first` is called under the writer's lock."""

    def __init__(self, host: Path, bounds: Bounds, health: Health) -> None:
        self._host = host
        self._bounds = bounds
        self._health = health
        self._ready: Segment | None = None
        self.next_size = FIRST_SEGMENT_BYTES
        # Those that a logging call had to make itself, because none was ready.
        self.made_in_call = 0

    def make(self, folder: Path, header: Header, size: int, room: int = 0) -> Segment:
        """A segment of about `size` bytes, less where the bounds leave less, with `room` bytes
        for slots. Raises OSError."""
        kind = segment_kind(folder)
        least = padded(room) + _LEAST_BYTES
        left = self._bounds.room(self._host)
        if left < least:
            raise self._bounds.full(self._host)
        size = max(least, min(size, left, kind.largest) & ~7)
        return kind(folder, size, header, self._health)

    def first(self, folder: Path, header: Header, extra: int = 0) -> Segment:
        """A new spool's, with room for `extra` bytes of slots beside its usual size. Raises
        OSError."""
        return self.make(folder, header, FIRST_SEGMENT_BYTES + extra, extra)

    def is_due(self, current: Segment) -> bool:
        """Is it time to make the one after `current`?"""
        early = current.size > _EAGER_BYTES and current.offset < current.size // 2
        return self._ready is None and not early

    def keep(self, fresh: Segment) -> bool:
        """For `take`; not if there is one already."""
        if self._ready:
            return False
        self._ready = fresh
        self.next_size = min(self.next_size * 2, fresh.largest)
        return True

    def take(self, folder: Path, header: Header, room: int) -> Segment:
        """One with at least `room` bytes for slots. Raises OSError."""
        fresh, self._ready = self._ready, None
        if fresh and fresh.size - fresh.offset < room:
            fresh.discard()
            fresh = None
        if fresh is None:
            # None is ready. A small one is made soonest; the next will be larger again.
            self.made_in_call += 1
            fresh = self.make(folder, header, FIRST_SEGMENT_BYTES, room)
        return fresh

    def discard(self) -> None:
        """What is ready is of a spool that is over."""
        if self._ready:
            self._ready.discard()
            self._ready = None

    def start_over(self) -> None:
        """For a new spool."""
        self.discard()
        self.next_size = FIRST_SEGMENT_BYTES
