"""Tables for people (a terminal) and for programs (a pipe, --json).

On a terminal numbers are rounded and long cells wrap; anywhere else every cell is complete
and a row is a line, its cells parted by tabs, so that cut, sort and awk work. Whatever a
run has logged, no control character of it reaches a terminal.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from naiad.exceptions import NaiadError

Rows = Sequence[Sequence[Any]]
# Of a table on a terminal.
_PAGE = 1000


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """What is wrong with a question or a server is one line on stderr and exit status 1; below it
    may stand the part of the question that is meant, with a caret."""
    try:
        yield
    except BrokenPipeError:
        # Of `| head`, which click ends quietly.
        raise
    except (NaiadError, ImportError, ValueError, OSError) as error:
        text = str(error)
        # Where a caret points depends on the line above it.
        line, pointed, picture = text.partition("\n  ") if text.endswith(" ^") else (text, "", "")
        raise click.ClickException(" ".join(line.split()) + pointed + picture) from error


def show(columns: Sequence[str], rows: Rows, *, as_json: bool, as_csv: bool = False) -> None:
    """Prints `rows`, which have a value or None for each of `columns`."""
    show_batches(columns, [rows], as_json=as_json, as_csv=as_csv)


def show_batches(
    columns: Sequence[str], batches: Iterable[Rows], *, as_json: bool, as_csv: bool = False
) -> None:
    """The same of rows as they come, which are never in memory all together."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms; ask for one")
    if as_json:
        _show_json(columns, itertools.chain.from_iterable(batches))
    elif as_csv:
        _show_csv(columns, itertools.chain.from_iterable(batches))
    elif sys.stdout.isatty():
        _show_tables(columns, itertools.chain.from_iterable(batches))
    else:
        _show_lines(columns, itertools.chain.from_iterable(batches))


def _show_json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # An array with an object a line: for jq as a whole, for grep line by line.
    names = _distinct(columns)
    click.echo("[", nl=False)
    number = -1
    for number, row in enumerate(rows):
        item = dict(zip(names, map(plain, row), strict=True))
        line = json.dumps(item, ensure_ascii=False, allow_nan=False)
        click.echo(("," if number else "") + "\n" + line, nl=False)
    click.echo("\n]" if number >= 0 else "]")


def _show_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    cell = _visible if sys.stdout.isatty() else str
    writer.writerow(map(cell, columns))
    for row in rows:
        writer.writerow([cell(_whole(value)) for value in row])


def _show_tables(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Widths are those of the rows that are seen together."""
    left = iter(rows)
    page = list(itertools.islice(left, _PAGE))
    _show_table(columns, page)
    while page := list(itertools.islice(left, _PAGE)):
        _show_table(columns, page)


def _show_table(columns: Sequence[str], rows: Rows) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows if row[place] is not None]
        numeric = bool(cells) and all(isinstance(cell, int | float | Decimal) for cell in cells)
        longest = max((len(_visible(_short(cell))) for cell in cells), default=0)
        table.add_column(
            Text(_visible(column)),
            justify="right" if numeric else "left",
            overflow="fold",
            # What a row is about stands whole, to be copied; the others give way.
            no_wrap=not place and longest <= console.width // 2,
        )
    for row in rows:
        table.add_row(*(Text(_visible(_short(cell))) for cell in row))
    console.print(table)


def _show_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    click.echo("\t".join(_visible(column) for column in columns))
    for row in rows:
        click.echo("\t".join(_visible(_whole(cell)) for cell in row))


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names for an object: a statement may have two columns of one name."""
    names: dict[str, None] = {}
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names[name] = None
    return list(names)


def plain(value: Any) -> Any:
    """As JSON can say it: times as ISO 8601, NaN and infinities as those words."""
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case datetime():
            return _time(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)


def _whole(value: Any) -> str:
    """Every digit of it; empty for nothing."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return str(plain(value)) if not math.isfinite(value) else repr(value)
        case Decimal():
            return format(plain(value), "")
        case dict() | list() | tuple():
            return json.dumps(plain(value), ensure_ascii=False)
        case _:
            return str(plain(value))


def _short(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return _whole(value)


def _time(value: datetime) -> str:
    aware = value.astimezone(UTC) if value.tzinfo else value
    text = aware.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _visible(text: str) -> str:
    """`text` on one line, without what steers a terminal or breaks a table."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )
