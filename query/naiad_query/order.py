"""The order of a runs table, and cursors into it.

Runs come by the value sorted by; those without one, or with NaN, last either way; equal ones by
creation time, version and run id, newest first. That is a total order of keys that belong to runs
alone, so a cursor, which holds the key of the last run given, still says where to go on after
other runs came or went.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from naiad_proto.filters import STATS
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.errors import invalid
from naiad_store import Store
from naiad_store.selects import inheritance
from naiad_store.selects.aggregates import stat_column
from naiad_store.selects.attributes import TYPES, Attribute, What
from naiad_store.selects.derived import DERIVED, derived_columns
from naiad_store.selects.forks import Forks
from naiad_store.selects.runs import RunRow

DEFAULT_SORT = "sys/creation_time"
# Where runs have a path with several types the first of these counts.
NUMBERS = ("float_series", "float", "int")
SORTABLE = (*NUMBERS, "datetime", "bool", "string", "string_series")
_KINDS = {**dict.fromkeys(NUMBERS, "number"), "string_series": "string"}
_STAT = re.compile(rf"(.+)\.({'|'.join(STATS)})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Values:
    """What runs are sorted by. `kind`: number, datetime, bool or string; empty if none has any."""

    kind: str
    values: npt.NDArray[Any]
    missing: npt.NDArray[np.bool_]


def values_to_sort_by(
    store: Store, request: pb.FetchRunsTableRequest, runs: pa.Table, forks: Sequence[RunRow]
) -> Values:
    """Of `runs` (of `naiad_store.selects.runs.choose`), in their order. Raises Refused."""
    path, kind = request.sort_by or DEFAULT_SORT, request.sort_by_type
    if kind and kind not in TYPES:
        raise invalid(f"there is no type {kind!r}; there are {', '.join(TYPES)}")
    if kind and kind not in SORTABLE:
        raise invalid(f"runs can't be sorted by a {kind}; it takes {', '.join(SORTABLE)}")
    if path == DEFAULT_SORT and kind in ("", "datetime"):
        return _merged({Attribute(path, "datetime"): runs.column("created_at")}, runs.num_rows)
    keys = runs.column("run").to_pylist()
    exact = re.fullmatch(r"`((?:[^`]|``)+)`(?:\.(\w+))?", path)
    columns: Mapping[Attribute, pa.Array] = {}
    if not exact or not exact[2]:
        named = exact[1].replace("``", "`") if exact else path
        derived = [name for name in DERIVED if name.path == named and kind in ("", name.type)]
        if derived:
            columns = derived_columns(store, request.project, keys, derived)
        else:
            what = What(paths=[named], types=[kind] if kind else SORTABLE)
            columns = inheritance.columns_of(store, request.project, keys, forks, what)
    stat = (exact[1].replace("``", "`"), exact[2]) if exact and exact[2] else None
    if not exact and (suffix := _STAT.fullmatch(path)):
        # A path may well be called so; that there is one says which is meant.
        stat = (suffix[1], suffix[2])
    if not columns and stat and kind in ("", "float_series"):
        if stat[1] not in STATS:
            raise invalid(f"sort_by: there is no .{stat[1]}; there are .{', .'.join(STATS)}")
        of_forks = Forks.of(store, request.project, forks)
        found = stat_column(store, request.project, keys, of_forks, *stat)
        columns = {Attribute(path, "float_series"): found}
    return _merged(columns, runs.num_rows)


def _merged(columns: Mapping[Attribute, pa.Array], rows: int) -> Values:
    """Numbers compare with each other; with values of other types they don't."""
    named = sorted(columns, key=lambda name: SORTABLE.index(name.type))
    kinds = [name.type for name in named if columns[name].null_count < rows]
    if not kinds:
        return Values("", np.zeros(rows), np.ones(rows, np.bool_))
    if kinds[0] not in NUMBERS:
        kinds = kinds[:1]
    kinds = [kind for kind in kinds if kind in NUMBERS] or kinds
    missing = np.ones(rows, np.bool_)
    values: npt.NDArray[Any] | None = None
    for kind in kinds:
        (column,) = (columns[name] for name in named if name.type == kind)
        mine, none = _values(column, kind, whole=len(kinds) == 1)
        if values is None:
            values, missing = mine, none
        else:
            values = np.where(missing, mine.astype(values.dtype), values)
            missing = missing & none
    assert values is not None
    return Values(_KINDS.get(kinds[0], kinds[0]), values, missing)


