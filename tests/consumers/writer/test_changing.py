"""What changes of runs do to rows, and what is said of those that can't be made."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime

import pytest
from support_changes import Stepping, change_batch, parsed, points_batch, writer_id
from support_clickhouse import migrated

from naiad_consumers.writer.writerbook import Spool
from naiad_proto.series import build_string_series
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store, StoreUnavailable, run_key
from naiad_store.contents import WITH_RUNS
from naiad_store.lives import CHANGES
from naiad_store.purging import leftovers, rewrite
from naiad_store.selects import watermarks
from naiad_store.selects.attributes import What, has_file
from naiad_store.selects.derived import DERIVED, derived_columns, derived_names
from naiad_store.selects.projects import Project, Retention, described
from naiad_store.selects.runs import Which, has_project, projects, select_runs

_NUMBERS = itertools.count(1)
DELETE = {"delete_run": pb.DeleteRun()}
RESTORE = {"restore_run": pb.RestoreRun()}
PURGE = {"purge_run": pb.PurgeRun()}


@pytest.fixture
def project() -> str:
    return f"changes/p{next(_NUMBERS)}"


@pytest.fixture
def writer(store: Store) -> Stepping:
    return Stepping(store)


def take(writer: Stepping, *batches: pb.Batch) -> None:
    writer.take(parsed(batches))
    writer.say()


def told(writer: Stepping, project: str, run: str, epoch: int) -> list[str]:
    """What the writer of a change was told."""
    spool = Spool(run_key(project, run, CHANGES), writer_id(epoch), 0)
    return [one.message for one in writer.writers.get(spool).late_rejections]


def seen(store: Store, project: str, **which: bool) -> list[str]:
    return [run.run_id for run in select_runs(store, project, Which(**which))]


def of_every_kind(project: str, run_id: str, epoch: int) -> pb.Batch:
    """A run that has rows in each table."""
    batch = points_batch(project, run_id, epoch, [0, 1])
    file = pb.FileReference(key=f"{epoch:064x}", size_bytes=7, name="f", sha256=f"{epoch:064x}")
    histogram = pb.Histogram(edges=[0, 1], counts=pb.DoubleList(values=[3]))
    kinds = (
        {"set_attribute": pb.SetAttribute(path="f", value=pb.Value(file_value=file))},
        {"update_string_set": pb.UpdateStringSet(path="sys/tags", add=["x"])},
        {"histogram_point": pb.HistogramPoint(path="h", step=0, histogram=histogram)},
        {"file_point": pb.FilePoint(path="fs", step=0, file=file)},
        {"writer_status": pb.WriterStatus(state=pb.WRITER_STATE_RUNNING, host="box", pid=42)},
    )
    for record, kind in enumerate(kinds, batch.records.last + 1):
        batch.items.append(pb.Item(record=record, timestamp=epoch, **kind))
    record = batch.records.last + len(kinds) + 1
    batch.string_series.append(
        build_string_series("out", ["a"], steps=[0], timestamps=[1], first_record=record)
    )
    batch.records.last = record
    return batch


def test_every_table_that_has_rows_of_runs_is_purged(store: Store) -> None:
    found = store.query(
        "SELECT table FROM system.columns WHERE database = {d:String} AND name = 'run'"
        " AND table IN (SELECT name FROM system.tables WHERE database = {d:String}"
        " AND engine LIKE '%MergeTree')",
        {"d": store.database},
    )
    names = {name.removesuffix("_local") for name in found.column(0).to_pylist()}
    assert names == set(WITH_RUNS)


def test_a_purge_leaves_nothing(store: Store, writer: Stepping, project: str) -> None:
    take(writer, of_every_kind(project, "a", 1), of_every_kind(project, "b", 2))
    key, other = run_key(project, "a"), run_key(project, "b")
    for table in ("rollups", "rolled", "dirty_stretches"):
        # No roller works here.
        store.command(
            f"INSERT INTO {table} (project, path, run) VALUES"
            f" ('{project}', 'loss', {key}), ('{project}', 'loss', {other})"
        )
    there = leftovers(store, project, [key])
    # The rows of tombstones and writers, which stay, and alerts, of which there are none.
    assert there.keys() == set(WITH_RUNS) - {"tombstones", "writers", "alerts"}
    take(writer, change_batch(project, "a", 3, **DELETE), change_batch(project, "a", 4, **PURGE))
    assert leftovers(store, project, [key]) == {}
    assert leftovers(store, project, [other]) == there
    spool = Spool(run_key(project, "a", CHANGES), writer_id(4), 0)
    assert 0 < writer.writers.get(spool).freed_bytes < 1_000_000
    rows = store.query(
        "SELECT host, pid, state, points, stored FROM writers WHERE run = {run:UInt64}",
        {"run": key},
    ).to_pylist()
    assert rows
    for row in rows:
        # Without FINAL: older ones held what the run was.
        assert (row["host"], row["pid"], row["state"], row["points"]) == ("", 0, "purged", 0)
        assert [tuple(pair.values()) for pair in row["stored"]] == [(1, 9)]
    discarded = store.query("SELECT key, size_bytes FROM discarded_files FINAL").to_pylist()
    assert {"key": f"{1:064x}", "size_bytes": 7} in discarded
    assert rewrite(store) > 0
    masked = store.query(
        "SELECT count() AS n FROM system.parts WHERE database = currentDatabase() AND active"
        " AND has_lightweight_delete"
    )
    assert masked.column(0)[0].as_py() == 0
    assert leftovers(store, project, [other]) == there


@pytest.mark.long
def test_a_purge_on_a_cluster_leaves_nothing(sharded_url: str, project: str) -> None:
    with migrated(sharded_url) as store:
        writer = Stepping(store)
        take(writer, of_every_kind(project, "a", 1), of_every_kind(project, "b", 2))
        key, other = run_key(project, "a"), run_key(project, "b")
        there = leftovers(store, project, [other])
        take(writer, change_batch(project, "a", 3, **DELETE))
        assert seen(store, project) == ["b"]
        take(writer, change_batch(project, "a", 4, **PURGE))
        assert leftovers(store, project, [key]) == {}
        assert rewrite(store) > 0
        assert leftovers(store, project, [other]) == there


def say_of_the_trash(store: Store, writer: Stepping, project: str) -> None:
    """What readers are told of two runs there that had one id, and of their project."""
    take(writer, points_batch(project, "a", 1, [0]), points_batch(project, "b", 2, [0]))
    assert described(store, [project]) == [Project(project, 2, 0, None)]
    take(writer, change_batch(project, "a", 3, **DELETE))
    take(writer, points_batch(project, "a", 10, [0]))
    take(writer, change_batch(project, "a", 11, **DELETE))
    said = pb.SetRetention(days=3, trash_days=0)
    take(writer, change_batch(project, "", 12, set_retention=said))
    when = datetime.fromtimestamp(5, UTC)
    (found,) = described(store, [project])
    assert found == Project(project, 1, 2, Retention(3, 0, when, "ann"))
    assert found in described(store)
    assert described(store, ["nobody/knows"]) == []
    runs = select_runs(store, project, Which(in_trash=True))
    runs += select_runs(store, project, Which())
    names = {name.path: name for name in DERIVED if DERIVED[name].trash}
    keys = [run.run for run in runs]
    columns = derived_columns(store, project, keys, list(names.values()))
    told = {path: columns[name].to_pylist() for path, name in names.items()}
    assert told["sys/trashed_time"] == [when, when, None]
    assert told["sys/trashed_by"] == ["ann", "ann", None]
    first, second, other = told["sys/incarnation"]
    assert sorted([first, second])[0] == other == 0
    again = max(first, second)
    assert again > 0
    for filter_, wanted in (
        ("sys/incarnation == 0", {0}), (f"sys/incarnation == {again}", {again}),
        ('sys/trashed_time < "2000-01-01" and sys/state == "running"', {0, again}),
        ('not sys/trashed_by == "ann"', set()), ("sys/trashed_time exists", {0, again}),
    ):  # fmt: skip
        asked = Which(in_trash=True, filter=filter_)
        assert {run.run for run in select_runs(store, project, asked)} == {
            run_key(project, "a", incarnation) for incarnation in wanted
        }
    # Of runs that are not there it is asked only by name.
    assert not {name.path for name in derived_names(store, What())} & names.keys()
    assert {name.path for name in derived_names(store, What(), in_trash=True)} >= names.keys()


def test_what_is_said_of_the_trash(store: Store, writer: Stepping, project: str) -> None:
    say_of_the_trash(store, writer, project)


@pytest.mark.long
def test_what_is_said_of_the_trash_of_a_cluster(sharded_url: str, project: str) -> None:
    with migrated(sharded_url) as store:
        say_of_the_trash(store, Stepping(store), project)


def test_what_answers_stand_on_changes_with_a_run(
    store: Store, writer: Stepping, project: str
) -> None:
    take(writer, points_batch(project, "a", 1, [0]))
    known = [watermarks.of_project(store, project)]
    for epoch, change in enumerate((DELETE, RESTORE, DELETE, PURGE), 10):
        take(writer, change_batch(project, "a", epoch, **change))
        known.append(watermarks.of_project(store, project))
    assert len(set(known)) == len(known)


def test_deleted_is_hidden_from_everything(store: Store, writer: Stepping, project: str) -> None:
    take(writer, of_every_kind(project, "a", 1))
    views = ("runs", "points", "attributes", "tags", "series", "strings", "histograms", "files")

    def rows() -> dict[str, int]:
        return {
            view: store.query(
                f"SELECT count() AS n FROM view_{view} WHERE project = {{p:String}}",
                {"p": project},
            ).column(0)[0].as_py()
            for view in views
        }  # fmt: skip

    before = rows()
    assert all(before.values())
    assert has_file(store, project, f"{1:064x}")
    take(writer, change_batch(project, "a", 2, **DELETE))
    assert rows() == dict.fromkeys(views, 0)
    assert (seen(store, project), seen(store, project, in_trash=True)) == ([], ["a"])
    assert not has_file(store, project, f"{1:064x}")
    assert project not in projects(store)
    # Or nobody could ask for its trash.
    assert has_project(store, project)
    take(writer, change_batch(project, "a", 3, **RESTORE))
    assert rows() == before
    assert (seen(store, project), seen(store, project, in_trash=True)) == (["a"], [])


def test_a_running_writer_is_told_once(store: Store, writer: Stepping, project: str) -> None:
    take(writer, of_every_kind(project, "a", 1))
    writer.take(parsed([change_batch(project, "a", 2, **DELETE)]))
    row = writer.writers.get(Spool(run_key(project, "a"), writer_id(1), 0))
    (said,) = row.warnings
    assert "was deleted by ann" in said.message
    assert "naiad runs restore a" in said.message
    writer.say()
    take(writer, change_batch(project, "a", 3, **PURGE))
    first = of_every_kind(project, "a", 1).records.last + 1
    for batch in (
        points_batch(project, "a", 1, [7], first=first),
        points_batch(project, "a", 1, [8], first=first + 1),
        # Again, which is no news.
        points_batch(project, "a", 1, [8], first=first + 1),
    ):
        writer.take(parsed([batch]))
    row = writer.writers.get(Spool(run_key(project, "a"), writer_id(1), 0))
    (rejection,) = row.late_rejections
    assert "was deleted and purged" in rejection.message
    assert rejection.reason == pb.REJECTION_REASON_RUN_GONE
    # What is dropped is counted, and answered as dealt with.
    assert (row.late_rejection_count, row.stored) == (2, ((1, first + 1),))
    writer.say()
    assert leftovers(store, project, [run_key(project, "a")]) == {}


@pytest.mark.parametrize(
    ("before", "change", "message"),
    [
        ([], DELETE, "there is no run 'a' in project"),
        ([DELETE], DELETE, "is in the trash already"),
        ([], RESTORE, "is not in the trash; delete it first"),
        ([], PURGE, "is not in the trash; delete it first"),
        ([DELETE, PURGE], RESTORE, "was purged, and is gone for good"),
        ([DELETE, PURGE], PURGE, "was purged, and is gone for good"),
        ([DELETE], {"restore_run": pb.RestoreRun(incarnation=5)}, "no incarnation 5 in the trash"),
    ],
)
def test_what_can_not_be_done_is_said(
    writer: Stepping, project: str, before: list, change: dict, message: str
) -> None:
    if before or change is not DELETE:
        take(writer, points_batch(project, "a", 1, [0]))
    changes = [
        change_batch(project, "a", epoch, **kind)
        for epoch, kind in enumerate([*before, change], 10)
    ]
    take(writer, *changes[:-1])
    last = 10 + len(before)
    assert all(told(writer, project, "a", epoch) == [] for epoch in range(10, last))
    writer.take(parsed(changes[-1:]))
    (said,) = told(writer, project, "a", last)
    assert message in said
    # Read again it is not said again.
    writer.take(parsed(changes[-1:]))
    assert told(writer, project, "a", last) == [said]


def test_an_id_that_is_used_again_is_another_run(
    store: Store, writer: Stepping, project: str
) -> None:
    take(writer, points_batch(project, "a", 1, [0, 1, 2]))
    take(writer, change_batch(project, "a", 10, **DELETE))
    take(writer, points_batch(project, "a", 20, [0]))
    assert (seen(store, project), seen(store, project, in_trash=True)) == (["a"], ["a"])
    take(writer, change_batch(project, "a", 30, **RESTORE))
    (said,) = told(writer, project, "a", 30)
    assert "used again" in said
    # The second goes too, and the first is chosen to come back.
    take(writer, change_batch(project, "a", 40, **DELETE))
    take(writer, change_batch(project, "a", 50, restore_run=pb.RestoreRun(incarnation=0)))
    assert told(writer, project, "a", 50) == []
    (run,) = select_runs(store, project, Which())
    assert run.run == run_key(project, "a")
    # Whoever continues it now continues the first.
    take(writer, points_batch(project, "a", 60, [3]))
    assert len(select_runs(store, project, Which())) == 1
    take(writer, change_batch(project, "a", 70, **PURGE))
    assert seen(store, project, in_trash=True) == []
    assert seen(store, project) == ["a"]


def test_a_writer_that_began_while_the_deletion_was_on_its_way_goes_with_it(
    store: Store, writer: Stepping, project: str
) -> None:
    take(writer, points_batch(project, "a", 50, [0]))
    take(writer, change_batch(project, "a", 40, **DELETE))
    assert seen(store, project) == []
    take(writer, points_batch(project, "a", 50, [1], first=3))
    assert seen(store, project) == []
    take(writer, points_batch(project, "a", 51, [0]))
    assert seen(store, project) == ["a"]


def test_a_change_that_was_overtaken_is_named(writer: Stepping, project: str) -> None:
    take(writer, points_batch(project, "a", 1, [0]))
    take(writer, change_batch(project, "a", 20, **DELETE))
    take(writer, change_batch(project, "a", 30, **RESTORE))
    writer.take(parsed([change_batch(project, "a", 25, **PURGE)]))
    (said,) = told(writer, project, "a", 25)
    assert "another change" in said


def test_a_run_that_was_heard_of_again_is_kept(
    store: Store, writer: Stepping, project: str
) -> None:
    take(writer, points_batch(project, "a", 1, [0]))
    # Heard at 5000 ms.
    take(writer, change_batch(project, "a", 2, delete_run=pb.DeleteRun(unless_heard_since=5000)))
    assert seen(store, project) == ["a"]
    assert "is kept" in told(writer, project, "a", 2)[0]
    take(writer, change_batch(project, "a", 3, delete_run=pb.DeleteRun(unless_heard_since=5001)))
    assert seen(store, project) == []
    # In the trash since 5000 ms.
    take(writer, change_batch(project, "a", 4, purge_run=pb.PurgeRun(deleted_before=5000)))
    assert seen(store, project, in_trash=True) == ["a"]
    take(writer, change_batch(project, "a", 5, purge_run=pb.PurgeRun(deleted_before=5001)))
    assert seen(store, project, in_trash=True) == []


def test_an_edit_makes_no_run_and_does_not_live(
    store: Store, writer: Stepping, project: str
) -> None:
    def edit(epoch: int) -> pb.Batch:
        status = pb.WriterStatus(state=pb.WRITER_STATE_EDITING)
        tags = pb.UpdateStringSet(path="sys/tags", add=["x"])
        return pb.Batch(
            project=project, run_id="a", writer_id=writer_id(epoch), epoch=epoch,
            records=pb.RecordInterval(first=1, last=2),
            items=[
                pb.Item(record=1, timestamp=1, writer_status=status),
                pb.Item(record=2, timestamp=1, update_string_set=tags),
            ],
        )  # fmt: skip

    writer.take(parsed([edit(1)]))
    row = writer.writers.get(Spool(run_key(project, "a"), writer_id(1), 0))
    assert "no run 'a'" in row.late_rejections[0].message
    writer.say()
    assert seen(store, project) == []
    ended = points_batch(project, "a", 2, [0])
    ended.items.append(
        pb.Item(
            record=1, timestamp=9, writer_status=pb.WriterStatus(state=pb.WRITER_STATE_FINISHED)
        )
    )
    take(writer, ended, edit(3))
    sql = "SELECT state, points FROM view_runs WHERE project = {p:String}"
    assert store.query(sql, {"p": project}).to_pylist() == [{"state": "finished", "points": 1}]
    sql = "SELECT tag FROM view_tags WHERE project = {p:String}"
    assert store.query(sql, {"p": project}).to_pylist() == [{"tag": "x"}]


def test_a_purge_that_was_cut_off_is_finished(
    store: Store, writer: Stepping, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(writer, points_batch(project, "a", 1, [0]), change_batch(project, "a", 2, **DELETE))
    purge = parsed([change_batch(project, "a", 3, **PURGE)])
    command = store.command

    def away(sql: str, parameters: object = None) -> object:
        if re.match(r"DELETE FROM \S*\bseries", sql):
            raise StoreUnavailable("away")
        return command(sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(store, "command", away)
        with pytest.raises(StoreUnavailable):
            writer.take(purge)
    assert seen(store, project, in_trash=True) == []
    assert leftovers(store, project, [run_key(project, "a")])
    # Tried again with the same books, or by another owner.
    writer.take(purge)
    writer.say()
    assert told(writer, project, "a", 3) == []
    assert leftovers(store, project, [run_key(project, "a")]) == {}


def test_how_long_runs_are_kept_is_the_last_that_was_said(
    store: Store, writer: Stepping, project: str
) -> None:
    for epoch, days in ((20, 7), (10, 3)):
        said = pb.SetRetention(days=days, trash_days=1)
        take(writer, change_batch(project, "", epoch, set_retention=said))
    sql = "SELECT days, trash_days, set_by FROM retention FINAL WHERE project = {p:String}"
    assert store.query(sql, {"p": project}).to_pylist() == [
        {"days": 7, "trash_days": 1, "set_by": "ann"}
    ]
