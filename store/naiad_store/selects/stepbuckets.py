"""Buckets by step: from rollups where these are right, from points elsewhere, always exact."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from naiad_proto import packed
from naiad_proto.steps import MAX_MICRO_STEP, MICRO
from naiad_store.errors import StoreUnavailable
from naiad_store.selects.gathering import Gathering
from naiad_store.selects.grid import Grid
from naiad_store.selects.known import last_steps, own_lowest
from naiad_store.selects.pieces import Pieces, zones
from naiad_store.selects.rolled import GOOD_FOR, Rolled, Series, rolled
from naiad_store.selects.rolling import count
from naiad_store.selects.scope import PREVIEW, Scope
from naiad_store.store import Store

# Points in a column, about, up to which the points themselves are handed out: with more of them
# columns are less to send.
_FEW = 3
# So many tiers finer than buckets: a column has two points of what they hold, about.
_MUCH_FINER = 5
# Blocks of a size that is worth handing over.
_BLOCKS = {"max_block_size": 65_536, "preferred_block_size_bytes": 16_000_000}


@dataclass(frozen=True, slots=True)
class PackedBuckets:
    """What `naiad_proto.packed.unpacked` makes columns of. A row's series is the path's number
    * len(places) + the run's, as they stand here."""

    grid: packed.Grid
    # In the order in which the store has the runs, so that rows mostly come in theirs.
    places: Sequence[int]
    paths: Sequence[str]
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def packed_buckets(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    begin: int | None,
    end: int | None,
    columns: int,
    previews: bool,
    settings: Mapping[str, object] | None,
) -> PackedBuckets | None:
    """`begin`, `end`: micro-steps, both in, None for where there are points. Batches come while
    they are read, in any order. None where there is nothing."""
    paths = sorted(set(paths))
    places = places_by_key(scope)
    scope = scope.in_order(places)
    if not paths or not scope.runs:
        return None
    question = _Question(store, scope, paths, settings)
    if not previews:
        # A preview is in no rollup.
        question.look()
    if begin is None or end is None:
        ends = question.ends(previews)
        if ends is None:
            return None
        begin = ends[0] if begin is None else begin
        end = ends[1] if end is None else end
    if end < begin:
        return None
    return question.answer(Grid.over(begin, end, columns), previews, places)


def places_by_key(scope: Scope) -> list[int]:
    """Of a packed answer about all runs of a scope, `places`."""
    return sorted(range(len(scope.runs)), key=lambda place: scope.runs[place])


