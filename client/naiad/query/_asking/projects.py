"""Questions about projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from naiad.query import outputs
from naiad.query.attributes import strings
from naiad.query.client import Project
from naiad.query.connecting import connected
from naiad.query.exceptions import WrongArgumentType
from naiad.query.outputs import Output, check_output

_SCHEMA = pa.schema(
    [
        ("project", pa.string()), ("runs", pa.uint64()), ("runs_in_trash", pa.uint64()),
        ("days", pa.uint32()), ("trash_days", pa.uint32()), ("retention_set_by", pa.string()),
        ("retention_set_time", pa.timestamp("ms", "UTC")),
    ]
)  # fmt: skip


def projects_table(projects: Sequence[str] | None, output: Output) -> Any:
    check_output(output)
    if isinstance(projects, str):
        raise WrongArgumentType(f"projects is {projects!r}; give a list of names, or None for all")
    names = None if projects is None else strings("projects", projects)
    with connected() as client:
        # No name stands for all, to the server.
        found = client.describe_projects(names or ()) if names is None or names else []
    table = pa.Table.from_pylist([_row(one) for one in found], schema=_SCHEMA)
    if output != "pandas":
        return outputs.given_out(table, output)
    # Whole numbers that may be missing.
    frame = table.to_pandas(types_mapper={
        pa.uint64(): pd.UInt64Dtype(), pa.uint32(): pd.UInt32Dtype()
    }.get)  # fmt: skip
    return frame.set_index("project")


def _row(project: Project) -> dict[str, Any]:
    row: dict[str, Any] = {
        "project": project.name, "runs": project.runs, "runs_in_trash": project.runs_in_trash,
    }  # fmt: skip
    if project.HasField("retention"):
        said = project.retention
        row |= {
            "days": said.days or None,
            "trash_days": said.trash_days or None,
            "retention_set_by": said.set_by,
            "retention_set_time": said.set_at,
        }
    return row
