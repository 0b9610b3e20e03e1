"""A set of paths that is logged together again and again."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

from naiad.spool.layout import PREVIEW, SHAPE_HEAD, SLOT, Kind, padded, row_word

_METRICS = int(Kind.METRICS)
# Numbers are little-endian without padding, and so are native ones where that is the machine's
# order, since each stands at a multiple of its size. `struct` packs native doubles faster.
_ORDER = "@" if sys.byteorder == "little" else "<"


class Shape:
    """How to pack a row of these paths, and what says so once in each segment."""

    __slots__ = ("definition", "head", "pack", "room", "segment", "word")

    def __init__(self, number: int, paths: Sequence[str], preview: bool) -> None:
        # Of a ROW; 0 for the general form, whose payload begins with `head`.
        self.word = 0 if preview else row_word(number, len(paths))
        self.head = () if self.word else (_METRICS, number)
        packer = struct.Struct(f"{_ORDER}{'' if self.word else 'B3xI'}qq{len(paths) + preview}d")
        self.pack = packer.pack
        self.room = SLOT.size + padded(packer.size)
        encoded = [path.encode() for path in paths]
        self.definition = SHAPE_HEAD.pack(Kind.SHAPE, number, PREVIEW if preview else 0) + b"".join(
            struct.pack("<I", len(path)) + path for path in encoded
        )
        # Number of the segment that has the definition.
        self.segment = -1