class _Question:
    def __init__(
        self,
        store: Store,
        scope: Scope,
        paths: list[str],
        settings: Mapping[str, object] | None,
    ) -> None:
        self._store = store
        self._scope = scope
        self._paths = paths
        self._settings = settings
        self._looked_at = time.monotonic()
        self._known: dict[Series, Rolled] = {}
        # The highest step of each rolled series, where `series` has it.
        self._last: dict[Series, int] = {}
        # place -> (run, until) from the run itself back.
        self._sources: dict[int, list[tuple[int, int]]] = {}
        # Rows of what is read from points alone, where they were counted.
        self._rows: int | None = None
        # path -> places of which one source at least is rolled.
        self._rolled: dict[str, set[int]] = {}

    def look(self) -> None:
        """What is rolled of the series in question."""
        scope = self._scope
        self._known = rolled(self._store, scope.project, scope.sources, self._paths, self._settings)
        if not self._known:
            return
        if scope.stretches is None:
            self._sources = {
                place: [(run, MAX_MICRO_STEP)]
                for place, run in zip(scope.numbers, scope.runs, strict=True)
            }
        else:
            for one in sorted(scope.stretches, key=lambda each: (each.place, each.depth)):
                self._sources.setdefault(one.place, []).append((one.source, one.until))
        runs_of: dict[str, set[int]] = {}
        for run, path in self._known:
            runs_of.setdefault(path, set()).add(run)
        for path, runs in runs_of.items():
            self._rolled[path] = {
                place
                for place, sources in self._sources.items()
                if any(run in runs for run, _ in sources)
            }
        runs_in_question = {
            run for places in self._rolled.values() for place in places
            for run, _ in self._sources[place]
        }  # fmt: skip
        self._last = last_steps(
            self._store, scope.project, runs_in_question, self._rolled, self._settings
        )

    # --- where the points are -----------------------------------------------------------------

    def ends(self, previews: bool) -> tuple[int, int] | None:
        """The lowest and the highest step of all points in question, or hardly beyond."""
        lows: list[int] = []
        highs: list[int] = []
        keep = "1" if previews else f"NOT ({PREVIEW})"
        for part, paths in self._parts():
            given: dict[str, object] = {}
            # A replaced row has its point's step, and a preview's step is a point's only if the
            # preview counts, so steps need no deduplication.
            sql = part.points("points", {}, paths, given, keep=keep, final=False)
            (found,) = self._store.query(
                f"SELECT count() AS rows, min(x) AS low, max(x) AS high FROM ({sql})",
                given, self._settings,
            ).to_pylist()  # fmt: skip
            self._rows = (self._rows or 0) + int(found["rows"])
            if found["rows"]:
                lows.append(found["low"])
                highs.append(found["high"])
        if self._known:
            lowest = self._lowest()
            for path, places in self._rolled.items():
                for place in places:
                    for run, until in self._sources[place]:
                        low, high = lowest.get((run, path)), self._last.get((run, path))
                        if low is not None and low <= until:
                            lows.append(low)
                            highs.append(min(until, low if high is None else max(high, low)))
        return (min(lows), max(highs)) if lows else None

    def _lowest(self) -> dict[Series, int]:
        """Of the series of places that are rolled, in whole or in part."""
        found = {series: known.lowest for series, known in self._known.items()}
        # What came late may lie below.
        asked = {
            series: (known.dirty[0][0], known.dirty[-1][1])
            for series, known in self._known.items()
            if known.dirty
        }
        for path, places in self._rolled.items():
            for place in places:
                for run, _ in self._sources[place]:
                    if (run, path) not in found:
                        asked[run, path] = (0, MAX_MICRO_STEP + 1)
        for series, counted in count(self._store, self._scope.project, asked).items():
            found[series] = min(counted.lowest, found.get(series, counted.lowest))
            self._last[series] = max(counted.highest, self._last.get(series, 0))
        return found

    def _parts(self) -> Iterator[tuple[Scope, list[str]]]:
        """What is read from points alone: places of which nothing is rolled, with paths."""
        everything = set(self._scope.numbers)
        groups: dict[frozenset[int], list[str]] = {}
        for path in self._paths:
            places = frozenset(everything - self._rolled.get(path, set()))
            if places:
                groups.setdefault(places, []).append(path)
        for places, paths in groups.items():
            whole = len(places) == len(everything)
            yield self._scope if whole else self._scope.part(places), paths

    # --- the answer ---------------------------------------------------------------------------

    def answer(self, grid: Grid, previews: bool, places: Sequence[int]) -> PackedBuckets | None:
        columns = packed.Grid(grid.k, grid.first, MICRO)
        pieces = self._pieces(grid) if self._known else None
        as_points = self._few_points(grid, pieces)
        gathering = Gathering(
            self._scope.project, self._paths, len(places), columns, as_points=as_points
        )
        for part, paths in self._parts():
            gathering.add_points_of(part, paths, grid.low, grid.high + 1, previews=previews)
        if pieces is not None:
            gathering.add(pieces)
        sql = gathering.sql()
        if not sql:
            return None
        schema = packed.POINTS if as_points else packed.columns_schema(grid.k)
        batches = self._batches(sql, gathering.parameters, schema)
        return PackedBuckets(columns, places, self._paths, schema, batches)

    def _batches(
        self, sql: str, parameters: Mapping[str, object], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        settings = {**_BLOCKS, **(self._settings or {})}
        for number, batch in enumerate(self._store.stream(sql, parameters, settings)):
            # All that is read was there when the first of it came.
            if not number and time.monotonic() - self._looked_at > GOOD_FOR and self._known:
                raise StoreUnavailable(
                    f"a chart took more than {GOOD_FOR:g} s, in which the rollups that it is made"
                    " of may have been replaced; ask again"
                )
            if batch.num_rows:
                yield pa.record_batch(batch.columns, schema=schema)

    def _few_points(self, grid: Grid, pieces: Pieces | None) -> bool:
        """Whether columns have hardly more than a point each, as far as that is known."""
        if pieces is not None:
            finest = min(stretch.k for known in self._known.values() for stretch in known.stretches)
            if pieces.rows or finest - grid.k < _MUCH_FINER:
                return False
        series = sum(len(part.runs) * len(paths) for part, paths in self._parts())
        if not series:
            return True
        columns = grid.last - grid.first + 1
        return self._rows is not None and self._rows <= _FEW * columns * series

    def _pieces(self, grid: Grid) -> Pieces:
        pieces = Pieces(grid.k, max(grid.low, 0), grid.high + 1, [], [])
        lowest = own_lowest(
            self._store,
            self._scope.project,
            (
                (path, self._sources[place])
                for path, places in self._rolled.items()
                for place in places
            ),
        )
        for path, places in sorted(self._rolled.items()):
            for place in sorted(places):
                sources = self._sources[place]
                for zone in zones(sources, path, lowest):
                    series = (zone.run, path)
                    pieces.add(
                        place, path, zone, self._known.get(series), self._last.get(series),
                        alone=len(sources) == 1,
                    )  # fmt: skip
        return pieces
