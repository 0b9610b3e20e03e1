"""Which values a test looks at: types of attributes, and what compares with what."""

from __future__ import annotations

from collections.abc import Mapping

SERIES_TYPES = ("float_series", "string_series", "histogram_series", "file_series")
TYPES = (
    "int", "float", "string", "bool", "datetime", "string_set", "file", *SERIES_TYPES,
)  # fmt: skip

# What a literal may be compared with.
NUMBERS = ("int", "float", "float_series")
STRINGS = ("string", "string_series")
BOOLS = ("bool",)
DATETIMES = ("datetime",)
# What `has` looks into.
HOLDERS = ("string_set", *STRINGS)

# What stands for a series, and the types of series that have it.
STATS: Mapping[str, tuple[str, ...]] = {
    "last": ("float_series", "string_series"),
    "first": ("float_series", "string_series"),
    "min": ("float_series",),
    "max": ("float_series",),
    "mean": ("float_series",),
    "count": SERIES_TYPES,
}

# Short names of what the platform knows of a run.
ALIASES: Mapping[str, str] = {
    "name": "sys/name",
    "status": "sys/state",
    "tags": "sys/tags",
    "group_tags": "sys/group_tags",
    "owner": "sys/owner",
    "run_id": "sys/custom_run_id",
    "created": "sys/creation_time",
    "modified": "sys/modification_time",
}

KEYWORDS = frozenset(
    {"and", "or", "not", "in", "has", "exists", "true", "false", "nan", "inf", "ago"}
)

NAMES: Mapping[tuple[str, ...], str] = {
    NUMBERS: "a number",
    STRINGS: "a text",
    BOOLS: "true or false",
    DATETIMES: "a time",
}
