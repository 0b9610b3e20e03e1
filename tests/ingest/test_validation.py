"""Every limit with an input that breaks it, and that breaking it costs that input only."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from support_batches import EPOCH, NOW, batch, group, text

from naiad_ingest.validation import BatchRefused, check_batch
from naiad_ingest.validation.batch import MAX_REJECTIONS
from naiad_ingest.validation.columns import MAX_BAD_ROWS
from naiad_ingest.validation.values import MAX_TIMESTAMP
from naiad_proto.limits import (
    MAX_HISTOGRAM_BINS,
    MAX_PATH_BYTES,
    MAX_STEP,
    MAX_STRING_BYTES,
)
from naiad_proto.rejections import Rejected
from naiad_proto.steps import MAX_MICRO_STEP, MICRO
from naiad_proto.v1 import records_pb2
from naiad_proto.v1.records_pb2 import (
    CreateRun,
    DoubleList,
    FilePoint,
    FileReference,
    Histogram,
    HistogramPoint,
    Item,
    Rejection,
    RejectionReason,
    SetAttribute,
    UpdateStringSet,
    Value,
    WriterStatus,
)

PATH = records_pb2.REJECTION_REASON_INVALID_PATH
STEP = records_pb2.REJECTION_REASON_INVALID_STEP
VALUE = records_pb2.REJECTION_REASON_INVALID_VALUE
LARGE = records_pb2.REJECTION_REASON_TOO_LARGE
MALFORMED = records_pb2.REJECTION_REASON_MALFORMED
UNKNOWN = records_pb2.REJECTION_REASON_UNKNOWN_KIND

FILE = FileReference(key="sha256/ab", size_bytes=3, sha256="ab" * 32, name="a.txt")
HISTOGRAM = Histogram(edges=[0, 1, 2], counts=DoubleList(values=[3, 4]))
RUNNING = records_pb2.WRITER_STATE_RUNNING


def ints(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<i8").tobytes()


# --- series groups -------------------------------------------------------------------------


def test_good_series_of_every_form_are_taken() -> None:
    extreme = group(rows=3)
    extreme.steps = ints(0, 1, MAX_MICRO_STEP)
    extreme.timestamps = ints(0, 1, MAX_TIMESTAMP)
    extreme.values = np.array([np.nan, np.inf, -np.inf]).tobytes()
    good = batch(
        extreme,
        group(paths=("x" * MAX_PATH_BYTES, "é" * (MAX_PATH_BYTES // 2), "a b/c"), rows=2),
        group(preview=True),
        group(rows=2, preview=True, completions=[0.0, 1.0]),
        group(rows=0),
        text("", "x" * MAX_STRING_BYTES, "line\nline\x00"),
        text(),
    )
    assert check_batch(good) == []


@pytest.mark.parametrize("path", ["", "x" * (MAX_PATH_BYTES + 1), "a\nb", "a\x9bb"])
def test_a_bad_path_costs_its_own_column(path: str) -> None:
    (rejection,) = check_batch(batch(group(paths=("a", path, "b"), rows=2)))
    assert rejection.reason == PATH
    assert (rejection.group_index, rejection.path_index) == (0, 1)
    assert not rejection.HasField("row_index")
    assert len(rejection.path) <= 80


def test_a_path_given_twice_keeps_its_first_column() -> None:
    (rejection,) = check_batch(batch(group(paths=("a", "b", "a"))))
    assert (rejection.reason, rejection.path_index) == (MALFORMED, 2)
    assert "'a' stands twice" in rejection.message


def test_a_bad_row_costs_that_row_of_all_its_paths() -> None:
    spoiled = group(paths=("loss", "accuracy", "c"), rows=4, first_record=10)
    spoiled.steps = ints(0, -1, MAX_STEP * MICRO, 3)
    spoiled.timestamps = ints(NOW, NOW, NOW, MAX_TIMESTAMP + 1)
    first, second, third = check_batch(batch(spoiled))
    assert [r.row_index for r in (first, second, third)] == [1, 2, 3]
    assert [r.reason for r in (first, second, third)] == [STEP, STEP, VALUE]
    assert [r.record for r in (first, second, third)] == [11, 12, 13]
    assert not first.HasField("path_index")
    assert "step -1e-06 of 'loss', 'accuracy' and 1 more is out of range" in first.message
    assert "milliseconds" in third.message


def test_a_row_with_several_faults_is_rejected_once() -> None:
    spoiled = group()
    spoiled.steps = ints(-1)
    spoiled.timestamps = ints(-1)
    assert len(check_batch(batch(spoiled))) == 1


@pytest.mark.parametrize("completion", [-0.1, 1.1, float("nan"), float("inf")])
def test_preview_completions_go_from_0_to_1(completion: float) -> None:
    (rejection,) = check_batch(batch(group(rows=2, preview=True, completions=[0.5, completion])))
    assert (rejection.reason, rejection.row_index) == (VALUE, 1)


@pytest.mark.parametrize("records", [(2, 3), (1, 2), (4, 9)])
def test_records_must_lie_in_the_batchs_interval(records: tuple[int, int]) -> None:
    spoiled = batch(group(rows=3), text("a", "b", "c"), records=records)
    rejections = check_batch(spoiled)
    outside = [n for n in (1, 2, 3) if not records[0] <= n <= records[1]]
    assert [r.record for r in rejections] == outside * 2
    assert {r.reason for r in rejections} == {MALFORMED}


@pytest.mark.parametrize(
    ("column", "data"),
    [
        ("steps", ints(0)),
        ("steps", bytes(15)),
        ("timestamps", b""),
        ("values", bytes(24)),
        ("record_offsets", bytes(4)),
        ("preview_completions", bytes(16)),
        ("first_record", 2**64 - 1),
        ("paths", None),
    ],
)
def test_a_malformed_group_costs_itself_and_the_next_is_kept(
    column: str, data: bytes | int | None
) -> None:
    spoiled = group(rows=2)
    spoiled.ClearField(column) if data is None else setattr(spoiled, column, data)
    (rejection,) = check_batch(batch(spoiled, group(rows=2), records=(1, 2)))
    assert (rejection.reason, rejection.group_index) == (MALFORMED, 0)
    assert Rejected.of([rejection]).whole_group(0)
    assert "group 0" in rejection.message


def test_a_group_that_is_mostly_bad_is_left_out_as_a_whole() -> None:
    rows = 2 * MAX_BAD_ROWS
    spoiled = group(paths=("a", ""), rows=rows)
    steps = np.arange(rows, dtype="<i8")
    steps[: MAX_BAD_ROWS + 1] = -1
    spoiled.steps = steps.tobytes()
    (rejection,) = check_batch(batch(spoiled))
    assert Rejected.of([rejection]).whole_group(0)
    assert rejection.reason == STEP
    # One fewer is told row by row, beside the bad path.
    steps[0] = 0
    spoiled.steps = steps.tobytes()
    assert len(check_batch(batch(spoiled))) == MAX_BAD_ROWS + 1


def test_bad_rows_of_different_kinds_count_together() -> None:
    rows = MAX_BAD_ROWS + 2
    spoiled = group(rows=rows)
    half = np.arange(rows) < rows // 2
    spoiled.steps = np.where(half, -1, 0).astype("<i8").tobytes()
    spoiled.timestamps = np.where(half, NOW, -1).astype("<i8").tobytes()
    (rejection,) = check_batch(batch(spoiled))
    assert Rejected.of([rejection]).whole_group(0)


def test_a_batch_with_more_faults_than_an_answer_holds_is_refused() -> None:
    bad = [Item(record=1, timestamp=NOW)] * (MAX_REJECTIONS + 1)
    assert len(check_batch(batch(*bad[1:]))) == MAX_REJECTIONS
    with pytest.raises(BatchRefused, match="The first: item 0"):
        check_batch(batch(*bad))


# --- string series -------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600"])
def test_an_over_long_string_costs_its_row(character: str) -> None:
    long = character * (MAX_STRING_BYTES // len(character.encode()) + 1)
    (rejection,) = check_batch(batch(text("a", long, "b")))
    assert (rejection.reason, rejection.string_series_index) == (LARGE, 0)
    assert (rejection.row_index, rejection.record) == (1, 2)
    assert "log it as a file" in rejection.message


def test_a_string_series_with_a_bad_path_or_columns_is_left_out() -> None:
    malformed = text("a", "b")
    malformed.steps = ints(0)
    one, other = check_batch(batch(text("a", path="x\x00"), malformed, text("c")))
    assert (one.reason, one.string_series_index) == (PATH, 0)
    assert (other.reason, other.string_series_index) == (MALFORMED, 1)
    rejected = Rejected.of([one, other])
    assert [rejected.whole_string_series(index) for index in range(3)] == [True, True, False]


def test_bad_rows_of_a_string_series() -> None:
    spoiled = text(*"abc")
    spoiled.steps = ints(-1, 0, 0)
    spoiled.timestamps = ints(NOW, -1, NOW)
    assert [(r.reason, r.row_index) for r in check_batch(batch(spoiled))] == [
        (STEP, 0),
        (VALUE, 1),
    ]
    spoiled = text(*["x"] * (MAX_BAD_ROWS + 1))
    spoiled.steps = bytes(b"\xff" * 8 * (MAX_BAD_ROWS + 1))
    (rejection,) = check_batch(batch(spoiled))
    assert Rejected.of([rejection]).whole_string_series(0)


# --- items ---------------------------------------------------------------------------------


def item(**kind: object) -> Item:
    return Item(record=1, timestamp=NOW, **kind)  # type: ignore[arg-type]


def attribute(path: str = "a", **value: object) -> Item:
    return item(set_attribute=SetAttribute(path=path, value=Value(**value)))  # type: ignore[arg-type]


def histogram(
    edges: list[float], counts: list[float] | None = None, densities: list[float] | None = None
) -> Item:
    made = Histogram(edges=edges)
    if counts is not None:
        made.counts.values[:] = counts
    if densities is not None:
        made.densities.values[:] = densities
    return item(histogram_point=HistogramPoint(path="h", step=1, histogram=made))


def file(**changes: object) -> FileReference:
    made = FileReference()
    made.CopyFrom(FILE)
    for field, value in changes.items():
        setattr(made, field, value)
    return made


GOOD_ITEMS = [
    item(create_run=CreateRun(created_at=NOW)),
    item(create_run=CreateRun(created_at=NOW, fork_run_id="parent", fork_step=5)),
    attribute(int_value=-(2**63)),
    attribute(float_value=float("nan")),
    attribute(string_value="x" * MAX_STRING_BYTES),
    attribute(string_value=""),
    attribute(bool_value=False),
    attribute(datetime_value=-1),
    attribute(file_value=FILE),
    attribute("sys/name", string_value="an experiment"),
    item(update_string_set=UpdateStringSet(path="sys/tags", add=["a"], remove=["b"])),
    item(update_string_set=UpdateStringSet(path="sys/tags")),
    item(histogram_point=HistogramPoint(path="h", step=MAX_MICRO_STEP, histogram=HISTOGRAM)),
    histogram(list(range(MAX_HISTOGRAM_BINS + 1)), densities=[0.5] * MAX_HISTOGRAM_BINS),
    item(file_point=FilePoint(path="f", step=0, file=FILE)),
    item(writer_status=WriterStatus(state=RUNNING, started_at=NOW, host="h", reason="a\nb")),
]

BAD_ITEMS: list[tuple[Item, RejectionReason.ValueType, str]] = [
    (Item(record=1, timestamp=NOW), UNKNOWN, "update the server"),
    (Item.FromString(GOOD_ITEMS[0].SerializeToString()[:9] + b"\xc2\x3e\x00"), UNKNOWN, "kind"),
    (Item(record=2, timestamp=NOW, create_run=CreateRun(created_at=NOW)), MALFORMED, "number 2"),
    (Item(record=0, timestamp=NOW, create_run=CreateRun(created_at=NOW)), MALFORMED, "number 0"),
    (Item(record=1, timestamp=-1, create_run=CreateRun(created_at=NOW)), VALUE, "timestamp -1"),
    (item(create_run=CreateRun(created_at=MAX_TIMESTAMP + 1)), VALUE, "creation"),
    (item(create_run=CreateRun(created_at=NOW, fork_run_id="a/b")), VALUE, "fork's parent"),
    (item(create_run=CreateRun(created_at=NOW, fork_run_id="a", fork_step=-1)), STEP, "fork"),
    (attribute(""), PATH, "empty"),
    (attribute(), UNKNOWN, "value for 'a'"),
    (item(set_attribute=SetAttribute(path="a")), UNKNOWN, "value for 'a'"),
    (attribute(string_value="x" * (MAX_STRING_BYTES + 1)), LARGE, "log it as a file"),
    (attribute("sys/name", string_value="x" * 731), VALUE, "730"),
    (attribute("sys/name", string_value=""), VALUE, "experiment name is empty"),
    (attribute(file_value=FileReference()), VALUE, "upload it first"),
    (attribute(file_value=file(sha256="AB" * 32)), VALUE, "sha256"),
    (attribute(file_value=file(key="k" * 1025)), VALUE, "the key of the file for 'a'"),
    (attribute(file_value=file(name="n" * 1025)), VALUE, "the name of the file for 'a'"),
    (attribute(file_value=file(mime_type="a/\n")), VALUE, "the MIME type"),
    (item(update_string_set=UpdateStringSet(path="\n", add=["a"])), PATH, "control"),
    (item(update_string_set=UpdateStringSet(path="t", add=["a", ""])), VALUE, "empty"),
    (item(update_string_set=UpdateStringSet(path="t", remove=["x" * 1025])), VALUE, "1024"),
    (item(update_string_set=UpdateStringSet(path="t", add=["x"], remove=["x"])), VALUE, "both"),
    (item(histogram_point=HistogramPoint(path="", histogram=HISTOGRAM)), PATH, "empty"),
    (item(histogram_point=HistogramPoint(path="h", step=-1, histogram=HISTOGRAM)), STEP, "'h'"),
    (histogram([], counts=[]), VALUE, "at least 2"),
    (histogram([0], counts=[]), VALUE, "at least 2"),
    (histogram(list(range(514)), counts=[0] * 513), VALUE, "at most 512"),
    (histogram([0, 1, 1], counts=[1, 1]), VALUE, "do not ascend"),
    (histogram([0, float("inf")], counts=[1]), VALUE, "not a finite"),
    (histogram([0, float("nan"), 1], counts=[1, 1]), VALUE, "not a finite"),
    (histogram([0, 1, 2], counts=[1]), VALUE, "1 counts for 2 bins"),
    (histogram([0, 1], densities=[0.5, 0.5]), VALUE, "2 densities for 1 bins"),
    (histogram([0, 1], counts=[-1]), VALUE, "negative"),
    (histogram([0, 1], counts=[float("nan")]), VALUE, "negative or not finite"),
    (histogram([0, 1]), VALUE, "neither counts nor densities"),
    (item(file_point=FilePoint(path="f", step=MAX_STEP * MICRO, file=FILE)), STEP, "'f'"),
    (item(file_point=FilePoint(path="f")), VALUE, "no key"),
    (item(writer_status=WriterStatus(started_at=NOW)), VALUE, "writer state 0"),
    (item(writer_status=WriterStatus(state=99, started_at=NOW)), VALUE, "writer state 99"),
    (item(writer_status=WriterStatus(state=RUNNING, started_at=-1)), VALUE, "writer's start"),
    (item(writer_status=WriterStatus(state=RUNNING, host="h\n")), VALUE, "host"),
    (item(writer_status=WriterStatus(state=RUNNING, reason="x" * 65537)), LARGE, "cut it"),
]  # fmt: skip


def test_good_items_of_every_kind_are_taken() -> None:
    assert check_batch(batch(*GOOD_ITEMS)) == []


@pytest.mark.parametrize(("bad", "reason", "said"), BAD_ITEMS)
def test_a_bad_item_is_named_with_its_reason_and_the_others_are_taken(
    bad: Item, reason: RejectionReason.ValueType, said: str
) -> None:
    (rejection,) = check_batch(batch(GOOD_ITEMS[0], bad, GOOD_ITEMS[2], records=(1, 1)))
    assert rejection.reason == reason
    assert rejection.item_index == 1
    assert rejection.record == bad.record
    assert said in rejection.message
    assert rejection.message.isprintable()


# --- cost ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("paths", "rows"), [(50, 2_000), (5_000, 20), (100_000, 1)])
def test_100_000_points_are_looked_at_as_a_whole(
    paths: int, rows: int, report_figure: Callable[[str], None]
) -> None:
    full = batch(group(paths=[f"layer/{index}/norm" for index in range(paths)], rows=rows))
    took = []
    rejections: list[Rejection] = []
    for _ in range(5):
        began = time.perf_counter()
        rejections = check_batch(full)
        took.append(time.perf_counter() - began)
    assert rejections == []
    report_figure(
        f"ingest validates 100,000 points ({paths:,} paths x {rows:,} rows) in"
        f" {min(took) * 1000:.1f} ms"
    )


def test_epochs_up_to_63_bits_are_taken() -> None:
    assert check_batch(batch(epoch=2**63 - 1, records=(1, 5))) == []
    assert check_batch(batch(epoch=EPOCH, records=None)) == []
