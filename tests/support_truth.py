"""Compares what was logged, as the logging processes' own diaries have it, with what can be
read back. The client's word counts for nothing here."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from support_diary import content, histogram, long_text, number, text

from naiad.query import QueryClient

# (table, path, step or tag)
Key: TypeAlias = tuple[str, str, Any]
SHOWN = 5


@dataclass
class Truth:
    """`must`: items of calls that returned. `may`: of calls that were under way at a kill."""

    must: dict[Key, Any] = field(default_factory=dict)
    may: dict[Key, Any] = field(default_factory=dict)

    def problems(self, found: Iterable[tuple[Key, Any]]) -> list[str]:
        """What is lost, there twice, wrong, or was never logged; empty when all is well."""
        found = list(found)
        counts = Counter(key for key, _ in found)
        told = [f"lost: {key}" for key in self.must if key not in counts]
        told += [f"there {count} times: {key}" for key, count in counts.items() if count > 1]
        for key, value in found:
            logged = self.must.get(key, self.may.get(key))
            if logged is None:
                told.append(f"never logged: {key} = {value!r}")
            elif logged != value:
                told.append(f"wrong: {key} = {value!r}, not {logged!r}")
        return told

    def check(self, found: Iterable[tuple[Key, Any]]) -> None:
        problems = self.problems(found)
        assert not problems, f"{len(problems)} of {len(self.must)}: {problems[:SHOWN]}"


def read_diaries(folder: Path, seed: int) -> Truth:
    truth = Truth()
    for file in sorted(folder.glob("*.diary")):
        calls: dict[int, dict[str, Any]] = {}
        returned: set[int] = set()
        for line in file.read_bytes().split(b"\n")[:-1]:
            entry = json.loads(line)
            if "about" in entry:
                calls[entry["about"]] = entry
            else:
                returned.add(entry["returned"])
        for call, entry in calls.items():
            into = truth.must if call in returned else truth.may
            for path in entry["paths"]:
                into.update([_item(seed, entry["kind"], path, entry["step"])])
    return truth


def calls_in(folder: Path) -> int:
    """How many calls have returned so far."""
    return sum(file.read_bytes().count(b'"returned"') for file in folder.glob("*.diary"))


def _item(seed: int, kind: str, path: str, step: int) -> tuple[Key, Any]:
    match kind:
        case "metrics":
            return ("points", path, float(step)), number(seed, path, step)
        case "strings":
            return ("strings", path, float(step)), text(seed, path, step)
        case "long":
            return ("strings", path, float(step)), long_text(seed, path, step)
        case "histograms":
            return ("histograms", path, float(step)), histogram(seed, path, step)
        case "files":
            digest = hashlib.sha256(content(seed, path, step)).hexdigest()
            return ("files", path, float(step)), digest
        case "configs":
            return ("attributes", path, None), number(seed, path, 0)
        case "tags":
            return ("tags", "sys/tags", path), True
    raise ValueError(kind)


_QUESTIONS = {
    "points": "path, step, value",
    "strings": "path, step, value",
    "histograms": "path, step, edges, bins",
    "files": "path, step, sha256",
    "attributes": "path, number",
    "tags": "path, tag",
}


def read_back(url: str, project: str, run_id: str) -> list[tuple[Key, Any]]:
    """All of a run, row by row as SQL gives it: what is there twice is twice in the list."""
    found: list[tuple[Key, Any]] = []
    with QueryClient(url) as client:
        for table, columns in _QUESTIONS.items():
            where = f"project = '{project}' AND run_id = '{run_id}'"
            rows = client.sql(f"SELECT {columns} FROM {table} WHERE {where}", limit=1_000_000)
            for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                path = row[0]
                if table == "attributes":
                    if not path.startswith(("sys/", "runtime/")):
                        found.append(((table, path, None), row[1]))
                elif table == "tags":
                    found.append(((table, path, row[1]), True))
                elif table == "histograms":
                    found.append(((table, path, row[1]), (row[2], row[3])))
                else:
                    found.append(((table, path, row[1]), row[2]))
    return found
