"""Series groups and string series: paths, lengths of columns, rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from naiad_ingest.validation.values import MAX_TIMESTAMP, MIN_TIMESTAMP, named, timestamp_problem
from naiad_proto.limits import (
    MAX_PATH_BYTES,
    MAX_STEP,
    MAX_STRING_BYTES,
    check_path,
    check_string,
    shorten,
)
from naiad_proto.series import (
    Float64Array,
    Int64Array,
    UInt64Array,
    group_arrays,
    string_arrays,
)
from naiad_proto.steps import MAX_MICRO_STEP, from_micro
from naiad_proto.v1 import records_pb2
from naiad_proto.v1.records_pb2 import Rejection, RejectionReason, SeriesGroup, StringSeries

# A group with more bad rows than this is left out whole: its sender's fault isn't in rows.
MAX_BAD_ROWS = 500


class _RowProblem(NamedTuple):
    rows: npt.NDArray[np.intp]
    reason: RejectionReason.ValueType
    # Of a row: what is wrong with it.
    say: Callable[[int], str]


def check_group(index: int, group: SeriesGroup, first: int, last: int) -> list[Rejection]:
    """What of the group is not taken; its records must lie in [first, last]."""
    paths = list(group.paths)
    who = named(paths)
    if not paths:
        return [_whole_group(index, f"group {index} has no paths; name one per column of values")]
    try:
        arrays = group_arrays(group)
    except ValueError as error:
        return [_whole_group(index, f"group {index} ({who}): {error}", path=paths[0])]
    problems = _row_problems(
        who, arrays.steps, arrays.timestamps, arrays.records, first, last, arrays.completions
    )
    bad_rows = _bad_rows(problems)
    if len(bad_rows) > MAX_BAD_ROWS:
        reason, message = _too_many(f"group {index} ({who})", bad_rows)
        return [_whole_group(index, message, reason=reason, path=paths[0])]
    return _path_rejections(index, paths) + [
        Rejection(
            group_index=index,
            row_index=row,
            reason=problem.reason,
            message=problem.say(row),
            path=shorten(paths[0]),
            record=int(arrays.records[row]),
        )
        for row, problem in bad_rows.items()
    ]


def check_string_series(index: int, series: StringSeries, first: int, last: int) -> list[Rejection]:
    """What of the string series is not taken; its records must lie in [first, last]."""

    def rejection(
        reason: RejectionReason.ValueType, message: str, row: int | None = None, record: int = 0
    ) -> Rejection:
        return Rejection(
            string_series_index=index,
            row_index=row,
            reason=reason,
            message=message,
            path=shorten(series.path),
            record=record,
        )

    if problem := check_path(series.path):
        return [rejection(records_pb2.REJECTION_REASON_INVALID_PATH, problem)]
    who = named([series.path])
    try:
        arrays = string_arrays(series)
    except ValueError as error:
        return [
            rejection(
                records_pb2.REJECTION_REASON_MALFORMED, f"string series {index} ({who}): {error}"
            )
        ]
    problems = _row_problems(who, arrays.steps, arrays.timestamps, arrays.records, first, last)
    values = list(series.values)
    # A character has at most four bytes, so short strings need no encoding to be measured.
    long = [row for row, value in enumerate(values) if len(value) * 4 > MAX_STRING_BYTES]
    too_long = {row: said for row in long if (said := check_string(series.path, values[row]))}
    problems.append(
        _RowProblem(
            np.array(list(too_long), dtype=np.intp),
            records_pb2.REJECTION_REASON_TOO_LARGE,
            too_long.__getitem__,
        )
    )
    bad_rows = _bad_rows(problems)
    if len(bad_rows) > MAX_BAD_ROWS:
        return [rejection(*_too_many(f"string series {index} ({who})", bad_rows))]
    return [
        rejection(problem.reason, problem.say(row), row, int(arrays.records[row]))
        for row, problem in bad_rows.items()
    ]


def _whole_group(
    index: int,
    message: str,
    *,
    reason: RejectionReason.ValueType = records_pb2.REJECTION_REASON_MALFORMED,
    path: str = "",
) -> Rejection:
    return Rejection(group_index=index, reason=reason, message=message, path=shorten(path))


def _path_rejections(index: int, paths: Sequence[str]) -> list[Rejection]:
    together = "".join(paths)
    if (
        together.isascii()
        and together.isprintable()
        and "" not in paths
        and max(map(len, paths)) <= MAX_PATH_BYTES
        and len(set(paths)) == len(paths)
    ):
        # The usual case, told without a look at each path.
        return []
    rejections = []
    seen: set[str] = set()
    for path_index, path in enumerate(paths):
        reason, problem = records_pb2.REJECTION_REASON_INVALID_PATH, check_path(path)
        if not problem and path in seen:
            reason = records_pb2.REJECTION_REASON_MALFORMED
            problem = (
                f"{shorten(path)!r} stands twice in group {index}; its first column is kept,"
                " this one is left out"
            )
        seen.add(path)
        if problem:
            rejections.append(
                Rejection(
                    group_index=index,
                    path_index=path_index,
                    reason=reason,
                    message=problem,
                    path=shorten(path),
                )
            )
    return rejections


def _row_problems(
    who: str,
    steps: Int64Array,
    timestamps: Int64Array,
    records: UInt64Array,
    first: int,
    last: int,
    completions: Float64Array | None = None,
) -> list[_RowProblem]:
    """Each kind of problem with the rows that have it."""
    problems = [
        _RowProblem(
            _outside(steps, 0, MAX_MICRO_STEP),
            records_pb2.REJECTION_REASON_INVALID_STEP,
            lambda row: (
                f"step {from_micro(int(steps[row]))} of {who} is out of range; steps go from 0"
                f" to below {MAX_STEP:.0e}"
            ),
        ),
        _RowProblem(
            _outside(timestamps, MIN_TIMESTAMP, MAX_TIMESTAMP),
            records_pb2.REJECTION_REASON_INVALID_VALUE,
            lambda row: timestamp_problem(f"of {who}", int(timestamps[row])) or "",
        ),
        _RowProblem(
            _outside(records, first, last),
            records_pb2.REJECTION_REASON_MALFORMED,
            lambda row: (
                f"record number {int(records[row])} of {who} is not in the batch's records,"
                f" {first} to {last}"
            ),
        ),
    ]
    if completions is not None:
        # Written so that NaN is bad.
        bad = np.flatnonzero(~((completions >= 0) & (completions <= 1)))
        problems.append(
            _RowProblem(
                bad,
                records_pb2.REJECTION_REASON_INVALID_VALUE,
                lambda row: (
                    f"preview completion {completions[row]} of {who} is out of range; it goes"
                    " from 0 to 1"
                ),
            )
        )
    return problems


def _outside(column: Int64Array | UInt64Array, lowest: int, highest: int) -> npt.NDArray[np.intp]:
    # Two passes that make nothing are cheaper than one that makes a mask.
    if not len(column) or (int(column.min()) >= lowest and int(column.max()) <= highest):
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero((column < lowest) | (column > highest))


def _bad_rows(problems: Sequence[_RowProblem]) -> dict[int, _RowProblem]:
    """Row -> its first problem, in the order of rows; more than MAX_BAD_ROWS rows aren't
    all listed."""
    found: dict[int, _RowProblem] = {}
    for problem in problems:
        for row in problem.rows[: MAX_BAD_ROWS + 1].tolist():
            found.setdefault(row, problem)
    return dict(sorted(found.items()))


def _too_many(
    what: str, bad_rows: Mapping[int, _RowProblem]
) -> tuple[RejectionReason.ValueType, str]:
    row, problem = next(iter(bad_rows.items()))
    return problem.reason, (
        f"more than {MAX_BAD_ROWS} rows of {what} are bad, so all of it was left out. The"
        f" first: {problem.say(row)}"
    )
