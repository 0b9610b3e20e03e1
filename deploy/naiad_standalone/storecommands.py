"""`naiad store`: snapshots, restoring, rebuilding, checking; beside what naiad_serve has."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from naiad_serve.commands import store

if TYPE_CHECKING:
    from naiad_eventlog import EventLog
    from naiad_store import Store

T = TypeVar("T")

_data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=None,
    envvar="NAIAD_DATA", show_envvar=True,
    help="Data folder of `naiad up`; .naiad, unless NAIAD_STORE and NAIAD_EVENT_LOG name engines.",
)  # fmt: skip


store.help = """Copy the store, make it anew, look after it.

The store is the one in the data folder of `naiad up`, or the one that NAIAD_STORE names,
with its log in NAIAD_EVENT_LOG.
"""


@store.command()
@_data_option
@click.argument("target")
def snapshot(data: Path | None, target: str) -> None:
    """Copy the store to TARGET: a new folder, or s3://bucket/prefix.

    Works while the server runs. The log's records after it, read again, give what came later.
    """
    target = _absolute(target)
    folder = _folder(data)
    if folder is not None and _in_use(folder):
        from naiad_standalone.control import ControlError, ask

        try:
            taken = ask(folder, "snapshot", _say, target=target)
        except ControlError as error:
            raise click.ClickException(str(error)) from error
    else:
        from naiad_standalone.snapshotting import snapshot as take

        async def work() -> dict[str, Any]:
            async with _engines(folder) as (log, opened):
                return await take(log, opened, target, _say)

        taken = _run(work)
    click.echo(
        f"Snapshot of {taken['rows']:,} rows, {taken['size_bytes'] / 1e6:,.1f} MB, in"
        f" {taken['place']}"
    )


@store.command()
@_data_option
@click.option(
    "--without-log", is_flag=True, help="The log that belongs to it is lost: begin with this one."
)
@click.argument("source")
def restore(data: Path | None, without_log: bool, source: str) -> None:
    """Fill an empty store from the snapshot in SOURCE, a folder or s3://bucket/prefix.

    The server has to be stopped; started again, it takes from the log what came after.
    """
    from naiad_standalone.snapshotting import place_of

    source = _absolute(source)
    folder = _stopped(_folder(data))

    async def work() -> int:
        from naiad_consumers.rebuild import LogGap, rewind
        from naiad_store.snapshots import read_manifest, restore_snapshot

        with place_of(source) as place:
            async with _engines(folder, make=True) as (log, opened):
                manifest = await asyncio.to_thread(read_manifest, place)
                try:
                    # First, since it may be refused; and to read records again is never wrong.
                    await rewind(log, None if without_log else manifest)
                except LogGap as error:
                    raise LogGap(
                        f"{error}. restore --without-log does without, and begins with what the"
                        " log has"
                    ) from error
                manifest = await asyncio.to_thread(restore_snapshot, opened, place, _say)
                return manifest.rows

    rows = _run(work)
    click.echo(f"{rows:,} rows are restored. Start the server: it takes the rest from the log.")


@store.command()
@_data_option
@click.option("--from-log", is_flag=True, help="Say it, so that nobody does it by accident.")
@click.option("--snapshot", "source", help="Where to begin, if the log is not whole any more.")
@click.option(
    "--accept-differences", is_flag=True, help="Replace the tables also where they differ."
)
@click.option(
    "--wait", type=click.FloatRange(min=0), default=600, show_default=True, metavar="SECONDS",
    help="How long to wait for writers of a cluster to stop.",
)  # fmt: skip
def rebuild(
    data: Path | None, from_log: bool, source: str | None, accept_differences: bool, wait: float
) -> None:
    """Make the tables anew from the log, compare them with the live ones, and swap.

    `naiad up` has to be stopped. In a cluster only the writers, and only for the end.
    """
    from naiad_standalone.snapshotting import place_of

    if not from_log:
        raise click.UsageError("say --from-log: the tables are made anew from the event log")
    folder = _stopped(_folder(data))

    async def work() -> Any:
        from naiad_consumers.rebuild import Rebuild

        with contextlib.ExitStack() as ending:
            place = ending.enter_context(place_of(_absolute(source))) if source else None
            async with _engines(folder) as (log, opened):
                return await Rebuild(
                    log,
                    opened,
                    place,
                    accept=accept_differences,
                    patience=wait,
                    on_progress=_say,
                ).run()

    rebuilt = _run(work)
    rows = sum(content.rows for content in rebuilt.contents.values())
    for difference in rebuilt.differences:
        click.echo(f"Differed, and was replaced: {difference}")
    same = "" if rebuilt.differences else ", as they were before"
    click.echo(f"{rows:,} rows made anew from {rebuilt.records:,} records of the log{same}.")
    if rebuilt.put_aside:
        click.echo(f"{rebuilt.put_aside} records can't be stored; see: naiad dead list")


@store.command()
@_data_option
@click.argument("source", required=False)
def check(data: Path | None, source: str | None) -> None:
    """Check the snapshot in SOURCE file by file; without it, the store.

    Counts rows: two stores with the same rows and checksums hold the same. Works a sample of the
    rollups out once more from the points; status 1 if they differ. And says how many of their rows
    are superseded.
    """
    if source:
        from naiad_standalone.snapshotting import place_of

        async def look() -> str:
            from naiad_store.snapshots import check_snapshot, read_manifest

            with place_of(_absolute(source)) as place:
                manifest = read_manifest(place)
                check_snapshot(place, manifest, _say)
                return f"{place.named}: {manifest.rows:,} rows of {manifest.made_at}, all there"

        click.echo(_run(look))
        return
    folder = _folder(data)
    if folder is not None and _in_use(folder):
        from naiad_standalone.control import ControlError, ask

        try:
            found = ask(folder, "check")
            rolled = ask(folder, "check rollups")
        except ControlError as error:
            raise click.ClickException(str(error)) from error
    else:
        from naiad_standalone.snapshotting import contents, rollups

        async def count() -> tuple[dict[str, Any], dict[str, Any]]:
            async with _engines(folder) as (_, opened):
                return (
                    await asyncio.to_thread(contents, opened),
                    await asyncio.to_thread(rollups, opened),
                )

        found, rolled = _run(count)
    for table, (rows, checksum) in found.items():
        click.echo(f"{table:18}{rows:>16,} rows   {checksum:016x}")
    click.echo(
        f"rollups of {rolled['series']:,} series: {rolled['rows']:,} rows compared with their"
        f" points, {len(rolled['problems']) or 'none'} wrong"
    )
    left = rolled["left"]
    click.echo(
        f"{left['superseded']:,} of {left['rollups']:,} rows of rollups are superseded, and"
        f" {left['dealt_with']:,} of {left['marks']:,} marks dealt with: the janitor removes them"
    )
    for problem in rolled["problems"]:
        click.echo(f"Wrong: {problem}", err=True)
    if rolled["problems"]:
        raise click.ClickException(
            "rollups are not what the points say; charts by step may be wrong there. Stop the"
            " server, say `naiad store reroll`, and start it again: all are made anew"
        )


@store.command()
@_data_option
def reroll(data: Path | None) -> None:
    """Forget all rollups: the next start of the server makes them anew from the points.

    The server has to be stopped. Until they are there, charts are made from the points, which is
    slower for long series and shows the same.
    """
    folder = _stopped(_folder(data))

    async def forget() -> None:
        from naiad_store.rollupcheck import forget_rollups

        async with _engines(folder) as (_, opened):
            await asyncio.to_thread(forget_rollups, opened)

    _run(forget)
    click.echo("All rollups are forgotten. Start the server: it makes them again.")


def _folder(data: Path | None) -> Path | None:
    """The data folder; None where the environment names engines."""
    if data is None and os.environ.get("NAIAD_STORE"):
        if not os.environ.get("NAIAD_EVENT_LOG"):
            raise click.ClickException("NAIAD_STORE is set and NAIAD_EVENT_LOG is not: set both")
        return None
    return (data or Path(".naiad")).expanduser().absolute()


def _in_use(folder: Path) -> bool:
    from naiad_standalone.datafolder import owner_of

    return owner_of(folder) is not None


def _stopped(folder: Path | None) -> Path | None:
    if folder is not None and _in_use(folder):
        from naiad_standalone.datafolder import owner_of

        raise click.ClickException(
            f"the data folder {folder} is in use by process {owner_of(folder) or 'unknown'}: stop"
            " the server first"
        )
    return folder


@contextlib.asynccontextmanager
async def _engines(
    folder: Path | None, *, make: bool = False
) -> AsyncIterator[tuple[EventLog, Store]]:
    """The log and the store, with their topics and tables."""
    from naiad_eventlog import open_event_log
    from naiad_eventlog.topics import ALL_TOPICS
    from naiad_standalone.datafolder import DataFolder
    from naiad_store import Store

    with contextlib.ExitStack() as ending:
        if folder is None:
            log_url, store_url = os.environ["NAIAD_EVENT_LOG"], os.environ["NAIAD_STORE"]
        else:
            if not make and not (folder / "format.json").is_file():
                raise click.ClickException(
                    f"{folder} is not a data folder of Naiad; name the server's with --data"
                )
            held = ending.enter_context(DataFolder.open(folder))
            log_url, store_url = held.log_url, held.store_url
        async with await open_event_log(log_url) as log:
            await log.create_topics(ALL_TOPICS)
            opened = await asyncio.to_thread(Store.open, store_url)
            try:
                await asyncio.to_thread(opened.migrate)
                yield log, opened
            finally:
                await asyncio.to_thread(opened.close)


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What the user can mend is one line and status 1."""
    from naiad_consumers.rebuild import RebuildError
    from naiad_consumers.writer import TooManyDeadLetters
    from naiad_eventlog import EventLogError
    from naiad_standalone.datafolder import DataFolderError
    from naiad_store import StoreError

    try:
        return asyncio.run(work())
    except (
        RebuildError, StoreError, EventLogError, DataFolderError, TooManyDeadLetters, ValueError,
        OSError,
    ) as error:  # fmt: skip
        raise click.ClickException(" ".join(str(error).split())) from error


def _absolute(target: str) -> str:
    return target if "://" in target else str(Path(target).expanduser().absolute())


def _say(text: str) -> None:
    click.echo(text, err=True)
