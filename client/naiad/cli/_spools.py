"""What `naiad sync --status` and `--rejected` say of spools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from naiad.cli._tables import show
from naiad.ledger import kept_ledgers, ledger_of
from naiad.spool.folder import folder_bytes, read_header, read_progress, spools, writer_lives
from naiad.spool.layout import REJECTED

# Spools that are sent and gone, the newest.
SENT_SHOWN = 10
COLUMNS = (
    "run", "writer", "state", "logged", "acknowledged", "stored", "rejected", "dropped", "points",
    "points stored", "MB", "trouble",
)  # fmt: skip


def show_status(root: Path, hosts: list[Path], *, as_json: bool) -> None:
    """A row per spool, what is sent and gone first, then what to do about the rest."""
    rows: list[list[Any]] = []
    left = unsent = 0
    for host in hosts:
        rows += [_sent_row(kept) for kept in kept_ledgers(host)[-SENT_SHOWN:]]
        for folder in spools(host):
            row, waiting = _row(folder)
            rows.append(row)
            left += waiting
            unsent += waiting > 0
    if as_json or rows:
        show(COLUMNS, rows, as_json=as_json)
    if as_json:
        return
    if left:
        click.echo(
            f"\n{left:,} records in {unsent} spools are not sent. Send them: naiad sync {root}"
        )
    else:
        click.echo("Nothing is waiting: everything that was logged has been sent.")
    if any(_reasons(hosts)):
        click.echo(f"Some of it was refused by the server: naiad sync --rejected {root}")


def _row(folder: Path) -> tuple[list[Any], int]:
    """A spool's row, and how many of its records are not sent."""
    header = read_header(folder)
    if header is None:
        return [f"? ({folder})", None, "unreadable", *[None] * (len(COLUMNS) - 3)], 0
    progress = read_progress(folder)
    ledger = ledger_of(folder, header)
    lives = writer_lives(folder)
    state = "running" if lives else "ended"
    if header.mode == "offline":
        state += ", offline"
    row = [
        f"{header.project}/{header.run_id}", header.writer_id[:12], state,
        ledger.logged.records, ledger.acknowledged.records, ledger.stored.records,
        ledger.rejected.records, ledger.dropped, ledger.logged.points,
        ledger.stored.points, round(folder_bytes(folder) / 1e6, 1), progress.get("trouble", ""),
    ]  # fmt: skip
    return row, ledger.waiting.records


def _sent_row(kept: dict[str, Any]) -> list[Any]:
    acknowledged, stored, rejected = (
        kept.get(f"{name}_tally", [0, 0, 0]) for name in ("acknowledged", "stored", "rejected")
    )
    return [
        f"{kept.get('project')}/{kept.get('run_id')}", str(kept.get("writer_id"))[:12], "sent",
        acknowledged[0], acknowledged[0], stored[0], rejected[0], int(kept.get("dropped", 0)),
        acknowledged[1], stored[1], 0.0, "",
    ]  # fmt: skip


def show_rejected(hosts: list[Path]) -> None:
    count = 0
    for what in _reasons(hosts):
        count += 1
        click.echo(f"{what.get('run', '?')}\t{what['reason']}")
    if not count:
        click.echo("No server has refused anything.")


def _reasons(hosts: list[Path]) -> Iterator[dict[str, Any]]:
    for host in hosts:
        files = [*(host / REJECTED).glob("*/rejected.jsonl"), *host.glob("spools/*/rejected.jsonl")]
        for file in sorted(files):
            for line in file.read_text().splitlines():
                yield json.loads(line)
