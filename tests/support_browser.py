"""The dashboard in a real Chromium, and what a test wants to know of a page in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    Error,
    Locator,
    Page,
    Response,
    expect,
    sync_playwright,
)
from support_naiad import LONGER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
)
# Without a sandbox of its own, which needs rights that containers lack, and asking nobody.
_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# A page needs less than two seconds; a test machine may have others to serve.
PATIENCE = 45_000 * LONGER
# What `expect` waits is not the page's timeout but one of its own, of 5 s.
expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=_ARGUMENTS, timeout=PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page of the dashboard at `address`, which notes whatever goes wrong in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.problems: list[str] = []
        self.foreign: list[str] = []
        self.received: list[bytes] = []
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", lambda said: self._console(said.type, said.text))
        page.on("response", self._response)
        page.on("websocket", lambda socket: socket.on("framereceived", self._frame))

    def _console(self, kind: str, text: str) -> None:
        # Failed requests are judged by their address, below.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.problems.append(f"console: {text}")

    def _response(self, response: Response) -> None:
        if response.url.startswith(("data:", "blob:")):
            return
        if not response.url.startswith(self.address + "/"):
            self.foreign.append(response.url)
        # Streamlit looks for its server below each part of the path first.
        if response.status >= 400 and "/_stcore/" not in response.url:
            self.problems.append(f"{response.status}: {response.url}")

    def _frame(self, frame: str | bytes) -> None:
        self.received.append(frame if isinstance(frame, bytes) else frame.encode())

    def go(self, path: str) -> Tab:
        """`path` with its query, as someone who pastes a link."""
        self.page.goto(self.address + path)
        return self

    def settled(self) -> Tab:
        """Once the server has nothing more to say."""
        self.page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
        return self

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.page.url).query)

    def shows(self, text: str) -> Locator:
        found = self.page.get_by_text(text).first
        found.wait_for()
        return found

    def still(self) -> Tab:
        """Once nothing more comes that would move what is there."""
        self.settled()
        # Parts whose code the browser has yet to fetch.
        expect(self.page.get_by_test_id("stSkeleton")).to_have_count(0)
        return self

    def tick(self, row: int) -> None:
        """Presses the box of a row of the table, 0 the first, -1 the one above for all. The table
        is a canvas, which says beside it which cells are drawn."""
        table = self.still().page.get_by_test_id("stDataFrame").first
        table.get_by_test_id(f"glide-cell-1-{max(row, 0)}").wait_for(state="attached")
        table.click(position={"x": 17, "y": 35 * row + 52})

    def chart(self, path: str) -> Locator:
        found = self.page.locator(f'.chart[data-path="{path}"] .plot')
        found.locator("canvas").first.wait_for()
        return found

    def curves(self, path: str) -> dict[str, list[tuple[float, float]]]:
        """What the chart library itself holds of each curve: name → (x, y) of its points."""
        drawn: dict[str, list[tuple[float, float]]] = self.chart(path).evaluate(
            """(holder) => Object.fromEntries(holder.plot.chart.curves.map((curve) => {
                const place = holder.plot.data.indexOf(curve.values);
                if (place < 1) throw new Error("a curve that is not drawn");
                const points = holder.plot.data[0].map((x, i) => [x, curve.values[i]]);
                return [curve.style.label, points.filter(([, y]) => typeof y === "number")];
            }))"""
        )
        return {name: [(x, y) for x, y in points] for name, points in drawn.items()}

    def legend(self) -> list[str]:
        self.page.locator(".legend .chip").first.wait_for()
        return self.page.locator(".legend .name").all_inner_texts()

    def scale(self, path: str) -> dict[str, Any]:
        """Range of the chart's x axis."""
        return dict(self.chart(path).evaluate("(h) => ({...h.plot.scales.x})"))


@contextlib.contextmanager
def tab(browser: Browser, address: str, **options: Any) -> Iterator[Tab]:
    """A fresh one, as nobody's browser had it before; at its end nothing may have gone
    wrong in it, nor may it have asked another server than `address`."""
    context = browser.new_context(
        viewport=options.pop("viewport", {"width": 1280, "height": 1000}),
        timezone_id="Europe/Berlin",
        **options,
    )
    # Of pages that a test opens beside it too.
    context.set_default_timeout(PATIENCE)
    try:
        opened = Tab(context.new_page(), address)
        yield opened
        assert opened.problems == []
        assert opened.foreign == []
    finally:
        with contextlib.suppress(Error):
            context.close()
