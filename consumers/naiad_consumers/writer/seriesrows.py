"""Rows of `series`: the last point of each, gathered over several blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from naiad_consumers.writer import columns
from naiad_consumers.writer.names import Names
from naiad_consumers.writer.pointrows import Pieces
from naiad_proto.versions import high_word, low_word

KINDS = Names()


class SeriesRows:
    """Points of which each was the last of its piece; `table` keeps the last of all."""

    def __init__(self, projects: Names, paths: Names) -> None:
        self._projects = projects
        self._paths = paths
        self._texts: list[str] = []
        self._rows = Pieces(
            project=np.int32, path=np.int32, type=np.int32, run=np.uint64, committed=np.uint8,
            step=np.int64, high=np.uint64, low=np.uint64, ts=np.int64, number=np.float64,
            text=np.int64,
        )  # fmt: skip

    @property
    def count(self) -> int:
        return self._rows.rows

    def add(
        self,
        project: str,
        run: int,
        kind: str,
        paths: npt.NDArray[np.int32],
        *,
        step: int,
        timestamp: int,
        record: int,
        writer: int,
        epoch: int,
        preview: bool = False,
        numbers: npt.NDArray[np.float64] | None = None,
        text: str = "",
    ) -> None:
        """One point that is the last of its piece, for each of `paths` (their numbers)."""
        place = -1
        if text:
            place = len(self._texts)
            self._texts.append(text)
        self._rows.add(
            len(paths),
            project=self._projects.number(project),
            path=paths,
            type=KINDS.number(kind),
            run=run,
            committed=0 if preview else 1,
            step=step,
            high=high_word(epoch, committed=not preview),
            low=low_word(writer, record),
            ts=timestamp,
            number=0.0 if numbers is None else numbers,
            text=place,
        )

    def extend(self, other: SeriesRows) -> None:
        """All of `other`, which has the same Names."""
        other._rows.shift("text", len(self._texts))
        self._texts += other._texts
        self._rows.extend(other._rows)

    def table(self) -> pa.Table:
        found = self._rows.columns()
        names = ("low", "high", "step", "committed", "run", "type", "path", "project")
        found["path"], paths = self._paths.dictionary(found["path"])
        found["project"], projects = self._projects.dictionary(found["project"])
        found["type"], kinds = KINDS.dictionary(found["type"])
        order = np.lexsort([found[name] for name in names])
        found = {name: column[order] for name, column in found.items()}
        # Sorted by series and then by what the table keeps the greatest of: the last of
        # each series is the one.
        last = np.ones(len(order), np.bool_)
        last[:-1] = np.any(
            [found[name][1:] != found[name][:-1] for name in ("project", "path", "type", "run")],
            axis=0,
        )
        found = {name: column[last] for name, column in found.items()}
        texts = [self._texts[place] if place >= 0 else "" for place in found["text"].tolist()]
        return pa.table(
            {
                "project": pa.DictionaryArray.from_arrays(found["project"], projects),
                "path": pa.DictionaryArray.from_arrays(found["path"], paths),
                "type": pa.DictionaryArray.from_arrays(found["type"], kinds),
                "run": pa.array(found["run"]),
                "committed": pa.array(found["committed"]),
                "step": columns.steps(found["step"]),
                "ts": columns.times(found["ts"]),
                "number": pa.array(found["number"]),
                "text": pa.array(texts, pa.string()),
                "rank": columns.ranks(
                    found["committed"], found["step"], found["high"], found["low"]
                ),
            }
        )
