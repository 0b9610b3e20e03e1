"""Rows of the table that the benchmark prints."""

from __future__ import annotations

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


def as_markdown(rows: Sequence[Row]) -> str:
    lines = ["| what | target | measured | in the same run |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.target} | {row.measured} | {row.beside} |" for row in rows]
    return "\n".join(lines)


def quantiles(taken: npt.ArrayLike, *percents: float) -> list[float]:
    return [float(value) for value in np.percentile(np.asarray(taken, float), percents)]
