"""`naiad runs`: a command in a module of its own for each thing that is done with runs."""

from __future__ import annotations

import click

from naiad.cli.changing import delete, purge, restore, tag
from naiad.cli.runslist import list_runs
from naiad.cli.showing import diff, show_run


@click.group()
def runs() -> None:
    """Looks at runs, tags them, moves them to the trash and back."""


for _command in (list_runs, show_run, diff, tag, delete, restore, purge):
    runs.add_command(_command)
