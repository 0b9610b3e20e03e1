"""Beside the spool: what a server did not take, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from naiad.spool.folder import write_json
from naiad.spool.layout import REJECTED, Header

REASONS = "rejected.jsonl"


class Parking:
    """One spool's rejections: in its folder while that is there, in <host>/rejected/<spool>
    from then on."""

    def __init__(self, spool: Path, header: Header) -> None:
        self._spool = spool
        self._header = header
        self.kept = spool.parent.parent / REJECTED / spool.name
        # A killed shipper's successor hears the same of what it sends again.
        self._known: set[str] = set()
        if (spool / REASONS).exists():
            self._known.update((spool / REASONS).read_text().splitlines())

    def add(self, what: dict[str, Any]) -> bool:
        """Writes down one reason; False if it stands there already. Raises OSError."""
        line = json.dumps({"run": self._header.run_id, **what})
        if line in self._known:
            return False
        self._known.add(line)
        if self._spool.exists():
            folder = self._spool
        else:
            folder = self.kept
            self._make_kept()
        with (folder / REASONS).open("a") as file:
            file.write(line + "\n")
        return True

    def keep_batch(self, first: int, request: bytes) -> None:
        """Keeps a batch that was refused as a whole. Raises OSError."""
        folder = self._spool / REJECTED
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / f"{first:012d}.batch").write_bytes(request)

    def keep_file(self, record: int, file: Path) -> None:
        """Keeps the content of a file that was refused: it may be the only copy."""
        if file.exists():
            folder = self._spool / REJECTED
            folder.mkdir(mode=0o700, exist_ok=True)
            shutil.move(file, folder / f"{record:012d}.file")

    def leave(self) -> None:
        """Moves everything out of the spool's folder, which is about to go."""
        found = [self._spool / REASONS, *(self._spool / REJECTED).glob("*")]
        found = [file for file in found if file.exists()]
        if found:
            self._make_kept()
        for file in found:
            shutil.move(file, self.kept / file.name)

    def _make_kept(self) -> None:
        self.kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self.kept / "spool.json", self._header.as_dict())
