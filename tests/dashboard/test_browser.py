"""The pages in a real browser, over a real `naiad up` without login."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from support_browser import Tab, chromium, needs_chromium, tab
from support_naiad import Naiad, running_naiad
from support_query import BEGIN, Spool
from support_sending import send

from naiad_proto.v1 import records_pb2 as pb

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]

PROJECT = "team/curves"
# Fewer than a small chart has columns, so that every point is a column of its own.
STEPS = 200
NAN_AT, INFINITE_AT = 100, 150


def loss(run: int, step: int) -> float:
    return (1 + run) * math.exp(-step / 60) + 0.125


def filled(url: str) -> None:
    """Four runs of 200 steps, the last of which breaks; one with names to stumble over."""
    for number in range(4):
        run = Spool(PROJECT, f"run-{number}").create(f"net-{number}", at=BEGIN + number)
        run.set("optimizer/lr", 10.0 ** -(number + 2)).set("model/kind", "MLP")
        values = [loss(number, step) for step in range(STEPS)]
        if number == 3:
            values[NAN_AT], values[INFINITE_AT] = math.nan, math.inf
        run.metrics({"train/loss": values})
        run.metrics({"val/accuracy": [step / 10 for step in range(10)]}, steps=range(0, 200, 20))
        run.lines("runtime/host/stdout", [f"epoch {line} \x1b[32mdone\x1b[0m" for line in range(8)])
        run.metrics(
            {"runtime/host/cpu/percent": [5.0, 9.0]}, steps=[BEGIN // 1000, BEGIN // 1000 + 9]
        )
        run.tag("sys/tags", add=["small", "<b>bold</b>"])
        run.status(pb.WRITER_STATE_FINISHED, at=BEGIN + 60_000)
        send(url, run)
    odd = Spool("team/odd", "a?b&c=d#e%20 ü").create("*<i>odd</i>* & [long](x) " + "name " * 60)
    odd.set("$x^2$", "<script>alert(1)</script>").metrics({"loss": [1.0, 0.5]})
    # Beside each other one has a point a step, the other one in 50,000.
    odd.metrics({"rare": [3.0, 2.0, 1.0]}, steps=[0, 1, 2])
    odd.metrics({"often": [float(step % 7) for step in range(5000)]}, steps=range(0, 500_000, 100))
    odd.status(pb.WRITER_STATE_STOPPED)
    send(url, odd)
    # Whose columns have values on both sides of zero, and a mean below it.
    signs = Spool("team/odd", "signs").create("signs")
    signs.metrics({"signed": [(-3.0, 1.0)[step % 2] for step in range(4000)]})
    send(url, signs.status(pb.WRITER_STATE_FINISHED))


@pytest.fixture(scope="module")
def naiad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    data = tmp_path_factory.mktemp("browser") / "data"
    with running_naiad(data, "--dashboard-port", "0") as naiad:
        filled(naiad.url)
        yield naiad


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(naiad: Naiad, browser: Browser) -> Iterator[Tab]:
    with tab(browser, naiad.dashboard) as opened:
        yield opened


def compared(*runs: int, more: str = "") -> str:
    chosen = "".join(f"&run=run-{run}" for run in runs)
    return f"/compare?project={PROJECT}{chosen}{more}"


# First, since only the first link that a server is asked for found this out.
def test_a_link_to_a_page_opens_on_a_fresh_server(page: Tab) -> None:
    page.go(f"/run?project={PROJECT}&run=run-1").shows("net-1")


def test_runs_selected_in_the_table_are_compared(page: Tab) -> None:
    page.go(f"/runs?project={PROJECT}").shows("4 runs")
    # The newest run is the first row.
    for row, count in ((0, 1), (1, 2), (3, 3)):
        page.tick(row)
        page.shows(f"{count} selected")
    assert page.query["run"] == ["run-3", "run-2", "run-0"]
    page.shows("Compare 3 runs").click()
    curves = page.curves("train/loss")
    assert list(curves) == page.legend() == ["net-3", "net-2", "net-0"]
    for name, number in (("net-2", 2), ("net-0", 0)):
        assert [x for x, _ in curves[name]] == list(range(STEPS))
        expected = [loss(number, step) for step in range(STEPS)]
        assert [y for _, y in curves[name]] == pytest.approx(expected, abs=1e-4)
    # What no line can show is left out of it, marked, and counted in the legend.
    assert {x for x, _ in curves["net-3"]} == set(range(STEPS)) - {NAN_AT, INFINITE_AT}
    page.shows("1 NaN, 1 +Inf (marked)")
    accuracy = [(20.0 * i, pytest.approx(i / 10)) for i in range(10)]
    assert page.curves("val/accuracy") == dict.fromkeys(["net-3", "net-2", "net-0"], accuracy)
    # The table of configs is a canvas, with its cells beside it for those who can't see.
    page.page.get_by_text("optimizer/lr").first.wait_for(state="attached")


def test_a_reload_and_going_back_keep_the_selection(page: Tab) -> None:
    page.go(f"/runs?project={PROJECT}&run=run-1&run=run-2").shows("2 selected")
    page.tick(0)
    page.shows("3 selected")
    page.page.reload()
    page.shows("3 selected")
    assert page.query["run"] == ["run-1", "run-2", "run-3"]
    page.shows("Compare 3 runs").click()
    assert page.legend() == ["net-1", "net-2", "net-3"]
    page.page.reload()
    assert page.legend() == ["net-1", "net-2", "net-3"]
    page.page.go_back()
    page.shows("3 selected")
    page.tick(0)
    page.shows("2 selected")
    assert page.query["run"] == ["run-1", "run-2"]


def test_a_filter_stands_in_the_address_and_its_mistakes_below_it(page: Tab) -> None:
    page.go(f"/runs?project={PROJECT}").shows("4 runs")
    box = page.page.get_by_label("Filter", exact=True)
    box.fill('optimizer/lr < 0.001 and tags has "small"')
    box.press("Enter")
    page.shows("2 runs. Select some")
    assert page.query["filter"] == ['optimizer/lr < 0.001 and tags has "small"']
    page.page.reload()
    page.shows("2 runs. Select some")
    expect(box).to_have_value('optimizer/lr < 0.001 and tags has "small"')
    for wrong, message, caret in (
        ("optimizer/lr < and", "column 16: expected a value", " " * 17 + "^"),
        # What only the server knows, beside what else narrows the table.
        ('name =~ "("', "column 9: this is not a regular expression", " " * 10 + "^"),
    ):
        box.fill(wrong)
        box.press("Enter")
        page.shows(message)
        page.settled()
        picture = page.page.get_by_test_id("stCode").inner_text()
        assert picture.splitlines()[:2] == [f"  {wrong}", caret]
        expect(page.page.get_by_test_id("stDataFrame")).to_have_count(0)


def test_groups_lead_to_their_runs(page: Tab) -> None:
    page.go(f"/runs?project={PROJECT}&group=optimizer/lr&group=model/kind").shows("4 groups")
    page.tick(1)
    page.shows("Show runs of optimizer/lr 0.0001").click()
    page.shows("1 run. Select some")
    assert page.query["filter"] == ['optimizer/lr == 0.0001 and model/kind == "MLP"']
    assert "group" not in page.query
    page.page.go_back()
    page.shows("4 groups")


def test_time_is_another_axis(page: Tab) -> None:
    page.go(compared(0, 1)).chart("train/loss")
    page.page.get_by_role("radio", name="Time", exact=True).click()
    page.page.wait_for_function("() => location.search.includes('x=time')")
    page.settled()
    expect(page.page.locator(".charts")).to_have_attribute("data-axis", "time")
    times = [x for x, _ in page.curves("train/loss")["net-0"]]
    # One point a second from the first on; columns may hold several.
    assert times[0] == pytest.approx(BEGIN / 1000, abs=1)
    assert times[-1] == pytest.approx(BEGIN / 1000 + STEPS - 1, abs=1)


def test_another_metric_is_an_axis_too(page: Tab) -> None:
    page.go(compared(0, 1, more="&metric=train/loss")).chart("train/loss")
    page.page.get_by_role("radio", name="Metric", exact=True).click()
    page.page.wait_for_function("() => location.search.includes('x-metric=')")
    assert page.query["x"] == ["metric"]
    page.go(compared(0, 1, more="&metric=train/loss&x=metric&x-metric=val/accuracy"))
    expect(page.page.locator(".charts")).to_have_attribute("data-axis", "metric")
    points = page.curves("train/loss")["net-1"]
    assert [x for x, _ in points] == pytest.approx([step / 10 for step in range(10)])
    assert [y for _, y in points] == pytest.approx(
        [loss(1, step) for step in range(0, 200, 20)], abs=1e-3
    )
    page.shows("20 points")
    page.shows("380 of 400 points are left out: val/accuracy has no finite value at their step")


def test_the_server_smooths_whatever_the_zoom(page: Tab) -> None:
    weight = math.sqrt(0.6) ** (1000 / (STEPS - 1))
    weights = [weight ** (STEPS - 1 - step) for step in range(STEPS)]
    last = sum(w * loss(1, step) for step, w in enumerate(weights)) / sum(weights)
    for zoom in ("", "&from=150&to=199"):
        page.go(compared(1, 2, more=f"&metric=train/loss&smoothing=0.6{zoom}"))
        assert page.curves("train/loss")["net-1"][-1] == (STEPS - 1, pytest.approx(last, abs=1e-4))
        # The raw curve stands behind it.
        raw = page.chart("train/loss").evaluate("(h) => h.plot.chart.curves[0].raw.at(-1)")
        assert raw == pytest.approx(loss(1, STEPS - 1), abs=1e-4)
    page.go(compared(1, more="&metric=train/loss&smooth=mean&smoothing=10"))
    mean = sum(loss(1, step) for step in range(95, 106)) / 11
    assert dict(page.curves("train/loss")["net-1"])[100] == pytest.approx(mean, abs=1e-4)


def test_runs_in_groups_are_a_curve_and_a_band(page: Tab) -> None:
    page.go(compared(0, 1, 2, more="&metric=train/loss")).chart("train/loss")
    page.page.get_by_role("combobox", name="Group by").fill("model/kind")
    page.page.get_by_role("option", name="model/kind").click()
    page.shows("model/kind=MLP · 3 runs")
    assert page.query["group"] == ["model/kind"]
    page.page.reload()
    assert page.legend() == ["model/kind=MLP · 3 runs"]
    (curve,) = page.curves("train/loss").values()
    values = [[loss(number, step) for number in range(3)] for step in range(STEPS)]
    assert [y for _, y in curve] == pytest.approx([sum(v) / 3 for v in values], abs=1e-3)
    edges = "(h) => [h.plot.chart.curves[0].low, h.plot.chart.curves[0].high].map((v) => v[60])"
    low, high = page.chart("train/loss").evaluate(edges)
    assert (low, high) == (pytest.approx(min(values[60])), pytest.approx(max(values[60])))
    page.shows("600 points")
    page.go(compared(0, 1, 2, more="&metric=train/loss&groups=one&band=quantiles"))
    assert page.legend() == ["all runs · 3 runs"]
    low, high = page.chart("train/loss").evaluate(edges)
    a, b, c = sorted(values[60])
    assert (low, high) == (pytest.approx((a + b) / 2), pytest.approx((b + c) / 2))
    page.go(compared(0, 1, 2, more="&group=optimizer/lr&metric=train/loss"))
    assert page.legend() == [f"optimizer/lr={r} · 1 run" for r in ("0.0001", "0.001", "0.01")]
    page.go(compared(0, 1, more="&group=nobody")).shows("none of these 2 runs has 'nobody'")


def test_a_logarithmic_axis_loses_no_column(page: Tab) -> None:
    page.go("/compare?project=team/odd&run=signs&metric=signed&y=log")
    low, high, values = page.chart("signed").evaluate(
        "(h) => ['low', 'high', 'values'].map((n) => Array.from(h.plot.chart.curves[0][n]))"
    )
    assert set(high) == {1}
    # Down to the foot of the axis, where the mean has no place.
    assert set(low) == {0.5}
    assert set(values) == {None}
    page.shows(f"{len(values)} of the curve at or below zero")
    page.shows("4,000 points")


def test_dragging_zooms_and_the_address_says_so(page: Tab) -> None:
    page.go(compared(0, 1)).chart("train/loss")
    box = page.still().chart("train/loss").locator(".u-over").bounding_box()
    assert box
    x, y, width = box["x"], box["y"] + 40, box["width"]
    page.page.mouse.move(x + width / 4, y)
    page.page.mouse.down()
    page.page.mouse.move(x + width / 2, y, steps=4)
    page.page.mouse.up()
    page.page.wait_for_function("() => location.search.includes('from=')")
    low, high = float(page.query["from"][0]), float(page.query["to"][0])
    assert 0.2 * STEPS < low < 0.3 * STEPS < 0.45 * STEPS < high < 0.55 * STEPS
    page.page.reload()
    scale = page.scale("train/loss")
    assert (scale["min"], scale["max"]) == pytest.approx((low, high))
    page.page.get_by_role("button", name="Show all").click()
    page.page.wait_for_function("() => !location.search.includes('from=')")


def test_the_mouse_shows_values(page: Tab) -> None:
    page.go(compared(0, 1)).chart("train/loss")
    page.still().chart("train/loss").locator(".u-over").hover()
    tip = page.page.locator(".tip:visible")
    expect(tip).to_have_count(1)
    text = tip.inner_text()
    step = int(re.search(r"step (\d+)", text)[1])  # type: ignore[index]
    for number in (0, 1):
        shown = float(re.search(rf"net-{number}\s+([\d.]+)", text)[1])  # type: ignore[index]
        assert shown == pytest.approx(loss(number, step), rel=1e-3)


def test_the_legend_hides_isolates_and_removes(page: Tab) -> None:
    page.go(compared(0, 1, 2)).chart("train/loss")
    chips = page.page.locator(".legend .chip")
    chips.nth(0).locator(".who").click()
    expect(chips.nth(0)).to_have_class("chip off")
    shown = page.chart("train/loss").evaluate("(h) => h.plot.series.slice(1).map((s) => s.show)")
    assert shown == [False, True, True]
    chips.nth(2).locator(".who").dblclick()
    expect(chips.nth(1)).to_have_class("chip off")
    expect(chips.nth(2)).to_have_class("chip")
    chips.nth(1).locator(".remove").click()
    expect(chips).to_have_count(2)
    assert page.legend() == ["net-0", "net-2"]
    assert page.query["run"] == ["run-0", "run-2"]
    page.settled()
    assert "net-1" not in page.page.locator("body").inner_text()


def test_a_run_shows_all_that_it_logged(page: Tab) -> None:
    page.go(f"/run?project={PROJECT}&run=run-1").shows("finished")
    (values,) = page.curves("train/loss").values()
    assert [y for _, y in values] == pytest.approx(
        [loss(1, step) for step in range(STEPS)], abs=1e-3
    )
    page.page.get_by_role("radio", name="Configs").click()
    leaf = page.page.locator('.leaf[data-path="optimizer/lr"]')
    expect(leaf.locator(".value")).to_have_text("0.001")
    page.page.get_by_role("radio", name="Console").click()
    console = page.page.get_by_role("log")
    expect(console).to_contain_text("epoch 7 done")
    assert "\x1b" not in console.inner_text()
    page.page.get_by_role("radio", name="Hardware").click()
    assert [y for _, y in page.curves("runtime/host/cpu/percent")["run-1"]] == [5.0, 9.0]
    page.page.reload()
    page.chart("runtime/host/cpu/percent")


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (f"/run?project={PROJECT}&run=nobody", "There is no run nobody"),
        (f"/run?project={PROJECT}", "No run chosen"),
        ("/run?project=team/none&run=x", "There is no project team/none"),
        ("/runs?project=team/none", "There is no project team/none"),
        (f"/runs?project={PROJECT}&find=(", "regular expression"),
        (f"/runs?project={PROJECT}&find=nothing-like-it", "No run matches"),
        (f"/compare?project={PROJECT}", "Nothing to compare yet"),
        (f"/compare?project={PROJECT}&run=run-1&run=nobody", "Not in project"),
        (f"/compare?project={PROJECT}&run=run-1&metric=none", "No points of these runs: none"),
    ],
)
def test_a_link_that_leads_nowhere_says_so(page: Tab, link: str, said: str) -> None:
    page.go(link).shows(said)
    page.settled()
    assert "Traceback" not in page.page.locator("body").inner_text()


def test_a_link_with_nonsense_in_it_still_opens(page: Tab) -> None:
    page.go(compared(0, 1, more="&x=up&smoothing=9&from=z&to=1&y=&metric=train/loss&z=1"))
    assert page.legend() == ["net-0", "net-1"]
    assert len(page.curves("train/loss")["net-0"]) == STEPS


def test_names_are_text_whatever_they_hold(page: Tab) -> None:
    page.go("/run?project=team/odd&run=a%3Fb%26c%3Dd%23e%2520%20%C3%BC&tab=configs")
    page.shows("*<i>odd</i>* & [long](x)")
    value = page.page.locator('.leaf[data-path="$x^2$"] .value')
    expect(value).to_have_text("<script>alert(1)</script>")


def test_a_short_metric_beside_a_long_one_is_not_coarse(page: Tab) -> None:
    page.go("/run?project=team/odd&run=a%3Fb%26c%3Dd%23e%2520%20%C3%BC")
    (rare,) = page.curves("rare").values()
    assert rare == [(0, 3), (1, 2), (2, 1)]
    assert len(page.curves("often").popitem()[1]) >= 250


@pytest.mark.long
def test_a_running_run_draws_on_without_a_flash(page: Tab, naiad: Naiad) -> None:
    run = Spool("team/live", "now").create("alive").status(pb.WRITER_STATE_RUNNING)
    run.metrics({"loss": [1.0, 0.9]})
    send(naiad.url, run)
    page.go("/run?project=team/live&run=now")
    chart = page.chart("loss").locator("canvas").first.element_handle()
    run.metrics({"loss": [0.8, 0.7]}, steps=[2, 3])
    send(naiad.url, run)
    holder = page.chart("loss").element_handle()
    page.page.wait_for_function("(h) => h.plot.data[0].length === 4", arg=holder)
    assert chart.evaluate("(canvas) => canvas.isConnected")
    # Behind its end the page looks no more.
    run.metrics({"late": [1.0]}, steps=[4]).status(pb.WRITER_STATE_FINISHED, at=BEGIN + 9000)
    send(naiad.url, run)
    page.shows("finished")
    page.chart("late")


@pytest.mark.long
def test_the_table_fills_while_a_run_is_running(page: Tab, naiad: Naiad) -> None:
    first = Spool("team/busy", "first").create().status(pb.WRITER_STATE_RUNNING)
    send(naiad.url, first)
    page.go("/runs?project=team/busy").shows("1 run. Select some")
    page.tick(0)
    page.shows("1 selected")
    send(naiad.url, Spool("team/busy", "second").create().status(pb.WRITER_STATE_RUNNING))
    page.shows("2 runs")
    assert page.query["run"] == ["first"]
    page.shows("1 selected")


@pytest.mark.long
def test_very_many_runs_are_one_link_and_one_picture(page: Tab, naiad: Naiad) -> None:
    runs = [f"run-{number:04d}" for number in range(150)]
    spools = []
    for number, name in enumerate(runs):
        run = Spool("team/many", name).create(f"sweep-{number % 7}")
        spools.append(run.metrics({"loss": [loss(number, step) for step in range(20)]}))
    send(naiad.url, *spools)
    page.go("/runs?project=team/many&limit=0").shows("150 runs")
    page.tick(-1)
    page.shows("Compare 150 runs").click()
    curves = page.curves("loss")
    assert len(curves) == 150
    (linked,) = page.query["run"]
    assert sorted(linked.split("/")) == runs
    page.page.reload()
    assert page.curves("loss") == curves


def test_dark_and_narrow(naiad: Naiad, browser: Browser) -> None:
    options = {"color_scheme": "dark", "viewport": {"width": 400, "height": 800}}
    with tab(browser, naiad.dashboard, **options) as page:
        page.go(compared(0, 1)).chart("train/loss")
        body = page.page.locator('[data-testid="stApp"]')
        red = int(
            re.findall(r"\d+", body.evaluate("(e) => getComputedStyle(e).backgroundColor"))[0]
        )
        assert red < 60
        wide = page.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 400
        assert page.chart("train/loss").bounding_box()["width"] <= 400  # type: ignore[index]
