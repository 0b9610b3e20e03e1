"""Values as text, and text of users as what it is: never as markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from naiad.query.client import Project

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:^&\"'=@/])")


def plain(text: str) -> str:
    """`text` such that Markdown, in Streamlit's dialect too, shows it as it is, in a line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def shorten(text: str, most: int = 60) -> str:
    """`text`, or its beginning and end with an ellipsis between, `most` characters long."""
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def some(texts: Sequence[str], most: int = 5) -> str:
    """The first of `texts` as plain text in a row, and how many more there are."""
    named = ", ".join(plain(shorten(text)) for text in texts[:most])
    return named if len(texts) <= most else f"{named} and {len(texts) - most:,} more"


def run_label(run_id: str, experiment: str) -> str:
    """What a run is called where several stand together."""
    return f"{experiment} · {run_id}" if experiment and experiment != run_id else run_id


def number_text(value: float) -> str:
    """Up to 6 significant digits; whole numbers whole."""
    if value == int(value) if abs(value) < 1e15 else False:
        return str(int(value))
    return f"{value:.6g}"


def size_text(size: float) -> str:
    """Bytes as people say them: 1.5 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float) -> str:
    """3 min 20 s; the two largest units that are not zero."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    left, parts = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def time_text(value: datetime | None, timezone: str | None) -> str:
    """A moment as the reader's clock has it; in UTC, and saying so, if that is not known."""
    if value is None:
        return "at an unknown time"
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return f"{aware.astimezone(ZoneInfo(timezone or '')):%Y-%m-%d %H:%M:%S}"
    except (ZoneInfoNotFoundError, ValueError):
        return value_text(aware)


def kept_text(project: Project) -> str:
    """How long its runs are kept."""
    days, trash_days = project.retention.days, project.retention.trash_days
    runs = (
        f"Runs go to the trash {_days(days)} after their end"
        if days
        else "Runs are kept until somebody deletes them"
    )
    trash = (
        f"what is in the trash is purged {_days(trash_days)} after it was deleted"
        if trash_days
        else "what is in the trash stays until somebody purges it"
    )
    return f"{runs}; {trash}."


def _days(count: int) -> str:
    return "a day" if count == 1 else f"{count:,} days"


def value_text(value: Any) -> str:
    """Any attribute's value in one cell or line."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            # As exact as it was logged: a learning rate must not be rounded.
            return repr(value)
        case datetime():
            utc = value.astimezone(UTC) if value.tzinfo else value
            return utc.strftime("%Y-%m-%d %H:%M:%S UTC")
        case Mapping() if "size_bytes" in value:
            return f"{value.get('name') or value.get('key')} ({size_text(value['size_bytes'])})"
        case Mapping() if "edges" in value:
            return f"histogram of {max(0, len(value['edges']) - 1)} bins"
        case list() | tuple() | set():
            return ", ".join(sorted(str(item) for item in value))
        case _:
            return str(value)
