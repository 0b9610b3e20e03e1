"""Runs are deleted, restored and purged from the pages, over a real `naiad up`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from streamlit.testing.v1 import AppTest
from support_browser import Tab, chromium, needs_chromium, tab
from support_naiad import LONGER, Naiad, running_naiad, wait_until
from support_query import BEGIN, Spool
from support_sending import send

from naiad.editing import Editor
from naiad.query.client import QueryClient, Runs
from naiad_proto.v1 import records_pb2 as pb

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def naiad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    data = tmp_path_factory.mktemp("trash") / "data"
    with running_naiad(data, "--dashboard-port", "0") as naiad:
        yield naiad


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(naiad: Naiad, browser: Browser) -> Iterator[Tab]:
    with tab(browser, naiad.dashboard) as opened:
        yield opened


def logged(naiad: Naiad, project: str, *runs: str) -> None:
    spools = []
    for number, run in enumerate(runs):
        spool = Spool(project, run).create(f"net-{run}", at=BEGIN + number)
        state = pb.WRITER_STATE_RUNNING if run == "live" else pb.WRITER_STATE_FINISHED
        spools.append(spool.metrics({"loss": [1.0, 0.5]}).status(state))
    send(naiad.url, *spools)


def runs(naiad: Naiad, project: str, *, in_trash: bool = False) -> list[str]:
    with QueryClient(naiad.url) as client:
        return sorted(client.list_runs(project, Runs(in_trash=in_trash)))


def deleted(naiad: Naiad, project: str, *run_ids: str) -> None:
    with Editor(naiad.url) as editor:
        assert all(one.done for one in editor.delete(project, run_ids))


def script(url: str) -> None:
    """What Streamlit runs; it is taken as text, so it imports for itself."""
    from naiad_dashboard.app import show

    show(url, login=False)


def opened(url: str, **query: str | list[str]) -> AppTest:
    app = AppTest.from_function(script, args=(url,), default_timeout=60 * LONGER)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def shown(app: AppTest) -> str:
    return "\n".join(text.value for text in (*app.markdown, *app.caption, *app.warning))


def test_what_can_not_be_deleted_is_said(naiad: Naiad) -> None:
    """The first test of the file, so that no project has a run when it is said."""
    logged(naiad, "team/gone", "a", "b")
    app = opened(naiad.url, project="team/gone", run=["a", "b"])
    press(app, "Delete")
    # By somebody else meanwhile.
    deleted(naiad, "team/gone", "a")
    press(app, "Move to trash")
    assert [toast.value for toast in app.toast] == ["1 run moved to the trash"]
    assert "there is no run 'a'" in app.error[0].value.replace("\\", "")
    press(app, "Dismiss")
    assert not app.error
    # Where the last runs of all went.
    assert "All runs" in app.info[0].value
    assert runs(naiad, "team/gone", in_trash=True) == ["a", "b"]


def test_a_deletion_names_how_many_and_which_before_it_is_made(naiad: Naiad) -> None:
    project, chosen = "team/asked", [f"r{number:02d}" for number in range(12)]
    logged(naiad, project, *chosen, "live", "kept")
    app = opened(naiad.url, project=project, run=[*chosen, "live"])
    assert "Move to trash" not in [button.label for button in app.button]
    press(app, "Delete")
    assert "**13 runs** of team" in shown(app)
    # Ten by their names, and that there are more.
    assert [f"r{number:02d}" in shown(app) for number in range(12)] == [True] * 10 + [False] * 2
    assert "and 3 more" in shown(app)
    assert "1 is still running" in shown(app)
    assert len(runs(naiad, project)) == 14
    press(app, "Cancel")
    assert "Move to trash" not in [button.label for button in app.button]
    assert len(runs(naiad, project)) == 14
    press(app, "Delete")
    press(app, "Move to trash")
    assert not app.exception
    assert [toast.value for toast in app.toast] == ["13 runs moved to the trash"]
    assert app.dataframe[0].value["run"].tolist() == ["kept"]
    assert runs(naiad, project) == ["kept"]
    assert runs(naiad, project, in_trash=True) == sorted([*chosen, "live"])
    assert "run" not in app.query_params


def test_another_selection_is_another_question(naiad: Naiad) -> None:
    logged(naiad, "team/other", "a", "b")
    app = opened(naiad.url, project="team/other", run="a")
    press(app, "Delete")
    assert "**1 run** of" in shown(app)
    # As by the browser's way back.
    app.query_params["run"] = "b"
    app.run()
    assert "Move to trash" not in [button.label for button in app.button]


@pytest.mark.browser
@needs_chromium
def test_runs_go_to_the_trash_and_come_back(page: Tab, naiad: Naiad) -> None:
    project = "team/back"
    logged(naiad, project, "first", "second", "third")
    with Editor(naiad.url) as editor:
        editor.set_retention(project, 90, 7)
    with QueryClient(naiad.url) as client:
        wait_until(
            lambda: client.describe_projects([project])[0].HasField("retention"), 20,
            "how long runs are kept is read",
        )  # fmt: skip
    page.go(f"/runs?project={project}").shows("3 runs")
    page.shows("Runs go to the trash 90 days after their end")
    # The newest run is the first row.
    page.tick(0)
    page.shows("1 selected")
    page.tick(1)
    page.shows("2 selected")
    page.page.get_by_role("button", name="Delete").click()
    dialog = page.page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 runs of team/back")
    for name in ("net-third", "net-second"):
        expect(dialog).to_contain_text(name)
    dialog.get_by_role("button", name="Move to trash").click()
    page.shows("1 run. Select some")
    expect(dialog).to_have_count(0)
    assert "run" not in page.query
    page.page.get_by_role("link", name="Trash").click()
    page.shows("2 deleted runs. Select some")
    page.shows("what is in the trash is purged 7 days after it was deleted")
    page.tick(0)
    page.shows("1 selected")
    page.page.get_by_role("button", name="Restore this run").click()
    page.shows("1 deleted run. Select some")
    assert len(runs(naiad, project)) == 2
    page.settled()
    page.page.reload()
    page.shows("1 deleted run. Select some")


@pytest.mark.browser
@needs_chromium
def test_a_run_is_deleted_from_its_own_page(page: Tab, naiad: Naiad) -> None:
    project = "team/page"
    logged(naiad, project, "mine", "stays")
    page.go(f"/run?project={project}&run=mine").shows("finished")
    page.page.get_by_role("button", name="Delete").click()
    dialog = page.page.get_by_role("dialog")
    expect(dialog).to_contain_text("net-mine")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert runs(naiad, project) == ["mine", "stays"]
    page.page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Move to trash").click()
    page.shows("Run mine is in the trash.")
    assert runs(naiad, project) == ["stays"]
    page.page.get_by_role("link", name="Trash").last.click()
    page.shows("1 selected")


@pytest.mark.browser
@needs_chromium
def test_a_purge_wants_the_name_typed(page: Tab, naiad: Naiad) -> None:
    project = "team/end"
    logged(naiad, project, "one", "two", "three", "stays")
    deleted(naiad, project, "one")
    deleted(naiad, project, "two", "three")
    # The last deleted first.
    page.go(f"/trash?project={project}&run=one").shows("1 selected")
    page.page.get_by_role("button", name="Purge this run").click()
    dialog = page.page.get_by_role("dialog")
    expect(dialog).to_contain_text("net-one")
    name = dialog.get_by_role("textbox", name="Type the run's id to go on")
    for wrong in ("", "One", project):
        name.fill(wrong)
        dialog.get_by_role("button", name="Purge for good").click()
        expect(dialog).to_contain_text("That is not one: nothing was purged.")
        page.settled()
    assert runs(naiad, project, in_trash=True) == ["one", "three", "two"]
    name.fill("one")
    dialog.get_by_role("button", name="Purge for good").click()
    page.shows("2 deleted runs. Select some")
    assert runs(naiad, project, in_trash=True) == ["three", "two"]
    # Of several the project's name.
    page.go(f"/trash?project={project}&run=three&run=two").shows("2 selected")
    page.page.get_by_role("button", name="Purge 2 runs").click()
    dialog.get_by_role("textbox", name="Type the project's name to go on").fill(project)
    dialog.get_by_role("button", name="Purge for good").click()
    page.shows("The trash of team/end is empty.")
    assert runs(naiad, project) == ["stays"]


@pytest.mark.browser
@needs_chromium
def test_of_an_id_used_twice_the_one_selected_comes_back(page: Tab, naiad: Naiad) -> None:
    project = "team/twice"
    for experiment in ("older", "newer"):
        # As of a process that begins after the run before was deleted.
        spool = Spool(project, "same", epoch=time.time_ns() // 1000).create(experiment)
        send(naiad.url, spool)
        assert runs(naiad, project) == ["same"]
        deleted(naiad, project, "same")
    page.go(f"/trash?project={project}").shows("2 deleted runs")
    # The last deleted is the first row.
    page.tick(1)
    page.shows("1 selected")
    page.page.get_by_role("button", name="Restore this run").click()
    page.shows("1 deleted run. Select some")
    with QueryClient(naiad.url) as client:
        assert client.runs_table(project)["experiment"].to_pylist() == ["older"]
