"""What can be logged, item by item: the good part, and a sentence for each bad item."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from naiad.types import File, Histogram
from naiad_proto.limits import MAX_STEP, check_path, check_string, check_tag, shorten
from naiad_proto.steps import MAX_MICRO_STEP, MICRO

T = TypeVar("T")

# Years 1970 to 9999; what Arrow, pandas and ClickHouse all can hold ends in 2262.
_MAX_TIMESTAMP = 9_000_000_000_000


def _shown(value: object) -> str:
    try:
        return shorten(repr(value), 60)
    except Exception:
        return f"<{type(value).__name__}>"


def _items(what: str, data: Any, check: Callable[[str, Any], T]) -> tuple[dict[str, T], list[str]]:
    """`check` returns what to keep, or raises ValueError with a sentence."""
    if not isinstance(data, Mapping):
        return {}, [f"{what} are given as a dict of paths and values, not as {_shown(data)}"]
    good: dict[str, T] = {}
    problems = []
    for path, value in data.items():
        if not isinstance(path, str):
            problems.append(f"attribute path {_shown(path)} is not a string")
            continue
        problem = check_path(path)
        if problem is None:
            try:
                good[path] = check(path, value)
                continue
            except ValueError as error:
                problem = str(error)
            except Exception as error:
                # From a value's own conversion, which can be anybody's code.
                problem = f"{shorten(path)!r} is {_shown(value)}: {error}"
        problems.append(problem)
    return good, problems


def number(path: str, value: Any) -> float:
    """A metric's value as a float. Raises ValueError."""
    kind = type(value).__name__
    if isinstance(value, int | float | Decimal | Fraction):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(
                f"{shorten(path)!r} is too large for a 64-bit float: {_shown(value)}"
            ) from None
        except ValueError as error:
            raise ValueError(f"{shorten(path)!r} is {_shown(value)} ({kind}): {error}") from None
    if value is None or isinstance(value, str | bytes | complex):
        raise ValueError(f"{shorten(path)!r} is {_shown(value)} ({kind}); a metric is a number")
    item = getattr(value, "item", None)
    why = ""
    if callable(item):
        # numpy's scalars, and 0-dimensional or one-element tensors of any framework.
        try:
            single = item()
        except Exception as error:
            single, why = None, _first_line(error)
        if isinstance(single, int | float):
            return number(path, single)
        if type(single).__module__ == "numpy" and kind in {"longdouble", "float128", "float96"}:
            # Wider than Python's own float.
            return float(single)
    elif hasattr(type(value), "__float__"):
        # TensorFlow's, and whatever else says that it is a number.
        try:
            return float(value)
        except Exception as error:
            why = _first_line(error)
    shape = getattr(value, "shape", None)
    try:
        more = "" if shape is None else f" of shape {tuple(shape)}"
        one = shape is None or len(shape) == 0
    except Exception:
        more, one = "", True
    reason = f" ({why})" if why and one else ""
    raise ValueError(f"{shorten(path)!r} is of type {kind}{more}; a metric is one number{reason}")


def _first_line(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}".splitlines()[0], 120)


def check_metrics(data: Any) -> tuple[dict[str, float], list[str]]:
    """Floats by path; True and False are 1 and 0, as everywhere in Python."""
    return _items("metrics", data, number)


def check_step(step: Any) -> int:
    """`step` as micro-steps. Raises ValueError unless it is a number from 0 to below 1e12 with
    at most six fractional digits, up to what a float of its size can say."""
    given = step
    if step is None or isinstance(step, bool | str | bytes):
        raise ValueError(f"step {_shown(given)} is not a number")
    if not isinstance(step, int | float | Decimal | Fraction):
        item = getattr(step, "item", None)
        try:
            step = item() if callable(item) else float(step)
        except Exception:
            raise ValueError(f"step {_shown(given)} is not a number") from None
        if isinstance(step, bool) or not isinstance(step, int | float):
            raise ValueError(f"step {_shown(given)} is not a number")
    if isinstance(step, float | Decimal) and not math.isfinite(step):
        raise ValueError(f"step {given} is not a finite number")
    if not 0 <= step < MAX_STEP:
        raise ValueError(
            f"step {_shown(given)} is out of range; steps go from 0 to below {MAX_STEP:.0e}"
        )
    if isinstance(step, int):
        return step * MICRO
    exact = Fraction(step) * MICRO
    micro = round(exact)
    # A float of 0.1 is a little beside it; what counts is whether it was meant to be finer.
    slack = Fraction(math.ulp(float(step))) * MICRO if isinstance(step, float) else 0
    if abs(exact - micro) > max(slack, Fraction(1, 1000)):
        raise ValueError(f"step {given} has more than six fractional digits; round it")
    return min(micro, MAX_MICRO_STEP)


def check_timestamp(timestamp: Any) -> int:
    """A datetime (a naive one is local time) or Unix seconds, as Unix milliseconds. Raises
    ValueError."""
    if isinstance(timestamp, datetime):
        seconds = timestamp.timestamp()
    elif isinstance(timestamp, bool) or not hasattr(type(timestamp), "__float__"):
        raise ValueError(f"timestamp {_shown(timestamp)} is neither a datetime nor Unix seconds")
    else:
        seconds = float(timestamp)
    if not math.isfinite(seconds) or not 0 <= seconds * 1000 < _MAX_TIMESTAMP:
        raise ValueError(
            f"timestamp {_shown(timestamp)} is not between 1970 and 2255; give Unix seconds, not"
            " milliseconds"
        )
    return round(seconds * 1000)


def check_strings(data: Any) -> tuple[dict[str, str], list[str]]:
    """Strings by path."""

    def check(path: str, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{shorten(path)!r} is {_shown(value)}; a string series takes strings")
        if problem := check_string(path, value):
            raise ValueError(problem)
        return value

    return _items("strings", data, check)


def check_histograms(data: Any) -> tuple[dict[str, Histogram], list[str]]:
    """Histograms by path."""

    def check(path: str, value: Any) -> Histogram:
        if not isinstance(value, Histogram):
            raise ValueError(f"{shorten(path)!r} is {_shown(value)}; give a naiad.Histogram")
        return value

    return _items("histograms", data, check)


def check_files(data: Any) -> tuple[dict[str, File], list[str]]:
    """Files by path, of which those with a name exist."""

    def check(path: str, value: Any) -> File:
        file = value if isinstance(value, File) else File(value)
        if isinstance(file.source, bytearray | memoryview):
            file = File(bytes(file.source), file.mime_type, None, file.destination)
        if isinstance(file.source, bytes):
            return file
        if not isinstance(file.source, str | os.PathLike):
            raise ValueError(
                f"{shorten(path)!r} is {_shown(file.source)}; give a file's path, its content as"
                " bytes, or a naiad.File"
            )
        source = Path(file.source)
        if not source.is_file():
            what = "a folder" if source.is_dir() else "not there"
            raise ValueError(f"the file {str(source)!r} for {shorten(path)!r} is {what}")
        return file

    return _items("files", data, check)


def check_tags(tags: Any) -> tuple[list[str], list[str]]:
    """Tags in their order, each once."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        return [], [f"tags are given as a list of strings, not as {_shown(tags)}"]
    good: dict[str, None] = {}
    problems = []
    for tag in tags:
        problem = (
            check_tag("tags", tag)
            if isinstance(tag, str)
            else (f"the tag {_shown(tag)} is not a string")
        )
        if problem:
            problems.append(problem)
        else:
            good[tag] = None
    return list(good), problems
