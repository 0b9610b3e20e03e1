"""Pages for hard times, without a browser: nothing there yet, nobody answering."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from support_naiad import LONGER
from support_ports import free_port
from support_query import BEGIN, Spool, reading

from naiad_dashboard.filtering import narrowed
from naiad_proto.filters import parse_filter
from naiad_store import Store


def script(url: str) -> None:
    """What Streamlit runs; it is taken as text, so it imports for itself."""
    from naiad_dashboard.app import show

    show(url, login=False)


def page(url: str, **query: str) -> AppTest:
    app = AppTest.from_function(script, args=(url,), default_timeout=60 * LONGER)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def test_the_first_day_shows_how_to_log_something(store: Store, tmp_path: Path) -> None:
    with reading(store, tmp_path / "reading") as server:
        app = page(server.url)
        assert not app.exception
        assert app.subheader[0].value == "No runs yet"
        shown = "\n".join(block.value for block in app.code)
        compile(app.code[0].value, "the example", "exec")
        # On another port than the usual one, the client must be told.
        assert "NAIAD_URL" in shown
        server.write(Spool("team/first", "one").create("hello").metrics({"loss": [1.0]}))
        app.button[0].click().run()
        assert app.selectbox(key="runs-project").value == "team/first"
        (table,) = app.dataframe
        assert table.value["run"].tolist() == ["one"]
        assert table.value["loss"].tolist() == [1.0]


def test_a_filter_by_experiment_can_be_taken_off(store: Store, tmp_path: Path) -> None:
    with reading(store, tmp_path / "reading") as server:
        for run, experiment in (("one", "hello"), ("two", "other"), ("three", "hello")):
            server.write(Spool("team/first", run).create(experiment).set("lr", len(run)))
        app = page(server.url, project="team/first", experiment="hello")
        assert sorted(app.dataframe[0].value["run"]) == ["one", "three"]
        next(b for b in app.button if "hello" in b.label).click().run()
        assert sorted(app.dataframe[0].value["run"]) == ["one", "three", "two"]
        app.text_input(key="runs-find").set_value("^t").run()
        assert sorted(app.dataframe[0].value["run"]) == ["three", "two"]
        assert app.query_params["find"] in ("^t", ["^t"])


def test_a_long_table_has_pages(store: Store, tmp_path: Path) -> None:
    with reading(store, tmp_path / "reading") as server:
        server.write(*(Spool("team/long", f"r{n:03d}").create(at=BEGIN + n) for n in range(205)))
        app = page(server.url, project="team/long", filter='run_id != "r204"')
        seen = []
        for said in (
            "The newest 100 of 204 runs.",
            "100 of 204 runs, those after",
            "4 of 204 runs",
        ):
            assert not app.exception
            assert [said in caption.value for caption in app.caption] == [True]
            seen += app.dataframe[0].value["run"].tolist()
            turn = [button for button in app.button if button.label.startswith("Next")]
            if turn:
                turn[0].click().run()
        assert seen == [f"r{n:03d}" for n in range(203, -1, -1)]
        assert not turn
        # Another question begins with the first page.
        app.text_input(key="runs-filter").set_value("created exists").run()
        assert any("The newest 100 of 205 runs." in caption.value for caption in app.caption)
        broken = page(server.url, project="team/long", after="nonsense")
        assert "cursor is not one that this server gave" in broken.error[0].value
        next(button for button in broken.button if button.label == "First page").click().run()
        assert len(broken.dataframe[0].value) == 100


def test_runs_in_groups(store: Store, tmp_path: Path) -> None:
    with reading(store, tmp_path / "reading") as server:
        for number, lr in enumerate([1, 1.0, 0.5]):
            run = Spool("team/groups", f"r{number}").create(at=BEGIN + number).set("lr", lr)
            server.write(run.metrics({"loss": [3.0, float(number)]}))
        server.write(Spool("team/groups", "none").create().metrics({"loss": [7.0]}))
        app = page(server.url, project="team/groups", group="lr")
        assert not app.exception
        assert app.dataframe[0].value.fillna("none").to_dict("list") == {
            "lr": ["0.5", "1.0", "none"], "runs": [1, 2, 1], "loss min": [2.0, 0.0, 7.0],
            "loss median": [2.0, 0.5, 7.0], "loss max": [2.0, 1.0, 7.0],
        }  # fmt: skip
        app.multiselect(key="runs-group").set_value([]).run()
        assert len(app.dataframe[0].value) == 4


@pytest.mark.parametrize(
    ("given", "values", "filter_"),
    [
        ("", {"lr:float": 1.0}, "lr == 1.0"),
        ("a > 1 or b > 1", {"odd path:string": 'a"b'},
         '(a > 1 or b > 1) and `odd path` == "a\\"b"'),
        ("", {"lr:int": None, "ok:bool": True, "name:float": math.nan},
         "not lr exists and ok == true and `name` == nan"),
        ("", {"when:datetime": datetime(2026, 1, 2, tzinfo=UTC)},
         'when == "2026-01-02T00:00:00+00:00"'),
    ],
)  # fmt: skip
def test_a_group_is_asked_for_by_a_filter(given: str, values: dict[str, Any], filter_: str) -> None:
    assert narrowed(given, values) == filter_
    parse_filter(filter_)


def test_a_server_that_is_away_is_said_and_asked_again() -> None:
    app = page(f"grpc://127.0.0.1:{free_port()}", project="team/first")
    assert not app.exception
    assert "does not answer" in app.error[0].value
    assert any("naiad up" in text.value for text in app.markdown)
    assert [button.label for button in app.button] == ["Try again"]
