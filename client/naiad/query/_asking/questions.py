"""How a question of one or several parts is put to a server."""

from __future__ import annotations

from collections.abc import Iterable

from naiad.query.choices import RunsArgument, chosen_runs
from naiad.query.client import Attributes, QueryClient, Runs

# Seconds that a question about points may take.
LONG = 600


class Questions:
    """Questions about runs by id, or by experiment; `noun` is what arguments call them."""

    def __init__(self, *, by_experiment: bool) -> None:
        self._by_experiment = by_experiment
        self._noun = "experiments" if by_experiment else "runs"
        # Name of the frames' index.
        self._index = "experiment" if by_experiment else "run"

    def _runs(self, given: RunsArgument) -> Runs:
        return chosen_runs(self._noun, given, by_experiment=self._by_experiment)


def pairs_of(
    client: QueryClient, project: str, runs: Runs, parts: Iterable[Attributes]
) -> list[tuple[str, str]]:
    """Path and type of all that the parts mean, in alphabetical order."""
    return sorted({pair for part in parts for pair in client.list_attributes(project, runs, part)})


def joined(
    client: QueryClient, project: str, runs: Runs, parts: list[Attributes]
) -> tuple[Attributes, frozenset[tuple[str, str]] | None]:
    """The parts as one that the server can be asked, and where that may mean more than they do,
    what they mean."""
    if len(parts) == 1:
        return parts[0], None
    found = pairs_of(client, project, runs, parts)
    types = sorted({kind for _, kind in found})
    return Attributes(paths=sorted({path for path, _ in found}), types=types), frozenset(found)
