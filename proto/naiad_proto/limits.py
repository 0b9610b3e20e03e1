"""What names and sizes are allowed, and why; checked by the client and again by ingest.

The `check_*` functions return None when the value is fine, else one sentence that names
the item and says what to do. They never raise, so a caller decides what a bad item costs.
"""

from __future__ import annotations

import re

# One gRPC message. Larger batches gain nothing and make a retry dear.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# A shipper closes a batch well below the message limit, whatever the item sizes.
TARGET_BATCH_BYTES = 4 * 1024 * 1024
# Paths are part of every series' key and are shown in tables.
MAX_PATH_BYTES = 1024
# Strings are for people and configs; more belongs in a file.
MAX_STRING_BYTES = 1024 * 1024
MAX_RUN_ID_BYTES = 730
MAX_EXPERIMENT_NAME_BYTES = 730
MAX_PROJECT_BYTES = 256
MAX_TAG_BYTES = 1024
# Bins of one histogram, as Neptune's clients know it.
MAX_HISTOGRAM_BINS = 512
# Steps stay below this: twelve digits before the point and six after are the eighteen that
# Decimal64(6) holds, so 1e12 itself could be neither stored nor compared.
MAX_STEP = 10**12

_PROJECT_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Control characters break tables, terminals and URLs; \x9b begins an escape sequence too.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def shorten(text: str, length: int = 80) -> str:
    """`text` as a message can carry it: one line, cut with an ellipsis when over-long."""
    text = (
        text.encode("unicode_escape", "backslashreplace").decode("ascii")
        if (_CONTROL.search(text) or not text.isprintable())
        else text
    )
    return text if len(text) <= length else text[: length - 1] + "…"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _check_text(what: str, text: str, limit: int) -> str | None:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return f"{what} {shorten(text)!r} is not valid Unicode text; remove the lone surrogates"
    if not text:
        return f"{what} is empty; give it a name"
    if size > limit:
        return f"{what} {shorten(text)!r} has {size} bytes; at most {limit} are allowed"
    if _CONTROL.search(text):
        return f"{what} {shorten(text)!r} has control characters; remove them"
    return None


def check_project(project: str) -> str | None:
    """A project is "workspace/name", each part of letters, digits, ".", "_" and "-"."""
    if problem := _check_text("project", project, MAX_PROJECT_BYTES):
        return problem
    parts = project.split("/")
    if len(parts) != 2 or not all(_PROJECT_PART.fullmatch(p) for p in parts):
        return (
            f"project {shorten(project)!r} is not of the form 'workspace/name', where each part"
            " begins with a letter or digit and goes on with letters, digits, '.', '_' and '-'"
        )
    return None


def check_run_id(run_id: str) -> str | None:
    """A run id has no slash, because "project/run_id" is the log's key and a URL."""
    if problem := _check_text("run id", run_id, MAX_RUN_ID_BYTES):
        return problem
    if "/" in run_id:
        return f"run id {shorten(run_id)!r} has a slash; use another separator, such as '-'"
    return None


def check_experiment_name(name: str) -> str | None:
    return _check_text("experiment name", name, MAX_EXPERIMENT_NAME_BYTES)


def check_path(path: str) -> str | None:
    """An attribute path: any text without control characters, slashes make the tree."""
    return _check_text("attribute path", path, MAX_PATH_BYTES)


def check_string(path: str, value: str) -> str | None:
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        return f"the string for {shorten(path)!r} is not valid Unicode; remove the lone surrogates"
    if size > MAX_STRING_BYTES:
        return (
            f"the string for {shorten(path)!r} has {size} bytes; at most {MAX_STRING_BYTES} are"
            " allowed: log it as a file instead"
        )
    return None


def check_tag(path: str, tag: str) -> str | None:
    return _check_text(f"string set {shorten(path)!r}: element", tag, MAX_TAG_BYTES)
