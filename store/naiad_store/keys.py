"""The 64-bit number that stands for a run in every table.

A number, because a string in the sort key of `points` made the read of one metric over many
runs several times slower. It is made from the name alone, so that every process comes to
the same one without asking; the writer checks for collisions when it first meets a run.
"""

from __future__ import annotations

import hashlib


def run_key(project: str, run_id: str, incarnation: int = 0) -> int:
    """Key of a run: 64 bits of a BLAKE2b over its project, id and incarnation.

    `incarnation` rises when a run id is used again after the run was deleted.
    """
    # A run id holds no slash and neither holds a zero byte, so no two runs spell the same.
    name = f"{project}/{run_id}\0{incarnation}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
