"""Rows of `points` and `series`, gathered in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from naiad_consumers.writer import columns
from naiad_consumers.writer.names import Names
from naiad_proto.versions import high_word, low_word


class _Gathered:
    """Columns that arrive in pieces."""

    def __init__(self, **kinds: Any) -> None:
        self._kinds = kinds
        self._pieces: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in kinds}
        self.rows = 0

    def add(self, rows: int, **pieces: Any) -> None:
        """One piece per column: an array of `rows` values or one value for all of them."""
        for name, kind in self._kinds.items():
            piece = pieces[name]
            self._pieces[name].append(
                np.asarray(piece, kind) if np.ndim(piece) else np.full(rows, piece, kind)
            )
        self.rows += rows

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        return {name: np.concatenate(pieces) for name, pieces in self._pieces.items()}


class PointRows:
    """Rows of `points`."""

    def __init__(self, projects: Names, paths: Names) -> None:
        self._projects = projects
        self._paths = paths
        self._rows = _Gathered(
            project=np.int32, path=np.int32, run=np.uint64, step=np.int64, ts=np.int64,
            value=np.float64, completion=np.float64, high=np.uint64, low=np.uint64,
        )  # fmt: skip

    @property
    def count(self) -> int:
        return self._rows.rows

    def add_group(
        self,
        project: str,
        run: int,
        paths: Sequence[str],
        steps: npt.NDArray[np.int64],
        timestamps: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        completions: npt.NDArray[np.float64] | None,
        records: npt.NDArray[np.uint64],
        writer: int,
        epoch: int,
        preview: bool,
        left_out: npt.NDArray[np.bool_] | None,
    ) -> int:
        """Adds m x n points; returns how many were taken."""
        m, n = values.shape
        codes = np.array([self._paths.number(path) for path in paths], np.int32)
        gathered: dict[str, npt.NDArray[Any]] = {
            "path": np.repeat(codes, n),
            "step": np.tile(steps, m),
            "ts": np.tile(timestamps, m),
            "value": values.ravel(),
            "low": np.tile(records + np.uint64(low_word(writer, 0)), m),
        }
        if preview:
            gathered["completion"] = np.tile(
                completions if completions is not None else np.zeros(n), m
            )
        if left_out is not None:
            kept = ~left_out.ravel()
            gathered = {name: column[kept] for name, column in gathered.items()}
        rows = len(gathered["path"])
        gathered.setdefault("completion", np.ones(rows))
        self._rows.add(
            rows,
            project=self._projects.number(project),
            run=run,
            high=high_word(epoch, committed=not preview),
            **gathered,
        )
        return rows

    def table(self) -> pa.Table:
        """Sorted as the table is, which makes the insert a fifth faster."""
        found = self._rows.columns()
        # Within a series rows mostly come in step order, so a stable sort of one 64-bit key
        # finds long sorted stretches. Runs need not be in order for that, only together.
        paths = np.array(self._paths.ranks(), np.uint64)[found["path"]]
        projects = np.array(self._projects.ranks(), np.uint64)[found["project"]]
        runs, run_numbers = np.unique(found["run"], return_inverse=True)
        key = (projects * np.uint64(len(self._paths)) + paths) * np.uint64(len(runs))
        order = np.argsort(key + run_numbers.astype(np.uint64), kind="stable")
        found = {name: column[order] for name, column in found.items()}
        return pa.table(
            {
                "project": columns.dictionary(found["project"], self._projects.words()),
                "path": columns.dictionary(found["path"], self._paths.words()),
                "run": pa.array(found["run"]),
                "step": columns.steps(found["step"]),
                "ts": columns.times(found["ts"]),
                "value": pa.array(found["value"]),
                "completion": pa.array(found["completion"]),
                "version": columns.versions(found["high"], found["low"]),
            }
        )


class SeriesRows:
    """Rows of `series`: the last point of each series in this block."""

    def __init__(self, projects: Names, paths: Names) -> None:
        self._projects = projects
        self._paths = paths
        self._types = Names()
        self._texts = Names()
        self._texts.number("")
        self._rows = _Gathered(
            project=np.int32, path=np.int32, type=np.int32, run=np.uint64, committed=np.uint8,
            step=np.int64, high=np.uint64, low=np.uint64, ts=np.int64, number=np.float64,
            text=np.int32,
        )  # fmt: skip

    @property
    def count(self) -> int:
        return self._rows.rows

    def add_last(
        self,
        project: str,
        run: int,
        kind: str,
        paths: Sequence[str],
        step: int,
        timestamp: int,
        record: int,
        writer: int,
        epoch: int,
        *,
        preview: bool = False,
        numbers: npt.NDArray[np.float64] | None = None,
        text: str = "",
    ) -> None:
        """One point that is the last of its piece, for each of `paths`."""
        m = len(paths)
        self._rows.add(
            m,
            project=self._projects.number(project),
            path=np.array([self._paths.number(path) for path in paths], np.int32),
            type=self._types.number(kind),
            run=run,
            committed=0 if preview else 1,
            step=step,
            high=high_word(epoch, committed=not preview),
            low=low_word(writer, record),
            ts=timestamp,
            number=0.0 if numbers is None else numbers,
            text=self._texts.number(text),
        )

    def table(self) -> pa.Table:
        found = self._rows.columns()
        names = ("low", "high", "step", "committed", "run", "type", "path", "project")
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
        return pa.table(
            {
                "project": columns.dictionary(found["project"], self._projects.words()),
                "path": columns.dictionary(found["path"], self._paths.words()),
                "type": columns.dictionary(found["type"], self._types.words()),
                "run": pa.array(found["run"]),
                "committed": pa.array(found["committed"]),
                "step": columns.steps(found["step"]),
                "ts": columns.times(found["ts"]),
                "number": pa.array(found["number"]),
                "text": columns.dictionary(found["text"], self._texts.words()).dictionary_decode(),
                "rank": columns.ranks(
                    found["committed"], found["step"], found["high"], found["low"]
                ),
            }
        )
