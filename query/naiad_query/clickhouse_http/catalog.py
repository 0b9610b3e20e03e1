"""`system.databases`, `tables`, `columns`, `settings`, `functions`: the documented views alone.

Drivers and BI tools ask these to show what there is. Each has all the columns that the engine's
own has, so that whatever a tool selects is there; but only those that say something about the
views have a value, the others the default of their type, and no row is about anything else.
"""

from __future__ import annotations

from collections.abc import Mapping

from naiad_query.functions import Functions
from naiad_query.sql import MAX_BYTES, MAX_ROWS, MAX_SECONDS
from naiad_store import Store
from naiad_store.selects import views

DATABASE = "naiad"
# As which a statement or a client may name the database; "default" is what drivers say unasked.
DATABASES = frozenset({DATABASE, "default"})
# Columns here that are named like a function that isn't allowed.
COLUMNS = frozenset({"database"})
# Settings that may come with a question: how rows are written, and what the transport does.
TRANSPORT = (
    "enable_http_compression", "wait_end_of_query", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
)  # fmt: skip
FREE_SETTINGS = (
    "date_time_output_format", "date_time_input_format", "cast_string_to_dynamic_use_inference",
    "extremes", "join_use_nulls", "session_timezone", "max_threads", "max_block_size",
    "count_distinct_implementation",
)  # fmt: skip
# JDBC sends some with every question; nothing is inserted, so they say nothing.
ABOUT_INSERTS = ("async_insert", "wait_for_async_insert", "insert_")
FREE_PREFIX = "output_format_"
_BOUNDS = {
    "readonly": 1, "max_execution_time": MAX_SECONDS, "max_memory_usage": MAX_BYTES,
    "max_result_rows": MAX_ROWS,
}  # fmt: skip
# Tables of the engine that tell of the language alone.
_LANGUAGE = ("data_type_families",)


def catalog(store: Store, functions: Functions) -> Mapping[str, str]:
    """SELECTs by the names under which `ReadOnly` has them judged. Raises StoreError."""
    of_views = ", ".join(_text(name) for name in views.VIEWS.values())
    short = _transform("name")
    about = _transform("name", {full: views.ABOUT[name] for name, full in views.VIEWS.items()})
    ours = f"database = {_text(store.database)}"
    free = ", ".join(_text(name) for name in (*TRANSPORT, *FREE_SETTINGS))
    bounds = ", ".join(_text(name) for name in _BOUNDS)
    called = ", ".join(_text(name) for name in sorted(functions.allowed))
    found = {
        "databases": _filled(
            store,
            "databases",
            {"name": _text(DATABASE), "database": _text(DATABASE), "engine": "'Atomic'"},
            "system.one",
        ),
        "tables": _filled(
            store,
            "tables",
            {
                "database": _text(DATABASE), "name": short, "table": short, "engine": "'View'",
                "comment": about,
            },
            f"system.tables WHERE {ours} AND name IN ({of_views})",
        ),
        "columns": _filled(
            store,
            "columns",
            {
                "database": _text(DATABASE), "table": _transform("table"), "name": "name",
                "column": "name", "type": "type", "position": "position",
                "numeric_precision": "numeric_precision", "numeric_scale": "numeric_scale",
                "numeric_precision_radix": "numeric_precision_radix",
                "datetime_precision": "datetime_precision",
            },
            f"system.columns WHERE {ours} AND table IN ({of_views})",
        ),
        "settings": _filled(
            store,
            "settings",
            {
                "name": "name",
                "value": f"transform(name, [{bounds}],"
                f" [{', '.join(_text(str(value)) for value in _BOUNDS.values())}], value)",
                "description": "description", "type": "type", "default": "default",
                "readonly": f"toUInt8(name IN ({bounds}))",
            },
            f"system.settings WHERE name IN ({free}, {bounds})"
            f" OR startsWith(name, {_text(FREE_PREFIX)})",
        ),
        "functions": f"SELECT * FROM system.functions WHERE lower(name) IN ({called})",
        "dictionaries": "SELECT * FROM system.dictionaries WHERE 0",
        **{name: f"SELECT * FROM system.{name}" for name in _LANGUAGE},
    }  # fmt: skip
    return {f"system.{name}": select for name, select in found.items()}


def _filled(store: Store, table: str, values: Mapping[str, str], source: str) -> str:
    columns = store.query(
        "SELECT name, type FROM system.columns"
        " WHERE database = 'system' AND table = {table:String} ORDER BY position",
        {"table": table},
    ).to_pylist()
    # Under a name of its own: in WHERE a name would stand for the column that is made here.
    made = ", ".join(
        f"{values.get(column['name'], _default(column['type']))} AS `made_{column['name']}`"
        for column in columns
    )
    shown = ", ".join(f"`made_{column['name']}` AS `{column['name']}`" for column in columns)
    return f"SELECT {shown} FROM (SELECT {made} FROM {source})"


def _default(kind: str) -> str:
    return f"defaultValueOfTypeName({_text(kind)})"


def _transform(column: str, names: Mapping[str, str] | None = None) -> str:
    """The user's name of a view, or another word for it, where `column` has the store's."""
    names = names or {full: name for name, full in views.VIEWS.items()}
    return (
        f"transform({column}, [{', '.join(_text(name) for name in names)}],"
        f" [{', '.join(_text(word) for word in names.values())}], '')"
    )


def _text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
