"""Charts as one block of bytes for the browser.

Layout: uint32 little-endian length of the header, the header (UTF-8 JSON) padded with
spaces so that what follows starts at a multiple of 8, then little-endian arrays. The header
refers to an array as [offset, length, "f4" | "f8"]: offset in bytes from the first array,
a multiple of 8. In curves NaN says "nothing here" and +Infinity "the line breaks here".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from naiad_dashboard.colours import look
from naiad_dashboard.curves import Chart, Curve, Floats

# Rounding to 32 bits may move a value by this share of what the chart's axis spans: well
# below a pixel, and it halves what is sent.
_INVISIBLE = 1e-4
# Below it 32 bits come to zero, which no logarithmic axis has.
_LEAST = 1e-37


class _Arrays:
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: Floats, kind: str) -> list[Any]:
        block = values.astype("<" + kind).tobytes()
        place = self._size
        block += bytes(-len(block) % 8)
        self._parts.append(block)
        self._size += len(block)
        return [place, len(values), kind]

    def joined(self) -> bytes:
        return b"".join(self._parts)


def pack(
    charts: Sequence[Chart],
    runs: Sequence[str],
    labels: Mapping[str, str],
    *,
    settings: Mapping[str, Any],
) -> bytes:
    """`runs` are all of the page, or its groups, in the order that gives them their colours;
    `labels` what the legend calls them; `settings` goes into the header as it is (JSON)."""
    arrays = _Arrays()
    places = {run: place for place, run in enumerate(runs)}
    header = {
        **settings,
        "runs": [
            {"id": run, "label": labels.get(run, run), "colour": look(place).colour,
             "dash": look(place).dash}
            for place, run in enumerate(runs)
        ],
        "charts": [_chart(chart, places, arrays, settings.get("log", False)) for chart in charts],
    }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return len(text).to_bytes(4, "little") + text + arrays.joined()


def unpack(block: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and arrays of what `pack` made."""
    length = int.from_bytes(block[:4], "little")
    return json.loads(block[4 : 4 + length]), memoryview(block)[4 + length :]


def read_array(arrays: memoryview, reference: Sequence[Any]) -> Floats:
    """float64 of an array that the header refers to."""
    offset, length, kind = reference
    return np.frombuffer(arrays, dtype=f"<{kind}", count=length, offset=offset).astype(np.float64)


def _chart(chart: Chart, places: Mapping[str, int], arrays: _Arrays, log: bool) -> dict[str, Any]:
    kind = _kind(chart, log)
    return {
        "path": chart.path,
        "points": chart.points,
        "x": arrays.add(chart.x, "f8"),
        "curves": [_curve(curve, places[curve.run], arrays, kind) for curve in chart.curves],
    }


def _kind(chart: Chart, log: bool) -> str:
    """f4 if nobody can see the difference in this chart."""
    shown = [values for curve in chart.curves for values in (curve.low, curve.high, curve.values)]
    every = np.concatenate(shown) if shown else np.zeros(0)
    every = every[np.isfinite(every)]
    if not len(every):
        return "f4"
    if log and np.any((every > 0) & (every < _LEAST)):
        return "f8"
    with np.errstate(over="ignore"):
        span = every.max() - every.min()
        moved = np.abs(every.astype(np.float32).astype(np.float64) - every).max()
    # What f4 can't hold at all moves by infinity, and the span may be infinite as well.
    return "f4" if np.isfinite(moved) and moved <= span * _INVISIBLE else "f8"


def _curve(curve: Curve, place: int, arrays: _Arrays, kind: str) -> dict[str, Any]:
    smoothed = not np.array_equal(curve.values, curve.raw, equal_nan=True)
    values = np.where(curve.gaps, np.inf, curve.values)
    packed: dict[str, Any] = {"run": place, "values": arrays.add(values, kind)}
    if smoothed:
        packed["raw"] = arrays.add(np.where(curve.gaps, np.inf, curve.raw), kind)
    if not curve.is_exact:
        packed["low"] = arrays.add(curve.low, kind)
        packed["high"] = arrays.add(curve.high, kind)
    for name, odd in curve.odd.items():
        packed[name] = {"columns": odd.columns.tolist(), "count": odd.count}
    return packed
