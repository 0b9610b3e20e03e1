"""`naiad runs show` and `naiad runs diff`: all that is known of a run, and where two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from naiad.cli._asked import at_server, chosen, need_project, of_project
from naiad.cli._tables import said_plainly, show

if TYPE_CHECKING:
    from naiad.query.client import QueryClient

# Any two runs differ in these.
_OWN = frozenset(
    ("sys/id", "sys/custom_run_id", "sys/creation_time", "sys/modification_time", "sys/ping_time",
     "sys/trained_time")
)  # fmt: skip
_MATCH = click.option(
    "--match", metavar="REGEX", help="Only attributes in whose path RE2 finds this."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="A JSON array, an object a line.")


@click.command("show")
@click.argument("run")
@_MATCH
@click.option("--in-trash", is_flag=True, help="Look in the trash.")
@_JSON
@of_project
@at_server
def show_run(
    run: str, match: str | None, in_trash: bool, as_json: bool, project: str | None,
    url: str | None, token: str | None,
) -> None:  # fmt: skip
    """Shows all attributes of a run: configs, and of series the last value."""
    name = need_project(project)
    with said_plainly():
        from naiad.query.client import QueryClient

        with QueryClient(url, token) as client:
            chosen(client, name, [run], None, False, in_trash=in_trash)
            values = _values(client, name, run, match, in_trash=in_trash)
    rows = [(path, kind, value) for (path, kind), value in sorted(values.items())]
    show(["attribute", "type", "value"], rows, as_json=as_json)


@click.command()
@click.argument("runs", nargs=2, metavar="RUN RUN")
@_MATCH
@click.option("--all", "everything", is_flag=True, help="Also what is the same in both.")
@_JSON
@of_project
@at_server
def diff(
    runs: tuple[str, str], match: str | None, everything: bool, as_json: bool,
    project: str | None, url: str | None, token: str | None,
) -> None:  # fmt: skip
    """Shows where two runs differ: configs, tags, and last values of series."""
    name = need_project(project)
    with said_plainly():
        from naiad.query.client import QueryClient

        with QueryClient(url, token) as client:
            chosen(client, name, runs, None, False, in_trash=False)
            one, other = (_values(client, name, run, match, in_trash=False) for run in runs)
    rows = [
        (path, kind, one.get((path, kind)), other.get((path, kind)))
        for path, kind in sorted(one.keys() | other.keys())
        if everything
        or (path not in _OWN and not _same(one.get((path, kind)), other.get((path, kind))))
    ]
    if not rows and not as_json:
        click.echo(f"{runs[0]} and {runs[1]} do not differ")
        return
    show(["attribute", "type", *runs], rows, as_json=as_json)


def _same(one: Any, other: Any) -> bool:
    # NaN is what it is.
    return bool(one == other or (one != one and other != other))


def _values(
    client: QueryClient, project: str, run: str, match: str | None, *, in_trash: bool
) -> dict[tuple[str, str], Any]:
    """By path and type."""
    from naiad.query.client import Attributes, Runs

    table = client.runs_table(
        project, Runs(names=[run], in_trash=in_trash), Attributes(pattern=match)
    )
    found = {}
    for column, value in table.to_pylist()[0].items():
        path, _, kind = column.rpartition(":")
        if path and value is not None:
            found[path, kind] = value
    return found
