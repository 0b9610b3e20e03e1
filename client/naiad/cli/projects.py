"""`naiad projects`: which there are; their end; how long their runs are kept."""

from __future__ import annotations

import secrets
import time

import click

from naiad.cli._asked import at_server
from naiad.cli._tables import said_plainly, show
from naiad.cli.changing import confirm, size

_YES = click.option("--yes", "-y", is_flag=True, help="Without asking.")
_PROJECT = click.argument("project", metavar="WORKSPACE/NAME")
# How long to wait until all runs are seen to be gone.
_SECONDS = 300.0
_LOOK = 0.2


@click.group()
def projects() -> None:
    """Lists projects, deletes them, and says how long their runs are kept."""


@projects.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON array with an object a project.")
@at_server
def list_projects(as_json: bool, url: str | None, token: str | None) -> None:
    """Lists the projects that have runs, if only in the trash, and how long these are kept.

    Days are those of `naiad projects retain`, from the end of a run to the trash and from there to
    its purge; without a number it is kept for ever.
    """
    with said_plainly():
        from naiad.query.client import QueryClient

        with QueryClient(url, token) as client:
            found = client.describe_projects()
    show(
        ["project", "runs", "in_trash", "days", "trash_days"],
        [
            (
                one.name, one.runs, one.runs_in_trash,
                one.retention.days or None, one.retention.trash_days or None,
            )
            for one in found
        ],
        as_json=as_json,
    )  # fmt: skip


@projects.command()
@_PROJECT
@_YES
@at_server
def delete(project: str, yes: bool, url: str | None, token: str | None) -> None:
    """Moves all runs of a project to the trash, and those that arrive later from before."""
    _end(project, yes, url, token, purge=False)


@projects.command()
@_PROJECT
@_YES
@at_server
def purge(project: str, yes: bool, url: str | None, token: str | None) -> None:
    """Ends all runs of a project for good, whether they are in the trash or not."""
    _end(project, yes, url, token, purge=True)


def _end(project: str, yes: bool, url: str | None, token: str | None, *, purge: bool) -> None:
    with said_plainly():
        from naiad.editing import Editor
        from naiad.exceptions import NaiadQueryError
        from naiad.query.client import QueryClient, Runs

        with QueryClient(url, token) as client, Editor(url, token) as editor:
            there = client.list_runs(project)
            trash = client.list_runs(project, Runs(in_trash=True))
            if purge:
                question = (
                    f"Purge project {project} for good, with {len(there):,} runs and"
                    f" {len(trash):,} in the trash? They can't be restored."
                )
            else:
                question = f"Move all {len(there):,} runs of project {project} to the trash?"
            confirm(question, yes=yes)
            change_id = secrets.token_hex(16)
            if purge:
                count = editor.purge_project(project, change_id=change_id)
            else:
                count = editor.delete_project(project)
            until = time.monotonic() + _SECONDS
            while True:
                try:
                    left = client.list_runs(project)
                    if purge:
                        left += client.list_runs(project, Runs(in_trash=True))
                except NaiadQueryError:
                    # Of a purged project nothing is known.
                    left = []
                if not left:
                    break
                if time.monotonic() >= until:
                    raise click.ClickException(
                        f"the server has the change of {project} and will make it; {len(left):,}"
                        " runs were still there when the time was over"
                    )
                time.sleep(_LOOK)
            # All of them are gone, so it is told in a moment.
            freed = editor.freed(project, change_id, [*there, *trash]) if purge else 0
    done = "purged" if purge else "moved to the trash"
    about = f", about {size(freed)} free" if freed else ""
    click.echo(f"project {project}: {count:,} runs {done}{about}")


@projects.command()
@_PROJECT
@_YES
@at_server
def restore(project: str, yes: bool, url: str | None, token: str | None) -> None:
    """Takes all runs of a project out of the trash."""
    with said_plainly():
        from naiad.editing import Editor
        from naiad.query.client import QueryClient, Runs

        with QueryClient(url, token) as client, Editor(url, token) as editor:
            trash = list(dict.fromkeys(client.list_runs(project, Runs(in_trash=True))))
            confirm(f"Restore {len(trash):,} runs of project {project}?", yes=yes)
            editor.restore_project(project)
            changed = list(editor.restore(project, trash))
    failed = [one for one in changed if not one.done]
    for one in failed:
        click.echo(f"{one.run_id}: {one.error or 'not restored yet'}", err=True)
    click.echo(f"project {project}: {len(changed) - len(failed):,} runs restored")
    if failed:
        raise SystemExit(1)


@projects.command()
@_PROJECT
@click.option(
    "--days", type=click.IntRange(min=0), required=True, metavar="N",
    help="Runs go to the trash N days after their end, or after they were last heard of; 0: never.",
)  # fmt: skip
@click.option(
    "--trash-days", type=click.IntRange(min=0), default=30, show_default=True, metavar="N",
    help="... and are purged N days after that, as are runs that were deleted by hand; 0: never.",
)  # fmt: skip
@at_server
def retain(project: str, days: int, trash_days: int, url: str | None, token: str | None) -> None:
    """Sets how long a project's runs are kept."""
    with said_plainly():
        from naiad.editing import Editor

        with Editor(url, token) as editor:
            editor.set_retention(project, days, trash_days)
    kept = f"go to the trash {days:,} days after their end" if days else "are kept for ever"
    trash = f"is purged after {trash_days:,} days" if trash_days else "is never purged"
    click.echo(f"project {project}: runs {kept}; the trash {trash}")
