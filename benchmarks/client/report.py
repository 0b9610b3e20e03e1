"""The command that takes measures by their names, and the table that it prints."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Row:
    what: str
    target: str
    measured: str
    # What the same machine does in the same run, to compare with.
    beside: str = ""


def run(prog: str, measures: Sequence[str], *, modules: str = "{}") -> None:
    """Each measure is the function `measure(quick)` of its module, which gives rows."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(measures))
    parser.add_argument("--quick", action="store_true", help="fewer calls and points, shorter")
    given = parser.parse_args()
    if unknown := set(given.measures) - set(measures):
        known = ", ".join(measures)
        parser.error(f"no measure is called {', '.join(sorted(unknown))}; there are {known}")
    os.environ["NAIAD_QUIET"] = "1"
    rows: list[Row] = []
    for name in given.measures or measures:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(modules.format(name)).measure(given.quick)
    print(as_markdown(rows))


def as_markdown(rows: Sequence[Row]) -> str:
    lines = ["| what | target | measured | in the same run |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.target} | {row.measured} | {row.beside} |" for row in rows]
    return "\n".join(lines)


def quantiles(taken: npt.ArrayLike, *percents: float) -> list[float]:
    return [float(value) for value in np.percentile(np.asarray(taken, float), percents)]
