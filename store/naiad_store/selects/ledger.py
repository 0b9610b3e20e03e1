"""What the store holds of a run, for the ledger."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from naiad_store.store import Store

POINT_TABLES = ("points", "string_points", "histogram_points", "file_points")


def runs_of_project(store: Store, project: str) -> list[tuple[str, int]]:
    """Run id and incarnation of each, those in the trash too."""
    found = store.query(
        "SELECT DISTINCT run_id, incarnation FROM runs WHERE project = {project:String}"
        " ORDER BY run_id, incarnation",
        {"project": project},
    )
    return list(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))


def is_run(store: Store, run: int) -> bool:
    found = store.query("SELECT 1 FROM runs WHERE run = {run:UInt64} LIMIT 1", {"run": run})
    return bool(found.num_rows)


def spools_of_run(store: Store, project: str, run: int) -> dict[str, dict[str, Any]]:
    """By writer id: intervals `stored` (they may overlap), `points` and `rejected`."""
    rows = store.query(
        "SELECT writer_id, stored, points, rejected FROM spools"
        " WHERE project = {project:String} AND run = {run:UInt64}",
        {"project": project, "run": run},
    ).to_pylist()
    for row in rows:
        row["stored"] = [tuple(pair.values()) for pair in row["stored"]]
    return {row["writer_id"]: row for row in rows}


def sums_of_paths(
    store: Store, table: str, project: str, run: int
) -> dict[str, tuple[int, int, int, int]]:
    """By path, of the points that count: how many, and sums, which wrap at 64 bits, of
    micro-steps and of the versions' upper and lower words."""
    found = store.query(
        "SELECT path, count() AS n, sum(reinterpretAsUInt64(step)) AS steps,"
        " sum(reinterpretAsUInt64(bitShiftRight(version, 64))) AS high,"
        " sum(reinterpretAsUInt64(version)) AS low"
        f" FROM {table} FINAL WHERE project = {{project:String}} AND run = {{run:UInt64}}"
        " GROUP BY path",
        {"project": project, "run": run},
    ).to_pylist()
    return {
        row["path"]: (int(row["n"]), int(row["steps"]), int(row["high"]), int(row["low"]))
        for row in found
    }


def versions_of_path(
    store: Store, table: str, project: str, run: int, path: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Micro-steps, ascending, and both words of the versions."""
    found = store.query(
        "SELECT reinterpretAsInt64(step) AS micro,"
        " reinterpretAsUInt64(bitShiftRight(version, 64)) AS high,"
        " reinterpretAsUInt64(version) AS low"
        f" FROM {table} FINAL WHERE project = {{project:String}} AND run = {{run:UInt64}}"
        " AND path = {path:String} ORDER BY micro",
        {"project": project, "run": run, "path": path},
    )
    micro, high, low = (column.to_numpy() for column in found.columns)
    return micro.astype(np.int64), high.astype(np.uint64), low.astype(np.uint64)


def singles_of_run(store: Store, project: str, run: int) -> dict[tuple[str, str, str], int]:
    """Versions of single values, by ("attributes", path, type), and of elements of sets, by
    ("string_sets", path, element)."""
    found = {}
    for table, part in (("attributes", "type"), ("string_sets", "element")):
        rows = store.query(
            f"SELECT path, {part} AS part, version FROM {table} FINAL"
            " WHERE project = {project:String} AND run = {run:UInt64}",
            {"project": project, "run": run},
        ).to_pylist()
        for row in rows:
            found[table, row["path"], row["part"]] = int.from_bytes(row["version"], "little")
    return found
