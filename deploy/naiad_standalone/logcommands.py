"""`naiad log`: who reads the event log, and what is kept for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from naiad.cli._tables import show as show_table
from naiad_standalone.asking import ask_log, data_option

_COLUMNS = ("group", "topic", "members", "records_behind")


@click.group("log")
def event_log() -> None:
    """Look at the event log and who reads it.

    Of the log in the data folder of `naiad up`, whether that runs or not, or of the log that
    NAIAD_EVENT_LOG names.
    """


@event_log.command("groups")
@data_option
@click.option("--json", "as_json", is_flag=True, help="A JSON array.")
def list_groups(data: Path | None, as_json: bool) -> None:
    """List the groups that have read the log, and how far each is behind.

    The log keeps what any of them has not read, however old it is.
    """
    found = _ask(data, action="list")["groups"]
    if not found and not as_json:
        click.echo("Nobody has read this log yet.")
        return
    rows = [[group[column] for column in _COLUMNS] for group in found]
    show_table(_COLUMNS, rows, as_json=as_json)


@event_log.command()
@data_option
@click.argument("group")
def forget(data: Path | None, group: str) -> None:
    """Forget a GROUP that is gone for good, so that nothing is kept for it any more.

    If it comes again it reads the log from its beginning, which never harms.
    """
    _ask(data, action="forget", group=group)
    click.echo(f"Group {group} is forgotten; the log keeps nothing for it any more.")


def _ask(data: Path | None, **request: Any) -> dict[str, Any]:
    from naiad_standalone.grouping import groups

    return ask_log(data, "groups", groups, **request)
