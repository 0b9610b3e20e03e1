"""What becomes of runs that are logged to, deleted, restored and purged: a plain model, and scripts
of what may happen to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st
from support_changes import change_batch, points_batch

from naiad_proto.v1 import records_pb2 as pb

RUNS = ("a", "b")
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
