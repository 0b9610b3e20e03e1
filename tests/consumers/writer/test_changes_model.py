"""Deletes, restores, purges, used ids, resends and late arrivals, against a plain model."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_changes import Stepping, change_batch, parsed, points_batch
from support_changes_model import Model, Operation, operations, play

from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store, run_key
from naiad_store.lookups import tombstones
from naiad_store.purging import leftovers
from naiad_store.selects.runs import Which, select_runs

_PROJECTS = itertools.count(1)
_EXAMPLES = settings(
    max_examples=4, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


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
