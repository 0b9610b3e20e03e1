"""Files in answers, and how to get their content."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from naiad.query.client import QueryClient
from naiad.query.connecting import connected
from naiad.query.exceptions import WrongArgumentType
from naiad_proto.v1.records_pb2 import FileReference


@dataclass(frozen=True)
class File:
    """A file that a run has stored; `download_files` fetches its content."""

    project_identifier: str
    # One of the two, as it was asked for.
    experiment_name: str | None
    run_id: str | None
    attribute_path: str
    # None for a file that is no point of a series.
    step: float | None
    name: str
    size_bytes: int
    mime_type: str
    sha256: str
    key: str

    @property
    def container_identifier(self) -> str:
        """The experiment's name or the run's id."""
        return self.experiment_name or self.run_id or ""

    @property
    def path(self) -> str:
        """Where the server keeps it."""
        return self.key

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self.size_bytes:,} bytes)"


def download_files(
    *,
    files: File | Iterable[Any] | pd.Series[Any] | pd.DataFrame,
    destination: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Fetches files into `destination` (default: here), as run/path/name, and step between for
    those of a series.

    files: a File, some of them, or a series or frame that has them among other things.
    Returns a frame of local paths, with index (run, step), or (experiment, step) for files of
    experiments, and a column for each path; step is NaN for a file that is no point of a series.

    Raises NaiadQueryError for a file that is gone, OSError where it can't be written; what was
    fetched before stays.
    """
    root = Path(destination or ".").absolute()
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"destination is {root}, which is no folder")
    chosen = list(dict.fromkeys(_files(files)))
    local = {}
    with connected(600) as client:
        for file in chosen:
            local[file] = _fetch(client, file, root)
    index = "experiment" if any(file.experiment_name for file in chosen) else "run"
    rows = sorted(
        {_row(file) for file in chosen},
        key=lambda row: (row[0], -1.0 if row[1] is None else row[1]),
    )
    places = {row: number for number, row in enumerate(rows)}
    columns: dict[str, list[str | None]] = {
        path: [None] * len(rows) for path in sorted({file.attribute_path for file in chosen})
    }
    for file, path in local.items():
        columns[file.attribute_path][places[_row(file)]] = str(path)
    steps = [math.nan if step is None else step for _, step in rows]
    frame = pd.DataFrame(
        columns,
        index=pd.MultiIndex.from_arrays([[name for name, _ in rows], steps], names=[index, "step"]),
        dtype=object,
    )
    frame.columns.name = "attribute"
    return frame


def _row(file: File) -> tuple[str, float | None]:
    return file.container_identifier, file.step


def _fetch(client: QueryClient, file: File, root: Path) -> Path:
    """Its path, where it stands only when it is whole."""
    folder = root / _safe(file.container_identifier)
    folder /= Path(*map(_safe, file.attribute_path.split("/")))
    if file.step is not None:
        folder /= f"step_{file.step:f}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / _safe(file.name or "file")
    half = target.with_name(f".{target.name}.part")
    reference = FileReference(
        key=file.key, size_bytes=file.size_bytes, sha256=file.sha256, name=file.name
    )
    try:
        with half.open("wb") as out:
            for piece in client.download(file.project_identifier, reference):
                out.write(piece)
        half.rename(target)
    finally:
        half.unlink(missing_ok=True)
    return target


def _files(given: Any) -> Iterator[File]:
    if isinstance(given, File):
        yield given
    elif isinstance(given, pd.DataFrame):
        for column in given.columns:
            yield from _files(given[column])
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
        yield from (item for item in given if isinstance(item, File))
    else:
        raise WrongArgumentType(
            f"files is {given!r}; give a File, a list of them, or a frame or series that has some"
        )


def _safe(name: str) -> str:
    """`name` as a part of a local path, and nothing else."""
    cleaned = re.sub(r"[^\w.@+=, -]", "_", name)
    return "_" if cleaned in {"", ".", ".."} else cleaned
