"""`naiad dead`: records that could not be stored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from naiad.cli._tables import show as show_table
from naiad_standalone.asking import ask_log, data_option

_json_option = click.option("--json", "as_json", is_flag=True, help="A JSON array.")
_numbers = click.argument("numbers", nargs=-1, type=click.IntRange(min=0), metavar="[NUMBER]...")
_all_option = click.option("--all", "all_", is_flag=True, help="All that wait.")

_COLUMNS = ("number", "at", "project", "run", "size_bytes", "origin", "reason")


@click.group()
def dead() -> None:
    """Look at records that could not be stored, and deal with them.

    They wait on the topic naiad.dead, of the log in the data folder of `naiad up`, whether that
    runs or not, or of the log that NAIAD_EVENT_LOG names. When a thousand wait, writers stop.
    """


@dead.command("list")
@data_option
@_json_option
def list_letters(data: Path | None, as_json: bool) -> None:
    """List what waits, the oldest first."""
    letters = _ask(data, "list", None)
    if not letters and not as_json:
        click.echo("No records wait: all that was taken could be stored.")
        return
    rows = [[_cell(letter, column) for column in _COLUMNS] for letter in letters]
    show_table(_COLUMNS, rows, as_json=as_json)


@dead.command("show")
@data_option
@_json_option
@click.argument("number", type=click.IntRange(min=0))
def show_letter(data: Path | None, as_json: bool, number: int) -> None:
    """Show one, and what can be read of it."""
    (letter,) = _ask(data, "show", [number])
    rows = [[name, _cell(letter, name)] for name in letter]
    if as_json:
        names = list(letter)
        show_table(names, [[_cell(letter, name) for name in names]], as_json=True)
    else:
        show_table(("what", "value"), rows, as_json=False)


@dead.command()
@data_option
@_all_option
@_numbers
def replay(data: Path | None, all_: bool, numbers: tuple[int, ...]) -> None:
    """Give records to the writers again.

    For when what was wrong is mended: a newer release reads them, or the store takes them. One
    that still can't be stored comes back here.
    """
    letters = _ask(data, "replay", _which(numbers, all_))
    click.echo(f"{_count(letters)} in the log again, at the end.")


@dead.command()
@data_option
@_all_option
@_numbers
def discard(data: Path | None, all_: bool, numbers: tuple[int, ...]) -> None:
    """Let records go that nobody is going to store."""
    letters = _ask(data, "discard", _which(numbers, all_))
    click.echo(f"{_count(letters)} discarded.")


def _which(numbers: tuple[int, ...], all_: bool) -> list[int] | None:
    if bool(numbers) == all_:
        raise click.UsageError("name the records by their numbers, or say --all")
    return None if all_ else list(numbers)


def _count(letters: list[dict[str, Any]]) -> str:
    return "1 record is" if len(letters) == 1 else f"{len(letters)} records are"


def _cell(letter: dict[str, Any], column: str) -> Any:
    if column == "origin":
        return f"{letter['topic']}/{letter['partition']}@{letter['offset']}"
    value = letter[column]
    if column in {"at", "received_at"}:
        return datetime.fromtimestamp(value / 1000, UTC)
    if isinstance(value, list):
        return " to ".join(map(str, value))
    return value


def _ask(data: Path | None, action: str, numbers: list[int] | None) -> list[dict[str, Any]]:
    """The letters that it is about."""
    from naiad_standalone.reviewing import review

    answer = ask_log(data, "dead", review, action=action, numbers=numbers)
    letters: list[dict[str, Any]] = answer["letters"]
    return letters
