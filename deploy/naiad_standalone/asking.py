"""How a command reaches an event log: by asking the server that has it open, or by opening it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from naiad_eventlog import EventLog

data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=None,
    envvar="NAIAD_DATA", show_envvar=True,
    help="Data folder of `naiad up`; .naiad, unless NAIAD_EVENT_LOG names a log.",
)  # fmt: skip

Work = Callable[["EventLog", dict[str, Any]], Awaitable[dict[str, Any]]]


def ask_log(data: Path | None, do: str, work: Work, **request: Any) -> dict[str, Any]:
    """What `work` answers to the request: in a server under the name `do`, or here. What the user
    can mend is one line and status 1."""
    from naiad_eventlog import EventLogError
    from naiad_standalone.control import ControlError, ask
    from naiad_standalone.datafolder import DataFolderError, owner_of

    folder = _folder(data)
    try:
        if folder is not None and owner_of(folder) is not None:
            return ask(folder, do, **request)
        return asyncio.run(_here(folder, work, request))
    except (ControlError, EventLogError, DataFolderError, ValueError, OSError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error


def _folder(data: Path | None) -> Path | None:
    if data is None and os.environ.get("NAIAD_EVENT_LOG"):
        return None
    return (data or Path(".naiad")).expanduser().absolute()


async def _here(folder: Path | None, work: Work, request: dict[str, Any]) -> dict[str, Any]:
    from naiad_eventlog import open_event_log
    from naiad_eventlog.topics import ALL_TOPICS
    from naiad_standalone.datafolder import DataFolder

    with contextlib.ExitStack() as ending:
        if folder is None:
            url = os.environ["NAIAD_EVENT_LOG"]
        elif not (folder / "format.json").is_file():
            raise ValueError(
                f"{folder} is not a data folder of Naiad; name the server's with --data"
            )
        else:
            url = ending.enter_context(DataFolder.open(folder)).log_url
        async with await open_event_log(url) as log:
            if folder is not None:
                await log.create_topics(ALL_TOPICS)
            return await work(log, request)
