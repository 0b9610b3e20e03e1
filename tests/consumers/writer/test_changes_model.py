"""Deletes, restores, purges, used ids, resends and late arrivals, against a plain model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_changes import Stepping, change_batch, parsed, points_batch

from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store, run_key
from naiad_store.lookups import tombstones
from naiad_store.purging import leftovers
from naiad_store.selects.runs import Which, select_runs

RUNS = ("a", "b")
_PROJECTS = itertools.count(1)
_EXAMPLES = settings(
    max_examples=4, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

KINDS = {
    "delete": {"delete_run": pb.DeleteRun()},
    "restore": {"restore_run": pb.RestoreRun()},
    "purge": {"purge_run": pb.PurgeRun()},
}
Operation = tuple[str, int, list[int]]
STEPS = st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)
# A new writer, or one from before, of the run that the number picks.
LOGS = st.one_of(
    st.tuples(st.just("new"), st.integers(0, 3), STEPS),
    st.tuples(st.just("log"), st.integers(0, 7), STEPS),
    st.tuples(st.just("again"), st.integers(0, 7), STEPS),
)
CHANGES = st.tuples(
    st.sampled_from(["delete", "delete", "restore", "purge", "restart"]), st.integers(0, 3), STEPS
)
# Nearly all of one run, and after each change something is logged.
operations = st.lists(
    st.tuples(CHANGES, st.lists(LOGS, min_size=1, max_size=3)), min_size=3, max_size=6
).map(lambda phases: [one for change, logs in phases for one in (*logs, change)])


@dataclass(eq=False)
class Life:
    """Points by step, each with (epoch, record) of the writer that it has it from."""

    points: dict[int, tuple[int, int]] = field(default_factory=dict)
    begun: bool = False
    purged: bool = False
    # Where its writers went on, when an older life was restored in its place.
    instead: Life | None = None


@dataclass
class Run:
    current: Life = field(default_factory=Life)
    trash: list[Life] = field(default_factory=list)

    def change(self, kind: str) -> None:
        if kind == "delete":
            self.trash.append(self.current)
            self.current = Life()
        elif kind == "purge":
            for life in self.trash:
                life.points, life.purged, life.begun = {}, True, False
            self.trash = []
        elif self.trash and not self.current.begun:
            found = next((life for life in reversed(self.trash) if life.begun), self.trash[-1])
            self.trash.remove(found)
            self.current.instead = found
            self.current = found


@dataclass
class Model:
    """Takes what the log holds, in its order."""

    runs: dict[str, Run] = field(default_factory=lambda: {name: Run() for name in RUNS})
    lives: dict[int, Life] = field(default_factory=dict)

    def begin(self, epoch: int, run: str) -> None:
        self.lives[epoch] = self.runs[run].current

    def take(self, epoch: int, record: int, steps: Sequence[int]) -> None:
        life = self.lives[epoch]
        while life.instead:
            life = life.instead
        if life.purged:
            return
        life.begun = True
        for number, step in enumerate(steps):
            life.points[step] = max(life.points.get(step, (0, 0)), (epoch, record + number))

    def visible(self) -> dict[str, dict[int, int]]:
        return {
            name: {step: epoch for step, (epoch, _) in run.current.points.items()}
            for name, run in self.runs.items()
            if run.current.begun
        }

    def in_trash(self) -> list[tuple[str, list[tuple[int, int]]]]:
        return sorted(
            (name, sorted((step, epoch) for step, (epoch, _) in life.points.items()))
            for name, run in self.runs.items()
            for life in run.trash
            if life.begun
        )


def points_of(store: Store, project: str, run: int) -> dict[int, int]:
    rows = store.query(
        "SELECT toInt64(step) AS step, value FROM points FINAL"
        " WHERE project = {project:String} AND run = {run:UInt64}",
        {"project": project, "run": run},
    ).to_pylist()
    return {row["step"]: int(row["value"]) for row in rows}


def check(store: Store, project: str, model: Model) -> None:
    seen = {
        run.run_id: points_of(store, project, run.run)
        for run in select_runs(store, project, Which())
    }
    assert seen == model.visible()
    trashed = [
        (run.run_id, sorted(points_of(store, project, run.run).items()))
        for run in select_runs(store, project, Which(in_trash=True))
    ]
    assert sorted(trashed) == model.in_trash()
    sql = store.query(
        "SELECT run_id, count() AS n FROM view_points WHERE project = {project:String}"
        " GROUP BY run_id",
        {"project": project},
    ).to_pylist()
    assert {row["run_id"]: row["n"] for row in sql} == {
        name: len(points) for name, points in model.visible().items()
    }
    purged = [end.run for end in tombstones(store, [project]) if end.state == "purged"]
    if purged:
        assert leftovers(store, project, purged) == {}


def play(
    project: str, script: Sequence[Operation], model: Model
) -> tuple[list[pb.Batch], list[int]]:
    """The log that the script makes, which the model has seen, and where the writer restarts."""
    log: list[pb.Batch] = []
    restarts: list[int] = []
    begun: list[tuple[int, str]] = []
    records: dict[int, int] = {}
    logged: list[tuple[pb.Batch, int, int, list[int]]] = []
    for at, (kind, number, steps) in enumerate(script, 1):
        run = RUNS[number == 3]
        if kind == "new" or (kind == "log" and not begun):
            begun.append((at, run))
            model.begin(at, run)
        if kind in ("new", "log"):
            # Any that has begun, however long ago: what it logs may be late.
            epoch, run = begun[-1] if kind == "new" else begun[number % len(begun)]
            first = records.get(epoch, 1)
            batch = points_batch(project, run, epoch, steps, first=first)
            record = first + len(batch.items)
            records[epoch] = record + len(steps)
            logged.append((batch, epoch, record, steps))
            log.append(batch)
            model.take(epoch, record, steps)
        elif kind == "again" and logged:
            batch, epoch, record, steps = logged[number % len(logged)]
            log.append(batch)
            model.take(epoch, record, steps)
        elif kind in KINDS:
            log.append(change_batch(project, run, at, **KINDS[kind]))
            model.runs[run].change(kind)
        elif kind == "restart":
            restarts.append(len(log))
    return log, restarts


@_EXAMPLES
@given(script=operations, data=st.data())
def test_what_is_seen_is_what_the_model_says(
    store: Store, script: list[Operation], data: st.DataObject
) -> None:
    project = f"model/p{next(_PROJECTS)}"
    model = Model()
    log, restarts = play(project, script, model)
    writer = Stepping(store)
    for begin, end in itertools.pairwise([0, *restarts, len(log)]):
        writer.take(parsed(log[begin:end]))
        writer.say()
        # A restart, with what was committed a while before done again.
        writer.begin()
        back = data.draw(st.integers(0, begin))
        writer.take(parsed(log[back:begin]))
    writer.say()
    check(store, project, model)
    # Once more from any point on, as after a crash.
    writer.begin()
    writer.take(parsed(log[data.draw(st.integers(0, len(log))) :]))
    writer.say()
    check(store, project, model)
    # And all of it at once, as a rebuild reads it.
    again = f"{project}-again"
    for batch in log:
        batch.project = again
    writer.begin()
    writer.take(parsed(log))
    writer.say()
    check(store, again, model)
    assert {
        (end.run_id, end.until, end.incarnation, end.next, end.state)
        for end in tombstones(store, [project])
    } == {
        (end.run_id, end.until, end.incarnation, end.next, end.state)
        for end in tombstones(store, [again])
    }


def test_keys_differ_by_life(store: Store) -> None:
    project = f"model/p{next(_PROJECTS)}"
    writer = Stepping(store)
    writer.take(
        parsed(
            [
                points_batch(project, "a", 1, [0]),
                change_batch(project, "a", 2, delete_run=pb.DeleteRun()),
                points_batch(project, "a", 3, [0]),
            ]
        )
    )
    writer.say()
    (seen,) = select_runs(store, project, Which())
    (trashed,) = select_runs(store, project, Which(in_trash=True))
    assert trashed.run == run_key(project, "a")
    assert seen.run != trashed.run
