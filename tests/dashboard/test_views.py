"""What stands in the address, and how values, paths and tables are put into words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.query.client import Project
from naiad_dashboard import attributes, tables
from naiad_dashboard.colours import DASHES, PALETTE, look, swatch
from naiad_dashboard.command import command
from naiad_dashboard.drawing import AXES, METHODS, Drawing
from naiad_dashboard.sections.output import lines, printed
from naiad_dashboard.texts import (
    duration_text,
    kept_text,
    number_text,
    plain,
    shorten,
    size_text,
    some,
    time_text,
    value_text,
)
from naiad_dashboard.trees import flat, tree
from naiad_dashboard.views import LIMITS, SHADES, TABS, CompareView, RunsView, RunView, TrashView

words = st.text(min_size=1, max_size=12)
# A run id has no slash.
ids = words.filter(lambda word: "/" not in word)
several = st.lists(words, max_size=4, unique=True).map(tuple)
runs = st.lists(ids, max_size=40, unique=True).map(tuple)
chosen = st.none() | several
names = st.sampled_from(
    [
        *CompareView().__dict__,
        "run",
        "from",
        "to",
        "x",
        "limit",
        "x-metric",
        "smooth",
        "smoothing",
        "group",
        "groups",
        "filter",
        "after",
        "band",
    ]
)
paths = st.text("ab/", min_size=1, max_size=6)
ranges = st.tuples(st.floats(-1e9, 1e9), st.floats(0.001, 1e9)).map(lambda r: (r[0], r[0] + r[1]))


@given(
    words, st.text(), chosen, words, st.booleans(), st.sampled_from(LIMITS), runs, st.text(),
    several, st.text(),
)  # fmt: skip
def test_the_runs_page_comes_back_from_its_address(
    project: str, find: str, columns: tuple[str, ...] | None, sort: str, up: bool, limit: int,
    selected: tuple[str, ...], filter_: str, group: tuple[str, ...], after: str,
) -> None:  # fmt: skip
    view = RunsView(project, "", find, columns, sort, up, limit, selected, filter_, group, after)
    assert RunsView.read(view.write()) == view


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    axis, method = draw(st.sampled_from(AXES)), draw(st.sampled_from(METHODS))
    most = 0.99 if method == "ema" else 1e9
    path = draw(words) if axis == "metric" else ""
    return Drawing(axis, path, draw(st.booleans()), method, draw(st.floats(0, most)))


grouping = st.one_of(
    st.builds(lambda paths: {"groups": paths}, several),
    st.builds(lambda: {"together": True}),
)


@given(
    words, runs, chosen, drawings(), st.booleans(), st.none() | ranges, grouping,
    st.sampled_from(SHADES),
)  # fmt: skip
def test_the_compare_page_comes_back_from_its_address(
    project: str, selected: tuple[str, ...], metrics: tuple[str, ...] | None, drawing: Drawing,
    envelope: bool, zoom: tuple[float, float] | None, groups: dict[str, Any], shade: Any,
) -> None:  # fmt: skip
    low, high = zoom or (None, None)
    view = CompareView(
        project, selected, metrics, drawing, envelope, low, high, shade=shade, **groups
    )  # fmt: skip
    assert CompareView.read(view.write()) == view
    assert len(view.write().get("run", [])) <= 20


@given(words, ids, st.sampled_from(TABS), drawings(), st.text(), st.text())
def test_the_run_page_comes_back_from_its_address(
    project: str, run: str, tab: str, drawing: Drawing, find: str, lines: str
) -> None:
    view = RunView(project, run, tab, drawing, find, lines)
    assert RunView.read(view.write()) == view


@given(words, runs, st.text())
def test_the_trash_page_comes_back_from_its_address(
    project: str, selected: tuple[str, ...], after: str
) -> None:
    view = TrashView(project, selected, after)
    assert TrashView.read(view.write()) == view


@pytest.mark.parametrize(
    ("retention", "said"),
    [
        (None, "Runs are kept until somebody deletes them; what is in the trash stays until"
         " somebody purges it."),
        ((1, 0), "Runs go to the trash a day after their end; what is in the trash stays until"
         " somebody purges it."),
        ((0, 30), "Runs are kept until somebody deletes them; what is in the trash is purged"
         " 30 days after it was deleted."),
    ],
)  # fmt: skip
def test_how_long_runs_are_kept_is_said(retention: tuple[int, int] | None, said: str) -> None:
    project = Project(name="a/b")
    if retention is not None:
        project.retention.days, project.retention.trash_days = retention
    assert kept_text(project) == said


@given(st.dictionaries(names, st.lists(st.text(max_size=5), max_size=3)))
def test_any_address_can_be_read(query: dict[str, list[str]]) -> None:
    for kind in (RunsView, CompareView, RunView):
        view = kind.read(query)
        assert kind.read(view.write()) == view


@given(st.lists(st.tuples(paths, st.sampled_from(["int", "float"])), unique=True))
def test_a_tree_keeps_every_value(pairs: list[tuple[str, str]]) -> None:
    leaves = [(path, kind, f"{kind} of {path}") for path, kind in pairs]
    assert sorted(flat(tree(leaves))) == sorted(leaves)


def test_a_swatch_is_its_curve() -> None:
    looks = [look(place) for place in range(len(PALETTE) * len(DASHES))]
    assert len(set(looks)) == len(looks)
    assert look(len(looks)) == looks[0]
    assert len({swatch(one) for one in looks}) == len(looks)
    assert swatch(look(0)).startswith("data:image/svg+xml,")
    assert "%230072b2" in swatch(look(0))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m and \x1b]0;title\x07rest", "red and rest"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("\r", ""),
        ("", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_ends_up(text: str, shown: str) -> None:
    assert printed(text) == shown


def test_lines_of_two_streams_come_by_time() -> None:
    moment = [datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in (1, 3, 2, 3)]
    table = pa.table(
        {
            "path": ["runtime/h/stdout"] * 2 + ["runtime/h/stderr"] * 2,
            "step": [1, 2, 1, 2],
            "timestamp": moment,
            "string_value": ["a", "c", "b", None],
        }
    )
    first = int(moment[0].timestamp() * 1000)
    assert lines(table) == [
        (first, "stdout", "a"),
        (first + 1000, "stderr", "b"),
        (first + 2000, "stderr", ""),
        (first + 2000, "stdout", "c"),
    ]


def test_values_read_well() -> None:
    assert value_text(0.00001) == "1e-05"
    assert value_text(True) == "true"
    assert value_text(["b", "a"]) == "a, b"
    assert value_text({"name": "m.pt", "size_bytes": 1_500_000}) == "m.pt (1.5 MB)"
    assert number_text(3.0) == "3"
    assert number_text(0.1234567) == "0.123457"
    assert size_text(999) == "999 bytes"
    assert size_text(2e12) == "2.0 TB"
    assert duration_text(3.25) == "3.2 s"
    assert duration_text(90061) == "1 d 1 h"
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert time_text(moment, "Europe/Berlin") == "2026-07-01 14:00:00"
    assert time_text(moment, "No/Where") == time_text(moment, None) == "2026-07-01 12:00:00 UTC"
    assert shorten("x" * 60) == "x" * 60
    assert len(shorten("x" * 61)) == 60
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"


@given(st.text())
def test_text_of_users_is_no_markup(text: str) -> None:
    bare = plain(text)
    assert "\n" not in bare
    for sign in "*_`[]<>$:":
        # Each stands behind a backslash of its own, which no other backslash undoes.
        rest = bare.replace("\\\\", "")
        assert rest.count(sign) == rest.count("\\" + sign)


def runs_table(**columns: list[object]) -> pa.Table:
    count = len(next(iter(columns.values())))
    head = {"run_id": [f"r{i}" for i in range(count)], "experiment": [""] * count}
    return pa.table({**head, **{name.replace("__", ":"): v for name, v in columns.items()}})


def test_numbers_of_two_types_are_one_column() -> None:
    found = tables.frame(
        runs_table(lr__int=[1, None], lr__float=[None, 0.1], note__string=["a", ""])
    )
    assert found["lr"].tolist() == [1.0, 0.1]
    assert tables.differing(found, ["lr", "note"]) == ["lr", "note"]
    mixed = tables.frame(runs_table(lr__int=[1, None], lr__string=[None, "high"]))
    assert list(mixed.columns[2:]) == ["lr (number)", "lr (string)"]
    # A column of an attribute that is called as one of ours.
    assert "run (attribute)" in tables.frame(runs_table(run__int=[1]))


def test_a_name_stands_alone_where_it_tells_a_run_from_the_others() -> None:
    table = pa.table({"run_id": ["a", "b", "c", "d"], "experiment": ["net", "net", "lone", "a"]})
    assert tables.labels(tables.frame(table)) == {
        "a": "net · a",
        "b": "net · b",
        "c": "lone",
        # Another run's id.
        "d": "a · d",
    }


def test_what_people_look_at_first_comes_first() -> None:
    paths = ["epoch", "grad/norm", "train/loss", "val/accuracy", "val/loss", "z"]
    assert attributes.main_metrics(paths, 3) == ["val/accuracy", "val/loss", "train/loss"]
    known = [("lr", "float"), ("sys/name", "string"), ("runtime/h/cpu", "float_series"),
             ("loss", "float_series"), ("runtime/h/stdout", "string_series")]  # fmt: skip
    assert attributes.configs(known) == ["lr"]
    assert attributes.metrics(known) == ["loss"]
    assert attributes.hardware(known) == ["runtime/h/cpu"]
    assert attributes.console(known) == ["runtime/h/stdout"]


def test_the_command_says_who_must_sign_in() -> None:
    open_to_all = command("grpc://127.0.0.1:1", "127.0.0.1", 2, False)
    guarded = command("grpc://127.0.0.1:1", "0.0.0.0", 2, True, "c.pem", "k.pem")
    assert "--login" not in open_to_all
    assert "--login" in guarded
    assert "--server.sslCertFile=c.pem" in guarded
    for words_ in (open_to_all, guarded):
        assert "--browser.gatherUsageStats=false" in words_
        assert "--server.enableXsrfProtection=true" in words_
