"""The folder of a spool that is about to begin."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from naiad.spool.folder import WriterLock, make_host_folder, new_spool, write_json, write_token
from naiad.spool.layout import HEADER, Header
from naiad.spool.segment import Segment
from naiad.spool.supply import SegmentSupply


@dataclass(frozen=True, slots=True)
class Move:
    """A spool whose files were removed from under its writer goes on in a new one."""

    left: Path
    # How many records the old one had, and how many of them were still in memory and stand in
    # the new one as well.
    records: int
    rescued: int
    # Are the old one's files there, but for the lock? Then its shipper sends them, while they are.
    kept: bool


class Home:
    """All that has to be there before the first record: lock, token, header, a segment."""

    def __init__(
        self, host: Path, header: Header, token: str | None, supply: SegmentSupply, extra: int = 0
    ) -> None:
        """`extra`: bytes for slots that the segment should have beside its usual size; it has
        `room` for them if the disk does. Raises OSError, and leaves nothing then."""
        make_host_folder(host)
        self.header = header
        self.folder = new_spool(host, header.writer_id)
        self._lock: WriterLock | None = None
        self._segment: Segment | None = None
        self.room = False
        try:
            self._lock = WriterLock(self.folder)
            if token:
                write_token(self.folder, token)
            if extra:
                with contextlib.suppress(OSError):
                    self._segment = supply.first(self.folder, header, extra)
                    self.room = True
            if self._segment is None:
                self._segment = supply.first(self.folder, header)
            write_json(self.folder / HEADER, header.as_dict())
        except BaseException:
            self.abandon()
            raise

    @property
    def lock(self) -> WriterLock:
        assert self._lock
        return self._lock

    @property
    def segment(self) -> Segment:
        assert self._segment
        return self._segment

    def abandon(self) -> None:
        """Nobody is going to live there."""
        if self._segment:
            self._segment.release()
        if self._lock:
            self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)
