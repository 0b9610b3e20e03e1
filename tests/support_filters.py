"""Random runs, as plain Python knows them, and random filters with what they mean, written anew:
nothing here reads the parser's trees or asks the store.

A filter is made together with a function that says of a run whether it is true for it; how it is
spelled and what it means are told apart from each other.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st
from support_query import BEGIN, Spool

from naiad_proto.filters import FilterError
from naiad_proto.v1 import records_pb2 as pb
from naiad_store.selects.filters import read_filter

LARGE = 2**53
INTS = (-3, 0, 1, 2, 7, LARGE, LARGE + 1, -LARGE - 1)
# Sums of these are exact, in whatever order.
FLOATS = (-2.5, -0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 7.0, float(LARGE), math.nan, math.inf, -math.inf)
TEXTS = ("", "adam", "Adam", "resnet-50", 'a "b" \\d', "line\nbreak", "ünï", "2026-01-02")
TAGS = ("prod", "old", "a'b", "ünï")
TIMES = tuple(datetime(2026, 1, day, 12, 0, 0, 1000 * day, tzinfo=UTC) for day in (1, 2, 3))
STATES = {
    "running": pb.WRITER_STATE_RUNNING,
    "finished": pb.WRITER_STATE_FINISHED,
    "failed": pb.WRITER_STATE_FAILED,
}
CONFIGS = ("lr", "model/depth", "odd path", "a.min", "name", "note")
METRICS = ("loss", "val/acc", "thin`s")
NUMBERS, STRINGS = ("int", "float", "float_series"), ("string", "string_series")


@dataclass(repr=False)
class Run:
    """A run as it was logged; the parent is the run it forked from."""

    run_id: str
    created: int
    experiment: str = ""
    parent: Run | None = None
    fork_step: float = 0.0
    inherits: bool = False
    state: str = "running"
    seen: bool = True
    singles: dict[tuple[str, str], Any] = field(default_factory=dict)
    sets: dict[str, set[str]] = field(default_factory=dict)
    points: dict[str, dict[float, float]] = field(default_factory=dict)
    lines: dict[str, dict[float, str]] = field(default_factory=dict)
    # Of previews at steps that were never committed.
    previews: dict[str, tuple[float, float]] = field(default_factory=dict)

    def values(self, path: str) -> dict[str, Any]:
        """By type: single values and string sets, inherited ones too."""
        found: dict[str, Any] = {}
        run: Run | None = self
        while run is not None:
            for (there, kind), value in run.singles.items():
                if there == path:
                    found.setdefault(kind, value)
            if run.sets.get(path):
                found.setdefault("string_set", run.sets[path])
            run = run.parent if run.inherits and not path.startswith("sys/") else None
        return found

    def series(self, path: str, kind: str) -> dict[float, Any]:
        mine: dict[float, Any] = (self.points if kind == "float_series" else self.lines).get(
            path, {}
        )
        found = dict(mine)
        run, until = self, math.inf
        while run.parent is not None:
            until = min(until, run.fork_step)
            run = run.parent
            theirs = (run.points if kind == "float_series" else run.lines).get(path, {})
            for step, value in theirs.items():
                if step <= until:
                    found.setdefault(step, value)
        return found

    def stat(self, path: str, stat: str) -> dict[str, Any]:
        """By type of series what stands for it."""
        found: dict[str, Any] = {}
        for kind in ("float_series", "string_series"):
            series = self.series(path, kind)
            values = [series[step] for step in sorted(series)]
            if not values:
                if stat == "last" and kind == "float_series" and path in self.previews:
                    found[kind] = self.previews[path][1]
                continue
            numbers = [v for v in values if kind == "float_series" and not math.isnan(v)]
            if stat == "last":
                found[kind] = values[-1]
            elif stat == "first":
                found[kind] = values[0]
            elif stat == "count":
                found[kind] = len(values)
            elif numbers:
                both = math.inf in numbers and -math.inf in numbers
                mean = math.nan if both else math.fsum(numbers) / len(numbers)
                found[kind] = {"min": min(numbers), "max": max(numbers), "mean": mean}[stat]
        return found

    def known(self, path: str) -> dict[str, Any] | None:
        """What the platform says, where it is asked."""
        match path:
            case "sys/state":
                return {"string": self.state if self.seen else "running"}
            case "sys/creation_time":
                return {"datetime": datetime.fromtimestamp(self.created / 1000, UTC)}
            case "sys/custom_run_id":
                return {"string": self.run_id}
            case "sys/forked_from":
                return {"string": self.parent.run_id} if self.parent else {}
            case "sys/failed":
                return {"bool": self.seen and self.state == "failed"}
            case _:
                return None


def runs_of(seed: int, count: int) -> list[Run]:
    draw = random.Random(seed)
    runs: list[Run] = []
    for number in range(count):
        run = Run(f"run-{number}", BEGIN + number * 1000)
        run.experiment = draw.choice(["", "exp-a", "exp-b", f"resnet-{number}"])
        if runs and draw.random() < 0.35:
            run.parent, run.fork_step = draw.choice(runs), float(draw.randint(0, 5))
            run.inherits = draw.random() < 0.6
        run.seen = draw.random() < 0.9
        run.state = draw.choice(sorted(STATES))
        for path in CONFIGS:
            if draw.random() < 0.55:
                # Sometimes two types in one path.
                for kind in draw.sample(["int", "float", "string", "bool", "datetime"], 2)[
                    : 2 if draw.random() < 0.2 else 1
                ]:
                    run.singles[path, kind] = draw.choice(_choices(kind))
        for path in ("sys/tags", "labels"):
            run.sets[path] = {tag for tag in TAGS if draw.random() < 0.3}
        for path in METRICS:
            if draw.random() < 0.6:
                steps = draw.sample(range(8), draw.randint(1, 5))
                run.points[path] = {float(step): draw.choice(FLOATS) for step in steps}
            elif draw.random() < 0.2:
                run.previews[path] = (1.0, draw.choice(FLOATS))
        if draw.random() < 0.4:
            run.lines["log"] = {float(s): draw.choice(TEXTS) for s in draw.sample(range(6), 2)}
        if run.experiment:
            run.singles["sys/name", "string"] = run.experiment
        runs.append(run)
    return runs


def _choices(kind: str) -> Sequence[Any]:
    return {
        "int": INTS, "float": FLOATS, "string": TEXTS, "bool": (True, False), "datetime": TIMES,
    }[kind]  # fmt: skip


def spool_of(project: str, run: Run) -> Spool:
    spool = Spool(project, run.run_id)
    fork = (run.parent.run_id, run.fork_step) if run.parent else None
    spool.create(run.experiment, at=run.created, fork=fork, inherit_configs=run.inherits)
    for (path, _), value in run.singles.items():
        if path != "sys/name":
            spool.set(path, value)
    for path, tags in run.sets.items():
        if tags:
            spool.tag(path, add=sorted({*tags, "gone"})).tag(path, remove=["gone"])
    for path, points in run.points.items():
        # What is overwritten does not count.
        steps = list(points)
        spool.metrics({path: [123.0] * len(steps)}, steps=steps)
        spool.metrics({path: list(points.values())}, steps=steps)
    for path, (step, value) in run.previews.items():
        spool.metrics({path: [value]}, steps=[step], completions=[0.5])
    for path, lines in run.lines.items():
        for step, text in lines.items():
            spool.lines(path, [text], first_step=int(step))
    if run.seen:
        spool.status(STATES[run.state], at=run.created)
    return spool


# --- filters -----------------------------------------------------------------------------------


class Said(NamedTuple):
    """A filter, and whether it is true for a run."""

    text: str
    holds: Callable[[Run], bool]

    def __repr__(self) -> str:
        return self.text


class _Operand(NamedTuple):
    text: str
    # By type.
    values: Callable[[Run], Mapping[str, Any]]


def _operands(draw: Callable[..., Any]) -> _Operand:
    which = draw(st.integers(0, 5))
    if which == 0:
        text, path = draw(
            st.sampled_from(
                [
                    ("status", "sys/state"), ("created", "sys/creation_time"),
                    ("run_id", "sys/custom_run_id"), ("sys/forked_from", "sys/forked_from"),
                    ("sys/failed", "sys/failed"), ("name", "sys/name"), ("tags", "sys/tags"),
                ]
            )
        )  # fmt: skip
        return _Operand(
            text, lambda run: found if (found := run.known(path)) is not None else run.values(path)
        )
    if which in (1, 2):
        path = draw(st.sampled_from([*METRICS, "log"]))
        stat = draw(st.sampled_from(["", "last", "first", "min", "max", "mean", "count"]))
        kind = draw(st.sampled_from(["", "", "float_series"]))
        text = _path(path) + (f".{stat}" if stat else "") + (f":{kind}" if kind else "")

        def of_series(run: Run) -> Mapping[str, Any]:
            found = run.stat(path, stat or "last")
            return {k: v for k, v in found.items() if kind in ("", k)}

        return _Operand(text, of_series)
    path = draw(st.sampled_from([*CONFIGS, "labels", "nobody/has/it"]))
    kind = draw(st.sampled_from(["", "", "int", "float", "string", "bool"]))

    def of_config(run: Run) -> Mapping[str, Any]:
        return {k: v for k, v in run.values(path).items() if kind in ("", k)}

    return _Operand(_path(path) + (f":{kind}" if kind else ""), of_config)


def _path(path: str) -> str:
    plain = re.fullmatch(r"[\w/]+", path) and path != "name"
    return path if plain else "`" + path.replace("`", "``") + "`"


def _literal(draw: Callable[..., Any]) -> tuple[str, Any]:
    kind = draw(st.sampled_from(["int", "float", "string", "bool", "datetime"]))
    value = draw(st.sampled_from([*_choices(kind), *_MORE.get(kind, ())]))
    if kind == "string":
        quote = draw(st.sampled_from("\"'"))
        escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
        return f"{quote}{escaped}{quote}", value
    if kind == "datetime":
        return f'"{value.isoformat()}"', value
    if kind == "bool":
        return str(value).lower(), value
    return str(value), value


_MORE: Mapping[str, Sequence[Any]] = {
    "int": (2**63 - 1, -(2**63), 10**25),
    "float": (1e-3, -1e300, 2.0**60, 0.5000001),
    "string": ("running", "failed", "run-3", "exp-a", "2026-01-02T12:00:00.002+00:00"),
    "datetime": (TIMES[0] + timedelta(microseconds=1), datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)),
}


def comparable(kind: str, value: Any, literal: Any) -> tuple[Any, Any] | None:
    """Both as Python compares them, if they are of one kind."""
    if isinstance(literal, bool) or kind == "bool":
        return (value, literal) if isinstance(literal, bool) and kind == "bool" else None
    if isinstance(literal, int | float):
        if isinstance(literal, int) and not -(2**63) <= literal < 2**63:
            literal = float(literal)
        return (value, literal) if isinstance(value, int | float) else None
    if kind == "datetime":
        moment = literal if isinstance(literal, datetime) else _moment(literal)
        return (value, moment) if moment else None
    text = literal if isinstance(literal, str) else literal.isoformat()
    return (value, text) if kind in STRINGS and isinstance(value, str) else None


def _moment(text: str) -> datetime | None:
    if not re.match(r"\d{4}-", text):
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _compares(op: str, kind: str, value: Any, literal: Any) -> bool:
    pair = comparable(kind, value, literal)
    if pair is None:
        return False
    mine, other = pair
    if isinstance(other, float) and math.isnan(other):
        nan = isinstance(mine, float) and math.isnan(mine)
        return nan if op == "==" else not nan if op == "!=" else False
    if isinstance(other, bool) and op not in ("==", "!="):
        return False
    return bool(
        {
            "==": mine == other, "!=": mine != other, "<": op == "<" and mine < other,
            "<=": op == "<=" and mine <= other, ">": op == ">" and mine > other,
            ">=": op == ">=" and mine >= other,
        }[op]
    )  # fmt: skip


@st.composite
def single_tests(draw: Callable[..., Any]) -> Said:
    operand = _operands(draw)
    values = operand.values
    match draw(st.sampled_from(["compare", "compare", "compare", "in", "match", "has", "exists"])):
        case "compare":
            op = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
            text, literal = _literal(draw)
            return Said(
                f"{operand.text} {op} {text}",
                lambda run: any(_compares(op, k, v, literal) for k, v in values(run).items()),
            )
        case "in":
            literals = [_literal(draw) for _ in range(draw(st.integers(1, 4)))]
            negated = draw(st.booleans())

            def among(run: Run) -> bool:
                for kind, value in values(run).items():
                    mine = [v for _, v in literals if comparable(kind, value, v)]
                    if mine and any(_compares("==", kind, value, v) for v in mine) != negated:
                        return True
                return False

            listed = ", ".join(text for text, _ in literals)
            return Said(f"{operand.text} {'not ' * negated}in ({listed})", among)
        case "match":
            pattern = draw(
                st.sampled_from(["a", "^Adam$", "(?i)adam", "e.b", r"\d", "^$", "ü|run"])
            )
            negated = draw(st.booleans())

            def matches(run: Run) -> bool:
                return any(
                    bool(re.search(pattern, v, re.DOTALL)) != negated
                    for k, v in values(run).items()
                    if k in STRINGS and isinstance(v, str)
                )

            return Said(f"{operand.text} {'!~' if negated else '=~'} '{pattern}'", matches)
        case "has":
            text = draw(st.sampled_from([*TAGS[:2], "ünï", "dam", ""]))
            negated = draw(st.booleans())

            def has(run: Run) -> bool:
                return any(
                    (text in v) != negated
                    for k, v in values(run).items()
                    if k == "string_set" or (k in STRINGS and isinstance(v, str))
                )

            return Said(f'{operand.text} {"not " * negated}has "{text}"', has)
        case _:
            after = draw(st.booleans())
            text = f"{operand.text} exists" if after else f"exists {operand.text}"
            return Said(text, lambda run: bool(values(run)))


def _joined(parts: Sequence[Said], word: str) -> Said:
    def holds(run: Run) -> bool:
        said = [part.holds(run) for part in parts]
        return all(said) if word == "and" else any(said)

    return Said(f" {word} ".join(f"({part.text})" for part in parts), holds)


def _extended(children: st.SearchStrategy[Said]) -> st.SearchStrategy[Said]:
    several = st.lists(children, min_size=2, max_size=3)
    return st.one_of(
        st.builds(_joined, several, st.sampled_from(["and", "or"])),
        children.map(lambda one: Said(f"not ({one.text})", lambda run: not one.holds(run))),
    )


def askable(said: Said) -> bool:
    """Not one whose own words say that it can't be true, which is refused."""
    try:
        read_filter(said.text)
    except FilterError:
        return False
    return True


filters = st.recursive(single_tests().filter(askable), _extended, max_leaves=5)