def _values(
    column: pa.Array | pa.ChunkedArray, kind: str, *, whole: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if kind in ("string", "string_series"):
        return np.array(column.fill_null("").to_pylist(), dtype=object), missing
    if kind in ("datetime", "bool"):
        column = column.cast(pa.int64())
    # Whole numbers among others compare as floats do.
    elif not whole:
        column = column.cast(pa.float64(), safe=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        missing = missing | np.isnan(values)
    return values, missing


def ordered(by: Values, *, ascending: bool) -> npt.NDArray[np.int64]:
    """Places of runs, which stand newest first, in the order asked for."""
    having = np.flatnonzero(~by.missing)
    _, rank = np.unique(by.values[having], return_inverse=True)
    order = np.argsort(rank if ascending else -rank, kind="stable")
    return np.concatenate([having[order], np.flatnonzero(by.missing)])


# --- cursors ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cursor:
    """The key of the last run that was given, and what it was an answer to."""

    question: str
    kind: str
    # None where the run has none.
    value: Any
    created: int
    version: tuple[int, int]
    run_id: str

    @classmethod
    def at(cls, question: str, by: Values, runs: pa.Table, place: int) -> Cursor:
        value = None if by.missing[place] else by.values[place]
        return cls(
            question,
            by.kind,
            value.item() if isinstance(value, np.generic) else value,
            *_key(runs, place),
        )

    def written(self) -> str:
        fields = [
            self.question, self.kind, self.value, self.created, *self.version, self.run_id,
        ]  # fmt: skip
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    @classmethod
    def read(cls, text: str, question: str) -> Cursor:
        """Raises Refused for what is none, and for one of another question."""
        try:
            fields = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            asked, kind, value, created, high, low, run_id = fields
            found = cls(str(asked), str(kind), value, int(created), (int(high), int(low)), run_id)
        except (binascii.Error, ValueError, TypeError):
            raise invalid(
                "cursor is not one that this server gave; leave it out to begin with the first page"
            ) from None
        if found.question != question:
            raise invalid(
                "cursor belongs to another question: runs and order have to stay the same from"
                " page to page; leave it out to begin with the first page"
            )
        return found

    def place(
        self, by: Values, runs: pa.Table, order: npt.NDArray[np.int64], *, ascending: bool
    ) -> int:
        """Where in `order` the first run stands that comes after this. Raises Refused."""
        if self.kind and by.kind and self.kind != by.kind:
            raise invalid(
                f"what is sorted by was a {self.kind} and is a {by.kind} now; leave cursor out to"
                " begin with the first page"
            )
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self._is_behind(by, runs, int(order[middle]), ascending=ascending):
                high = middle
            else:
                low = middle + 1
        return low

    def _is_behind(self, by: Values, runs: pa.Table, place: int, *, ascending: bool) -> bool:
        missing = bool(by.missing[place])
        if missing != (self.value is None):
            return missing
        if not missing and by.values[place] != self.value:
            return bool(by.values[place] > self.value) == ascending
        created, version, run_id = _key(runs, place)
        if (created, version) != (self.created, self.version):
            return (created, version) < (self.created, self.version)
        return run_id > self.run_id


def _key(runs: pa.Table, place: int) -> tuple[int, tuple[int, int], str]:
    version = (runs["version_high"][place].as_py(), runs["version_low"][place].as_py())
    return runs["created_at"][place].value, version, runs["run_id"][place].as_py()


def question_of(request: pb.FetchRunsTableRequest) -> str:
    """What is the same for all pages of a question."""
    asked = pb.FetchRunsTableRequest()
    asked.CopyFrom(request)
    # Columns and the size of a page change nothing about the order.
    for field in ("cursor", "attributes", "limit"):
        asked.ClearField(field)
    content = asked.SerializeToString(deterministic=True)
    return hashlib.blake2b(content, digest_size=12).hexdigest()
