"""The parts of the Run page, one of which is shown at a time. Each module has a function
that takes what is opened and the attributes that the run has, and draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from naiad.query.client import Runs
from naiad_dashboard.address import go, query
from naiad_dashboard.attributes import Attribute
from naiad_dashboard.chrome import Site
from naiad_dashboard.views import RunView

__all__ = ["Attribute", "Opened", "set_view"]


@dataclass(frozen=True)
class Opened:
    """The run that the page shows."""

    site: Site
    view: RunView
    # Seconds between two refreshes; None once the run has ended.
    every: float | None

    @property
    def runs(self) -> Runs:
        return Runs(names=[self.view.run])


def set_view(**changes: Any) -> None:
    go(RunView.read(query()).with_(**changes))
