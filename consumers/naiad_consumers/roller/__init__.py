"""The roller: long series become rollups, from which charts are drawn.

Enters: points of the store, and what the writer of this process says of them
(`naiad_consumers.writer.marks`). Leaves: rows of `rollups`, then of `rolled`, which say that the
former count.

Promised:
- What counts as rolled is what the points say, those that come late or overwrite included: it is
  marked before they go in, and readers take marked stretches from the points.
- Rows of `rollups` never change. What is rolled again, or may be there from a roll that was cut
  off, has another edition; `rolled` says which one counts, and only its partition's owner can say
  it.
- It stands beside the writer and never in its way: a bounded share of one core, long series alone,
  many of them in one statement.
- All of it can be thrown away, and is made again.
"""

from naiad_consumers.roller.roller import Roller

__all__ = ["Roller"]
