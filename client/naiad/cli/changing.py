"""`naiad runs tag`, `delete`, `restore`, `purge`: changes of runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from naiad.cli._asked import at_server, chosen, need_project, of_project
from naiad.cli._tables import said_plainly, show

if TYPE_CHECKING:
    from naiad.editing import Changed, Editor

# Fewer need no bar.
_MANY = 20


def _of_several(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="A JSON array with an object a run."),
        click.option("--yes", "-y", is_flag=True, help="Without asking."),
        click.option("--all", "everything", is_flag=True, help="All that there are."),
        click.option(
            "--filter", metavar="EXPRESSION",
            help="Those for which it is true, such as: val/acc.last < 0.5 and tags has \"try\".",
        ),
        click.argument("runs", nargs=-1, metavar="[RUN]..."),
    ):  # fmt: skip
        command = option(command)
    return of_project(at_server(command))


_INCARNATION = click.option(
    "--incarnation", type=click.IntRange(min=0), metavar="N",
    help="Which one, where several runs that had the id are in the trash.",
)  # fmt: skip


@click.command()
@_of_several
def delete(
    runs: tuple[str, ...], filter: str | None, everything: bool, yes: bool, as_json: bool,
    project: str | None, url: str | None, token: str | None,
) -> None:  # fmt: skip
    """Moves runs to the trash.

    They are hidden at once, everywhere, and `naiad runs restore` takes them back. A process that
    still logs to one goes on, into the trash. The run id can be used again.
    """
    _change(
        project, runs, filter, everything, yes, as_json, url, token, in_trash=False,
        question="Move {} to the trash?", done="moved to the trash",
        change=lambda editor, name, ids: editor.delete(name, ids),
    )  # fmt: skip


@click.command()
@_of_several
@_INCARNATION
def restore(
    runs: tuple[str, ...], filter: str | None, everything: bool, yes: bool, as_json: bool,
    project: str | None, url: str | None, token: str | None, incarnation: int | None,
) -> None:  # fmt: skip
    """Takes runs out of the trash, with what was logged to them meanwhile.

    Of several runs that had the same id the last deleted comes back. One whose id was used again
    stays until the run that has it now is deleted.
    """
    _change(
        project, runs, filter, everything, yes, as_json, url, token, in_trash=True,
        question="Restore {}?", done="restored",
        change=lambda editor, name, ids: editor.restore(name, ids, incarnation),
    )  # fmt: skip


@click.command()
@_of_several
@_INCARNATION
def purge(
    runs: tuple[str, ...], filter: str | None, everything: bool, yes: bool, as_json: bool,
    project: str | None, url: str | None, token: str | None, incarnation: int | None,
) -> None:  # fmt: skip
    """Ends runs that are in the trash for good.

    Their rows go from every table, and their files once no other run refers to them; nothing that
    arrives late brings them back. Says how many bytes that frees, about.
    """
    _change(
        project, runs, filter, everything, yes, as_json, url, token, in_trash=True,
        question="Purge {} for good? They can't be restored.", done="purged",
        change=lambda editor, name, ids: editor.purge(name, ids, incarnation),
    )  # fmt: skip


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("run")
@click.argument("tags", nargs=-1, required=True, metavar="+TAG|-TAG...")
@click.option("--group", is_flag=True, help="Group tags (sys/group_tags) instead.")
@of_project
@at_server
def tag(
    run: str, tags: tuple[str, ...], group: bool, project: str | None, url: str | None,
    token: str | None,
) -> None:  # fmt: skip
    """Adds tags to a run (+TAG) and removes some (-TAG).

    \b
    naiad runs tag brave-otter +best -try
    """
    bad = [one for one in tags if one[:1] not in "+-" or len(one) < 2]
    if bad:
        raise click.UsageError(f"{bad[0]!r} is neither +TAG, to add one, nor -TAG, to remove one")
    add = [one[1:] for one in tags if one.startswith("+")]
    remove = [one[1:] for one in tags if one.startswith("-")]
    name = need_project(project)
    with said_plainly():
        from naiad.editing import Editor
        from naiad.query.client import Attributes, QueryClient, Runs

        path = "sys/group_tags" if group else "sys/tags"
        with QueryClient(url, token) as client, Editor(url, token) as editor:
            chosen(client, name, [run], None, False, in_trash=False)
            _raise_on_error(editor.tag(name, run, add, remove, path=path))
            found = client.runs_table(name, Runs(names=[run]), Attributes(paths=[path]))
    key = f"{path}:string_set"
    left = found.column(key)[0].as_py() if key in found.column_names else None
    click.echo(f"{run}: {', '.join(left) if left else 'no tags'}")


def _change(
    project: str | None,
    runs: tuple[str, ...],
    filter: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
    url: str | None,
    token: str | None,
    *,
    in_trash: bool,
    question: str,
    done: str,
    change: Callable[[Editor, str, list[str]], Iterator[Changed]],
) -> None:
    name = need_project(project)
    with said_plainly():
        from naiad.editing import Editor
        from naiad.query.client import QueryClient

        with QueryClient(url, token) as client:
            ids = chosen(client, name, runs, filter, everything, in_trash=in_trash)
        what = f"run {ids[0]!r}" if len(ids) == 1 else f"{len(ids):,} runs"
        confirm(question.format(f"{what} of {name}"), yes=yes)
        with Editor(url, token) as editor:
            changed = list(_with_bar(change(editor, name, ids), len(ids)))
    changed.sort(key=lambda one: ids.index(one.run_id))
    failed = [one for one in changed if not one.done]
    if as_json:
        columns = ["run_id", "done", "error", "freed_bytes"]
        show(
            columns,
            [(one.run_id, one.done, one.reason or None, one.freed_bytes) for one in changed],
            as_json=True,
        )
    else:
        for one in failed:
            click.echo(f"{one.run_id}: {one.reason}", err=True)
        made = len(changed) - len(failed)
        freed = sum(one.freed_bytes for one in changed)
        about = f", about {size(freed)} free" if freed else ""
        runs_made = what if made == len(ids) else f"{made:,} of {len(ids):,} runs"
        click.echo(f"{runs_made} of {name} {done}{about}")
    if failed:
        raise SystemExit(1)


def confirm(question: str, *, yes: bool) -> None:
    """Raises UsageError where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is there to answer: say --yes")
    click.confirm(question, abort=True, err=True)


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError


def _raise_on_error(one: Changed) -> None:
    if not one.done:
        raise click.ClickException(one.reason)


def _with_bar(changed: Iterable[Changed], count: int) -> Iterator[Changed]:
    if count < _MANY or not sys.stderr.isatty():
        yield from changed
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(changed, total=count, console=Console(stderr=True), description="Runs")
