"""`naiad sync`: sends what offline or dead processes left in spools."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from naiad.cli._parked import send_again
from naiad.cli._spools import show_rejected, show_status
from naiad.settings import api_token, spool_root
from naiad.shipper.shipper import Shipper
from naiad.shipper.starting import LOCK
from naiad.spool.folder import folder_bytes, is_taken, spools, writer_lives
from naiad.spool.layout import REJECTED

# Without --watch, how long a server may be away before it is given up.
PATIENCE_SECONDS = 30.0


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Go on, and send what is still to come.")
@click.option("--status", is_flag=True, help="Only say what is there, and what became of it.")
@click.option("--json", "as_json", is_flag=True, help="--status as a JSON array.")
@click.option("--rejected", is_flag=True, help="Only show what servers did not take, and why.")
@click.option("--again", is_flag=True, help="Offer once more what servers refused as a whole.")
@click.option("--url", envvar="NAIAD_URL", help="Send to this server instead of each run's own.")
@click.option(
    "--token", help="API token; default NAIAD_API_TOKEN, then the one that the run was given."
)
def sync(
    directory: Path | None,
    watch: bool,
    status: bool,
    as_json: bool,
    rejected: bool,
    again: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Sends what offline or dead processes left in DIRECTORY.

    DIRECTORY is the folder that was given as log_directory or NAIAD_LOG_DIRECTORY; default
    .naiad/spool here. Sending twice does no harm: the server keeps one of each.
    """
    root = spool_root(directory)
    hosts = hosts_in(root)
    if not hosts:
        raise click.ClickException(
            f"there are no spools in {root}. Name the folder that the runs were given as"
            " log_directory"
        )
    if status:
        show_status(root, hosts, as_json=as_json)
    elif rejected:
        show_rejected(hosts)
    elif again:
        if send_again(hosts, url, api_token(token)):
            raise SystemExit(1)
    else:
        left = sum(send(host, url, api_token(token), watch) for host in hosts)
        if left:
            raise SystemExit(1)


def hosts_in(root: Path) -> list[Path]:
    """The hosts' folders of a root; `root` itself may be one of them."""
    if (root / "spools").is_dir() or (root / REJECTED).is_dir():
        return [root]
    if not root.is_dir():
        return []
    return sorted(
        entry
        for entry in root.iterdir()
        if (entry / "spools").is_dir() or (entry / REJECTED).is_dir()
    )


def send(host: Path, url: str | None, token: str | None, watch: bool) -> int:
    """Sends a host's spools; returns how many are left."""
    if not watch and not spools(host):
        click.echo(f"{host.name}: nothing is waiting.")
        return 0
    if is_taken(host / LOCK):
        # Somebody's run is under way there. Its shipper takes leftovers too, but not what was
        # meant to stay offline, and not with this token.
        click.echo(
            f"{host.name}: a shipper is at work in {host}, which sends what can be sent; call"
            " `naiad sync` again when its runs are over for what is offline."
        )
        return 0
    shipper = Shipper(
        host,
        forced_url=url,
        forced_token=token,
        offline_too=True,
        sample_hardware=False,
        watch=watch,
    )
    stop = threading.Event()
    sent: dict[Path, int] = {}
    before = len(spools(host))
    said: set[str] = set()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.1f} MB"),
        TimeElapsedColumn(),
        console=_console(stderr=True),
    ) as bar:
        total = sum(folder_bytes(folder) for folder in spools(host)) / 1e6
        task = bar.add_task(host.name, total=total)

        moved_at = time.monotonic()

        def tick(shipper: Shipper) -> None:
            nonlocal moved_at
            so_far = sum(sent.values())
            for folder, ship in shipper.ships.items():
                sent[folder] = ship.told.acknowledged
                if ship.told.trouble and ship.told.trouble not in said:
                    said.add(ship.told.trouble)
                    bar.console.print(ship.told.trouble, markup=False, highlight=False)
            left = sum(folder_bytes(folder) for folder in spools(host)) / 1e6
            bar.update(task, completed=max(0.0, total - left))
            if sum(sent.values()) != so_far:
                moved_at = time.monotonic()
            elif not watch and said and time.monotonic() - moved_at > PATIENCE_SECONDS:
                bar.console.print(f"Nothing moved for {PATIENCE_SECONDS:.0f} s; giving up for now.")
                stop.set()

        try:
            shipper.run(stop, tick)
        except KeyboardInterrupt:
            bar.console.print("Interrupted. What was sent is not sent again next time.")
    left = [folder for folder in spools(host) if not writer_lives(folder)]
    click.echo(f"{host.name}: sent {before - len(left)} of {before} spools.")
    for folder in left:
        click.echo(f"  left: {folder}")
    refused = sum(1 for _ in (host / REJECTED).glob("*/rejected.jsonl"))
    if refused:
        click.echo("Some items were refused by the server: see `naiad sync --rejected`.")
    return len(left)


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    # Piped, a table must not be cut at 80 columns.
    return console if console.is_terminal else Console(stderr=stderr, width=200, highlight=False)
