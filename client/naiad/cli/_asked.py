"""What commands about runs have in common: whose runs, at which server, which of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from naiad.query.client import QueryClient

F = TypeVar("F", bound=Callable[..., Any])


def at_server(command: F) -> F:
    """--url and --token."""
    command = click.option("--token", help="API token; default NAIAD_API_TOKEN.")(command)
    return click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420.")(
        command
    )


def of_project(command: F) -> F:
    """--project."""
    return click.option(
        "--project", envvar="NAIAD_PROJECT", metavar="WORKSPACE/NAME",
        help="Whose runs; default NAIAD_PROJECT.",
    )(command)  # fmt: skip


def need_project(project: str | None) -> str:
    if not project:
        raise click.UsageError("name the project: --project WORKSPACE/NAME, or set NAIAD_PROJECT")
    return project


def chosen(
    client: QueryClient,
    project: str,
    names: Sequence[str],
    filter: str | None,
    everything: bool,
    *,
    in_trash: bool,
) -> list[str]:
    """Run ids: those named, which have to be there, or those for which the filter is true. Raises
    NaiadError, and UsageError when the question itself is wrong."""
    from naiad.query.client import Runs

    if bool(names) + (filter is not None) + everything != 1:
        raise click.UsageError("name runs, or choose them by --filter, or all of them by --all")
    where = "in the trash of" if in_trash else "in"
    if names:
        wanted = Runs(names=list(dict.fromkeys(names)), in_trash=in_trash)
    else:
        wanted = Runs(filter=filter or "", in_trash=in_trash)
    found = client.list_runs(project, wanted)
    missing = [name for name in dict.fromkeys(names) if name not in found]
    if missing:
        elsewhere = client.list_runs(project, Runs(names=missing, in_trash=not in_trash))
        raise click.ClickException(
            f"there is no run {missing[0]!r} {where} {project}"
            + (f", nor {len(missing) - 1:,} others of those named" if missing[1:] else "")
            + _hint(missing[0], elsewhere, in_trash=in_trash)
        )
    if not found:
        raise click.ClickException(
            f"there are no runs {where} {project}"
            + (f" for which this is true: {filter}" if filter else "")
        )
    return list(dict.fromkeys(found))


def _hint(name: str, elsewhere: Sequence[str], *, in_trash: bool) -> str:
    if name in elsewhere:
        if in_trash:
            return f". It is not deleted; to move it there: naiad runs delete {name}"
        return f". It is in the trash; to have it back: naiad runs restore {name}"
    return ". To see which there are: naiad runs list"
