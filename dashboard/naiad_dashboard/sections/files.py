"""The files of a run, listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from naiad.query.client import Attributes
from naiad_dashboard.sections import Attribute, Opened
from naiad_dashboard.texts import number_text, size_text

_PER_SERIES = 100


def show_files(opened: Opened, known: Sequence[Attribute]) -> None:
    client, project = opened.site.client, opened.view.project
    single = [path for path, kind in known if kind == "file"]
    series = [path for path, kind in known if kind == "file_series"]
    rows = []
    if single:
        asked = Attributes(paths=single, types=["file"])
        for row in client.runs_table(project, opened.runs, asked).to_pylist():
            rows += [
                _row(name.rpartition(":")[0], "", value)
                for name, value in row.items()
                if isinstance(value, dict)
            ]
    if series:
        asked = Attributes(paths=series, types=["file_series"])
        found = client.series(project, opened.runs, asked, tail_limit=_PER_SERIES)
        rows += [
            _row(row["path"], number_text(row["step"] / 1e6), row["file"])
            for row in found.to_pylist()
        ]
    if not rows:
        st.info('No files yet. `run.assign_files({"model": "model.pt"})` logs one.')
        return
    st.dataframe(rows, hide_index=True)
    if series:
        st.caption(f"Of each series the last {_PER_SERIES} files.")
    st.caption("`naiad.query.runs.download_files` fetches them.")


def _row(path: str, step: str, file: dict[str, Any]) -> dict[str, str]:
    return {
        "path": path,
        "step": step,
        "name": file.get("name") or "",
        "size": size_text(file.get("size_bytes") or 0),
        "type": file.get("mime_type") or "",
        "sha256": file.get("sha256") or "",
    }
