"""Beyond loopback every reader shows a token, sees what it may read, and nothing before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from support_browser import Tab, chromium, needs_chromium, tab
from support_naiad import LONGER, Naiad, clean_environment, running_naiad
from support_query import Spool
from support_sending import send

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, needs_chromium]


@dataclass
class Guarded:
    """A server that asks for tokens: one that may all, one that may read team/open."""

    naiad: Naiad
    dashboard: str
    all: str
    one: str


def created(data: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "naiad", "token", "create", "--data", str(data), *options],
        env=clean_environment(), capture_output=True, text=True, check=True,
        timeout=60 * LONGER,
    )  # fmt: skip
    return done.stdout.split()[0]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("guarded") / "data"
    with running_naiad(data, "--host", "0.0.0.0", "--dashboard-port", "0") as naiad:
        everything = created(data)
        one = created(data, "--project", "team/open", "--read-only")
        port = naiad.dashboard.rpartition(":")[2]
        for project in ("team/open", "team/secret"):
            run = Spool(project, "r").create(f"name-in-{project[5:]}").metrics({"loss": [0.5, 0.4]})
            send(f"grpc://127.0.0.1:{naiad.port}", run, token=everything)
        yield Guarded(naiad, f"http://127.0.0.1:{port}", everything, one)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def form(page: Tab) -> Locator:
    return page.page.get_by_label("API token")


def signed_in(page: Tab, token: str) -> None:
    form(page).fill(token)
    form(page).press("Enter")


def kept(page: Tab, where: str) -> None:
    """Until the browser keeps the token, which may be after the page is drawn."""
    page.page.wait_for_function(f"() => {where}.getItem('naiad token')")


def forgotten(page: Tab) -> None:
    page.page.wait_for_function(
        "() => [sessionStorage, localStorage].every((one) => !one.getItem('naiad token'))"
    )


def test_nothing_is_sent_before_a_token_is_shown(guarded: Guarded, browser: Browser) -> None:
    with tab(browser, guarded.dashboard) as page:
        for link in ("/runs?project=team/secret", "/compare?project=team/secret&run=r"):
            form(page.go(link)).wait_for()
        signed_in(page, "naiad_wrong")
        page.shows("does not take this token")
        sent = b"".join(page.received)
        # The pages' own names are there, so the ears are open.
        assert b"compare" in sent
        for secret in (b"name-in-", b"loss"):
            assert secret not in sent


def test_a_token_opens_what_it_may_read_and_no_more(guarded: Guarded, browser: Browser) -> None:
    with tab(browser, guarded.dashboard) as page:
        form(page.go("/run?project=team/open&run=r")).wait_for()
        signed_in(page, guarded.one)
        page.shows("name-in-open")
        assert page.curves("loss") == {"r": [(0, 0.5), (1, pytest.approx(0.4))]}
        page.go("/run?project=team/secret&run=r").shows("There is no project team/secret here")
        page.go("/compare?project=team/secret&run=r").shows("There is no project")
        assert b"name-in-secret" not in b"".join(page.received)
        # A token of the operator's shell or of another reader must not serve this one.
        with tab(browser, guarded.dashboard) as other:
            form(other.go("/run?project=team/open&run=r")).wait_for()
            assert b"name-in-" not in b"".join(other.received)


def test_a_token_that_may_only_read_deletes_nothing(guarded: Guarded, browser: Browser) -> None:
    with tab(browser, guarded.dashboard) as page:
        form(page.go("/runs?project=team/open&run=r")).wait_for()
        signed_in(page, guarded.one)
        page.page.get_by_role("button", name="Delete").click()
        dialog = page.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Move to trash").click()
        expect(dialog).to_contain_text("may not write to project")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        page.shows("1 selected")


def test_a_reload_keeps_the_token_until_the_reader_signs_out(
    guarded: Guarded, browser: Browser
) -> None:
    with tab(browser, guarded.dashboard) as page:
        form(page.go("/run?project=team/secret&run=r")).wait_for()
        signed_in(page, guarded.all)
        page.shows("name-in-secret")
        kept(page, "sessionStorage")
        page.settled().page.reload()
        page.shows("name-in-secret")
        page.page.get_by_role("button", name="Sign out").click()
        form(page).wait_for()
        forgotten(page)
        page.settled().page.reload()
        form(page).wait_for()
        page.page.get_by_text("Stay signed in").click()
        signed_in(page, guarded.all)
        page.shows("name-in-secret")
        kept(page, "localStorage")
        # In another tab of the same browser too.
        page.page.context.new_page()
        again = page.page.context.pages[-1]
        again.goto(guarded.dashboard + "/run?project=team/secret&run=r")
        again.get_by_text("name-in-secret").first.wait_for()
