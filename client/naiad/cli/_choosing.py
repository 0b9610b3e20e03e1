"""Options of the commands that read points: whose, which, and at which server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from naiad.query.client import Runs

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--project", envvar="NAIAD_PROJECT", metavar="WORKSPACE/NAME",
        help="Whose runs; default NAIAD_PROJECT.",
    ),
    click.option("--run", "names", multiple=True, metavar="ID", help="This run; again for more."),
    click.option("--experiments", is_flag=True, help="--run and --match are about experiments."),
    click.option(
        "--match", metavar="REGEX", help="Runs in whose id (or experiment) RE2 finds this."
    ),
    click.option(
        "--filter", metavar="EXPRESSION",
        help="Runs for which it is true, such as: lr < 0.1 and tags has \"prod\".",
    ),
    click.option("--step-range", metavar="FIRST:LAST", help="Steps, both ends in; one may lack."),
    click.option("--own-points", is_flag=True, help="Of a fork without its ancestors' points."),
    click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420."),
    click.option("--token", help="API token; default NAIAD_API_TOKEN."),
)  # fmt: skip


def of_points(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def need_project(project: str | None) -> str:
    if not project:
        raise click.UsageError("name the project: --project WORKSPACE/NAME, or set NAIAD_PROJECT")
    return project


def runs_of(
    names: tuple[str, ...], experiments: bool, match: str | None, filter: str | None
) -> Runs:
    from naiad.query.client import Runs

    if names and match is not None:
        raise click.UsageError("choose runs by --run or by --match, not by both")
    return Runs(
        names=list(dict.fromkeys(names)) or None,
        pattern=match,
        by_experiment=experiments,
        filter=filter or "",
    )


def steps_of(given: str | None) -> tuple[int | None, int | None]:
    """Micro-steps of "FIRST:LAST"."""
    from naiad.query._asking import micro_range

    if given is None:
        return None, None
    first, colon, last = given.partition(":")
    try:
        if not colon:
            raise ValueError
        return micro_range((float(first) if first else None, float(last) if last else None))
    except ValueError:
        raise click.UsageError(
            f"--step-range is {given!r}; give FIRST:LAST, as 0:1000, 500: or :99"
        ) from None
