"""What must be readable, worked out from the diaries of support_load and from nothing else.

Of several calls about one item the one with the highest version counts: a writer's later call,
and before that the writer that was opened later. An item of a call that was under way when its
writer was killed may be there or not.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from support_load import STEP, bins, content, number, text

# (table, path, step or tag)
Key: TypeAlias = tuple[str, str, Any]
# A tag that was taken away, or an item that may not have been logged.
ABSENT = "absent"


@dataclass(slots=True)
class Call:
    """What one call gave one item. The highest rank counts."""

    rank: tuple[int, ...]
    value: Any
    returned: bool = False


def right(calls: list[Call]) -> list[Any]:
    """The values of which one has to be there."""
    best = max((call for call in calls if call.returned), key=lambda call: call.rank, default=None)
    may = [
        call.value for call in calls if not call.returned and (not best or call.rank > best.rank)
    ]
    return [*may, best.value if best else ABSENT]


@dataclass
class Expected:
    """Of one run."""

    items: dict[Key, list[Call]] = field(default_factory=lambda: defaultdict(list))
    # Points of series in calls that returned, and in calls that did not.
    points: int = 0
    perhaps: int = 0
    # Of raw writers: id -> record numbers of batches that the server took, and of the others.
    taken: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    offered: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def problems(self, found: Iterable[tuple[Key, Any]]) -> list[str]:
        """What is lost, there twice, wrong, or was never logged."""
        told: list[str] = []
        times: Counter[Key] = Counter()
        for key, value in found:
            times[key] += 1
            calls = self.items.get(key)
            if calls is None:
                told.append(f"never logged: {key} = {value!r}")
            elif value not in (wanted := right(calls)):
                older = any(call.value == value for call in calls)
                word = "overwritten by something older" if older else "wrong"
                told.append(f"{word}: {key} = {value!r}, not {wanted}")
        told += [f"there {count} times: {key}" for key, count in times.items() if count > 1]
        for key, calls in self.items.items():
            if key not in times and ABSENT not in (wanted := right(calls)):
                told.append(f"lost: {key} = {wanted}")
        return told


@dataclass(slots=True)
class _Open:
    """A call that has not returned."""

    line: dict[str, Any]
    calls: list[Call]
    points: int


class Diaries:
    """All diaries of a folder, read on with each `read`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self.runs: dict[str, Expected] = defaultdict(Expected)
        self._read: dict[str, int] = defaultdict(int)
        self._open: dict[str, dict[int, _Open]] = defaultdict(dict)
        self._spools: dict[str, list[tuple[str, int]]] = {}
        # author -> path -> the highest step of a point of it in a call that returned.
        self.last: dict[str, dict[str, int]] = defaultdict(dict)
        self.returned: Counter[str] = Counter()
        # author -> the last words that are no call: opened, rests, closed.
        self.said: dict[str, dict[str, Any]] = defaultdict(dict)

    def read(self) -> Diaries:
        for file in sorted(self._folder.glob("*.diary")):
            author = file.name.removesuffix(".diary")
            with file.open("rb") as opened:
                opened.seek(self._read[author])
                data = opened.read()
            # A line that is being written comes next time.
            whole = data[: data.rfind(b"\n") + 1]
            self._read[author] += len(whole)
            for line in whole.splitlines():
                self._take(author, json.loads(line))
        return self

    @property
    def points(self) -> int:
        return sum(expected.points for expected in self.runs.values())

    def _take(self, author: str, line: dict[str, Any]) -> None:
        run, _, ordinal = author.rpartition(".")
        expected = self.runs[run]
        if "spools" in line:
            self._spools[author] = [(writer, epoch) for writer, epoch in line["spools"]]
        elif "call" in line:
            one = _Open(line, [], 0)
            for key, rank, value in self._items(author, int(ordinal), line):
                call = Call(rank, value)
                one.calls.append(call)
                one.points += key[0] in ("points", "strings", "histograms", "files")
                expected.items[key].append(call)
            expected.perhaps += one.points
            self._open[author][line["call"]] = one
            if line["kind"] == "raw":
                expected.offered[self._spool(author, line)].append(_records(line))
        elif "returned" in line:
            one = self._open[author].pop(line["returned"])
            for call in one.calls:
                call.returned = True
            expected.perhaps -= one.points
            expected.points += one.points
            self.returned[author] += 1
            kind, step = one.line["kind"], one.line["step"]
            if kind in ("metrics", "raw"):
                for path in one.line["paths"]:
                    self.last[author][path] = max(step, self.last[author].get(path, -1))
            if kind == "raw":
                expected.taken[self._spool(author, one.line)].append(_records(one.line))
        else:
            self.said[author] |= line

    def _spool(self, author: str, line: dict[str, Any]) -> str:
        return self._spools[author][line["spool"]][0]

    def _items(
        self, author: str, ordinal: int, line: dict[str, Any]
    ) -> Iterator[tuple[Key, tuple[int, ...], Any]]:
        """(key, rank, value) of each item of a call."""
        seed, call, kind = self._seed, line["call"], line["kind"]
        step = line["step"] / STEP
        rank = (1, ordinal, call)
        for path in line["paths"]:
            match kind:
                case "metrics" | "previews":
                    preview = kind == "previews"
                    # A committed point beats every preview.
                    yield (
                        ("points", path, step), (int(not preview), ordinal, call),
                        (repr(number(seed, author, call, path)), preview),
                    )  # fmt: skip
                case "raw":
                    epoch = self._spools[author][line["spool"]][1]
                    for n in range(line["rows"]):
                        value = number(seed, author, call * 1000 + n, path)
                        yield (
                            ("points", path, step + n), (1, epoch, line["record"] + n),
                            (repr(value), False),
                        )  # fmt: skip
                case "strings":
                    yield ("strings", path, step), rank, text(seed, author, call, path)
                case "histograms":
                    yield ("histograms", path, step), rank, bins(seed, author, call, path)
                case "files":
                    digest = hashlib.sha256(content(seed, author, call, path)).hexdigest()
                    yield ("files", path, step), rank, digest
                case "configs":
                    yield ("attributes", path, None), rank, bins(seed, author, call, path)[1][0]
                case "tags":
                    yield ("tags", "sys/tags", path), rank, True
                case "untags":
                    yield ("tags", "sys/tags", path), rank, ABSENT
                case _:
                    raise ValueError(kind)


def _records(line: dict[str, Any]) -> tuple[int, int]:
    return line["first"], line["record"] + line["rows"] - 1
