"""Runs inside a test's own process, whose shippers are threads of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_naiad import LONGER
from support_server import Server

import naiad
from naiad import _ending
from naiad.shipper.starting import stop_threads

PROJECT = "team/p"

# For scripts, before they begin a run: on a machine that stands still for seconds it waits as
# long as it must, and what it says of a server that was silent meanwhile is not on the console.
PATIENT = f"""
import logging
import naiad.run, naiad._console_fd, naiad._ending, naiad._recording, naiad.shipper.starting
naiad.run.CLOSE_SECONDS = naiad._ending.EXIT_SECONDS = {30 * LONGER}
naiad.shipper.starting.CLEARING_SECONDS = {10 * LONGER}
naiad._console_fd.ANSWER_SECONDS = {10 * LONGER}
naiad._recording.SOURCE_SECONDS = {10 * LONGER}
logging.getLogger("naiad").addFilter(lambda said: "waits in the spool" not in said.getMessage())
"""


def own_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """None that a developer may have in the shell; spools go to `folder`."""
    for name in list(os.environ):
        if name.startswith("NAIAD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAIAD_QUIET", "1")
    # The shippers of these tests end with them.
    monkeypatch.setenv("NAIAD_SHIPPER", "thread")
    monkeypatch.setenv("NAIAD_LOG_DIRECTORY", str(folder))
    # A machine that stands still for seconds must not end a run before all of it is there.
    monkeypatch.setattr("naiad.run.CLOSE_SECONDS", 30 * LONGER)
    monkeypatch.setattr("naiad._recording.SOURCE_SECONDS", 10 * LONGER)


@contextlib.contextmanager
def sending_to(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Runs send there, and what a test leaves of them is ended."""
    monkeypatch.setenv("NAIAD_URL", server.url)
    yield server
    for run in list(_ending._open):
        run.terminate()
    stop_threads()


def plain_run(**options: Any) -> naiad.Run:
    """One that logs only what the test does."""
    fields: dict[str, Any] = {
        "project": PROJECT, "run_id": "r", "enable_console_log_capture": False,
        "hardware_interval": None, "source_tracking_config": None,
    }  # fmt: skip
    return naiad.Run(**(fields | options))


def all_sent(run: naiad.Run) -> bool:
    """Has the server acknowledged all that the run has logged by now?"""
    session = run._session
    assert session
    return int(session.progress().get("acknowledged", 0)) >= session.spool.last_record
