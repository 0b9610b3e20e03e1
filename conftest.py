"""Which tests run, on how many processes, and what is said at the end.

What could not run is said loudly at the end; in CI (CI=true) it is a failure.

Some tests need a thing that PyPI doesn't have. They skip with a reason of the form
"needs Chromium: how to get it", and this turns such skips into a list that nobody
overlooks. Figures that tests measured are printed there too: they are reported, never
asserted, since a time says as much about the machine as about us.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

_NEEDS = re.compile(r"needs ([^:]+): (.+)")


@pytest.fixture
def report_figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Has a line with something measured printed at the end of the test run."""
    # On the test's report, which reaches the process that prints the end.
    return lambda line: request.node.user_properties.append(("figure", line))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked long too")


def pytest_configure(config: pytest.Config) -> None:
    """Properties that don't say how many examples they want get a third of them on one's own
    machine, and as in CI no example has to be quick. Ctrl-C works, also where a shell that has
    put the tests in its background has turned it off: tests press it on processes that they
    start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("short", max_examples=30, deadline=None)
    if not _long_too(config):
        settings.load_profile("short")


def _long_too(config: pytest.Config) -> bool:
    """In CI, where asked for, and where one is named."""
    named = any("::" in argument for argument in config.args)
    return bool(_in_ci() or config.getoption("--long") or named)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that start many processes first, then files with slow tests: what comes last should be
    short, since files are shared out among processes."""
    ranks = ("crowd", "slow")
    found = {name: {item.path for item in items if item.get_closest_marker(name)} for name in ranks}
    items.sort(key=lambda item: [item.path not in found[name] for name in ranks])
    if not _long_too(config):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    there = {item.nodeid for item in items}
    elsewhere = {item for item in items if _met_elsewhere(item, there)}
    config.hook.pytest_deselected(items=list(elsewhere))
    items[:] = [item for item in items if item not in elsewhere]


def _met_elsewhere(item: pytest.Item, there: set[str]) -> bool:
    """Whether what would be tested on this engine is tested on another one, among those `there`:
    Distributed tables are reached by HTTP too, and plain ones are in chDB."""
    engine = item.callspec.params.get("store_url") if hasattr(item, "callspec") else None
    if item.get_closest_marker("one_engine"):
        return engine not in {None, "chdb"}
    return engine == "http" and item.nodeid.replace("[http", "[sharded", 1) in there


class _Scheduling(LoadFileScheduling):
    """A file's tests in one process, and those of all files that start a whole platform too: two
    such at once, with a dozen processes each, take longer than one after the other, and what they
    wait for comes too late."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "crowd" if _is_crowd(str(self.config.rootpath / file)) else file


@cache
def _is_crowd(file: str) -> bool:
    # Whoever shares them out has names of tests only.
    return "pytest.mark.crowd" in Path(file).read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling | None:
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_xdist_auto_num_workers() -> int:
    """Two a core: many tests wait for time to pass, for a server to start or for an end. With one
    a core the whole suite had half of the processors idle."""
    return min(2 * (os.cpu_count() or 1), 8)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _needed(report: pytest.TestReport) -> re.Match[str] | None:
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    return _NEEDS.search(report.longrepr[2])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if _in_ci() and (match := _needed(report)):
        report.outcome = "failed"
        report.longrepr = f"CI must run this test, and it needs {match[1]}: {match[2]}"
    return report


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if not _long_too(config):
        terminalreporter.line("The long tests are left out here: `make test-all` runs them too.")
    missing: dict[tuple[str, str], list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        if match := _needed(report):
            missing.setdefault((match[1], match[2]), []).append(report.nodeid)
    for (need, advice), tests in missing.items():
        terminalreporter.section(f"NOT RUN for want of {need}", yellow=True, bold=True)
        for test in tests:
            terminalreporter.line(f"  {test}")
        terminalreporter.line(f"  To run them too: {advice}", yellow=True)
    figures = [
        text
        for report in terminalreporter.stats.get("passed", [])
        for name, text in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("measured here")
        for line in figures:
            terminalreporter.line(f"  {line}")
