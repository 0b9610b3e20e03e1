"""Single values, and how messages name things."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from naiad_proto.limits import MAX_HISTOGRAM_BINS, MAX_STEP, check_string, shorten
from naiad_proto.steps import MAX_MICRO_STEP, from_micro
from naiad_proto.v1.records_pb2 import FileReference, Histogram

# 1970 to 2200, in milliseconds: what every store, chart and data frame can show. A point
# outside has a broken clock or seconds where milliseconds belong.
MIN_TIMESTAMP = 0
MAX_TIMESTAMP = 7_258_118_400_000

MAX_FILE_KEY_BYTES = 1024
MAX_FILE_NAME_BYTES = 1024
MAX_MIME_TYPE_BYTES = 256

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def named(paths: Sequence[str]) -> str:
    """The first paths as a message names them."""
    if len(paths) <= 2:
        return " and ".join(repr(shorten(path)) for path in paths)
    return f"{shorten(paths[0])!r}, {shorten(paths[1])!r} and {len(paths) - 2} more"


def step_problem(path: str, step: int) -> str | None:
    if 0 <= step <= MAX_MICRO_STEP:
        return None
    return (
        f"step {from_micro(step)} of {shorten(path)!r} is out of range; steps go from 0 to"
        f" below {MAX_STEP:.0e}"
    )


def timestamp_problem(what: str, timestamp: int) -> str | None:
    if MIN_TIMESTAMP <= timestamp <= MAX_TIMESTAMP:
        return None
    return (
        f"timestamp {timestamp} {what} is out of range; it is in milliseconds since the Unix"
        " epoch, from 1970 to 2200"
    )


def histogram_problem(path: str, histogram: Histogram) -> str | None:
    who = f"the histogram for {shorten(path)!r}"
    edges = list(histogram.edges)
    bins = len(edges) - 1
    if bins < 1:
        return f"{who} has {len(edges)} bin edges; it needs at least 2"
    if bins > MAX_HISTOGRAM_BINS:
        return f"{who} has {bins} bins; at most {MAX_HISTOGRAM_BINS} are allowed: merge some"
    if not all(map(math.isfinite, edges)):
        return f"{who} has a bin edge that is not a finite number"
    if any(low >= high for low, high in itertools.pairwise(edges)):
        return f"{who} has bin edges that do not ascend; sort them and give each once"
    match histogram.WhichOneof("bins"):
        case "counts":
            kind, values = "counts", histogram.counts.values
        case "densities":
            kind, values = "densities", histogram.densities.values
        case _:
            return f"{who} has neither counts nor densities; give one per bin"
    if len(values) != bins:
        return f"{who} has {len(values)} {kind} for {bins} bins; give one per bin"
    if not all(math.isfinite(value) and value >= 0 for value in values):
        return f"{who} has {kind} that are negative or not finite"
    return None


def file_problem(path: str, file: FileReference) -> str | None:
    """Is this what UploadFile gave?"""
    who = f"the file for {shorten(path)!r}"
    if not file.key:
        return f"{who} has no key; upload it first and send the reference that comes back"
    for field, text, limit in (
        ("key", file.key, MAX_FILE_KEY_BYTES),
        ("name", file.name, MAX_FILE_NAME_BYTES),
        ("MIME type", file.mime_type, MAX_MIME_TYPE_BYTES),
    ):
        if problem := text_problem(f"the {field} of {who}", text, limit):
            return problem
    if not _SHA256.fullmatch(file.sha256):
        return (
            f"{who} has the sha256 {shorten(file.sha256)!r}, which is not 64 lower-case"
            " hexadecimal digits; send the reference that the upload gave back"
        )
    return None


def string_value_problem(path: str, text: str) -> str | None:
    # A character has at most four bytes: a short string is told without encoding it.
    return check_string(path, text) if len(text) > 1024 else None


def text_problem(what: str, text: str, limit: int) -> str | None:
    """One line of at most `limit` bytes; may be empty."""
    if (size := len(text.encode())) > limit:
        return f"{what} has {size} bytes; at most {limit} are allowed"
    if _CONTROL.search(text):
        return f"{what}, {shorten(text)!r}, has control characters; remove them"
    return None
