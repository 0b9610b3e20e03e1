"""`naiad runs list`: which runs there are. What changes runs is in `editing`."""

from __future__ import annotations

from typing import Any

import click

from naiad.cli._tables import said_plainly, show
from naiad.cli.changing import delete, purge, restore, tag
from naiad.cli.showing import diff, show_run

# What is shown of a run unless columns are named, and under which name.
_COLUMNS = {
    "sys/state": "state",
    "sys/creation_time": "created",
    "sys/trained_time": "trained_s",
    "sys/tags": "tags",
}


@click.group()
def runs() -> None:
    """Looks at runs, tags them, moves them to the trash and back."""


for _command in (show_run, diff, tag, delete, restore, purge):
    runs.add_command(_command)


@runs.command("list")
@click.option(
    "--project",
    envvar="NAIAD_PROJECT",
    metavar="WORKSPACE/NAME",
    help="Whose runs; default NAIAD_PROJECT.",
)
@click.option(
    "--match", metavar="REGEX", help="Only runs in whose id (or experiment) RE2 finds this."
)
@click.option("--experiments", is_flag=True, help="Only the newest run of each experiment.")
@click.option(
    "--columns",
    multiple=True,
    metavar="PATH[,PATH...]",
    help="Attributes to show instead of the usual ones; of a series its last value.",
)
@click.option("--sort", metavar="PATH", help="Sort by this attribute; default: newest first.")
@click.option("--ascending", is_flag=True, help="Smallest or oldest first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array with an object per run.")
@click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420.")
@click.option("--token", help="API token; default NAIAD_API_TOKEN.")
def list_runs(
    project: str | None,
    match: str | None,
    experiments: bool,
    columns: tuple[str, ...],
    sort: str | None,
    ascending: bool,
    limit: int | None,
    as_json: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Lists runs, newest first.

    A table on a terminal; elsewhere one run a line, cells parted by tabs, nothing cut off.
    """
    if not project:
        raise click.UsageError("name the project: --project WORKSPACE/NAME, or set NAIAD_PROJECT")
    wanted = list(dict.fromkeys(path for part in columns for path in part.split(",") if path))
    paths = wanted or list(_COLUMNS)
    with said_plainly():
        from naiad.query.client import Attributes, QueryClient, Runs

        with QueryClient(url, token) as client:
            table = client.runs_table(
                project,
                Runs(pattern=match, by_experiment=experiments),
                Attributes(paths=paths),
                sort_by=sort or "",
                ascending=ascending,
                limit=limit or 0,
            )
    shown = ["run_id", "experiment", *(path if wanted else _COLUMNS[path] for path in paths)]
    show(shown, [_cells(row, paths) for row in table.to_pylist()], as_json=as_json)


def _cells(row: dict[str, Any], paths: list[str]) -> list[Any]:
    """Run id, experiment and a value for each path: of several types the first."""
    values: dict[str, Any] = {}
    for column, value in row.items():
        if value is not None:
            values.setdefault(column.rpartition(":")[0], value)
    return [row["run_id"], row["experiment"] or None, *(values.get(path) for path in paths)]
