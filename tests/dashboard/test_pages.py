"""Pages for hard times, without a browser: nothing there yet, nobody answering."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest
from support_naiad import free_port
from support_query import Spool, reading

from naiad_store import Store


def script(url: str) -> None:
    """What Streamlit runs; it is taken as text, so it imports for itself."""
    from naiad_dashboard.app import show

    show(url, login=False)


def page(url: str, **query: str) -> AppTest:
    app = AppTest.from_function(script, args=(url,), default_timeout=60)
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


def test_a_server_that_is_away_is_said_and_asked_again() -> None:
    app = page(f"grpc://127.0.0.1:{free_port()}", project="team/first")
    assert not app.exception
    assert "does not answer" in app.error[0].value
    assert any("naiad up" in text.value for text in app.markdown)
    assert [button.label for button in app.button] == ["Try again"]
