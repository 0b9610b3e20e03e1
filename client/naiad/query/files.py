"""Files in answers, and how to get their content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from naiad.query.client import QueryClient
from naiad_proto.v1.records_pb2 import FileReference


@dataclass(frozen=True)
class File:
    """A file that a run has stored; `download_files` fetches its content."""

    project: str
    # Run id or experiment name, as it was asked for.
    run: str
    path: str
    # None for a file that is no point of a series.
    step: float | None
    name: str
    size: int
    mime_type: str
    sha256: str
    key: str

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self.size:,} bytes)"


def download_files(
    *,
    files: File | Iterable[Any] | pd.Series[Any] | pd.DataFrame,
    destination: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Fetches files into `destination` (default: here), as run/path/name, and step between for
    those of a series.

    files: a File, some of them, or a series or frame that has them among other things.
    Returns a frame of local paths, with index (run, step) and a column for each path.
    """
    root = Path(destination or ".").absolute()
    rows = []
    with QueryClient() as client:
        for file in _files(files):
            folder = root / _safe(file.run) / Path(*map(_safe, file.path.split("/")))
            if file.step is not None:
                folder /= f"step_{file.step:f}"
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / _safe(file.name or "file")
            half = target.with_name(f".{target.name}.part")
            reference = FileReference(
                key=file.key, size_bytes=file.size, sha256=file.sha256, name=file.name
            )
            with half.open("wb") as out:
                for piece in client.download(file.project, reference):
                    out.write(piece)
            half.rename(target)
            rows.append((file.run, file.step, file.path, str(target)))
    frame = pd.DataFrame(rows, columns=["run", "step", "attribute", "path"])
    return frame.pivot_table(
        index=["run", "step"], columns="attribute", values="path", aggfunc="last", dropna=False
    ).dropna(how="all")


def _files(given: Any) -> Iterator[File]:
    if isinstance(given, File):
        yield given
    elif isinstance(given, pd.DataFrame):
        for column in given.columns:
            yield from _files(given[column])
    else:
        yield from (item for item in given if isinstance(item, File))


def _safe(name: str) -> str:
    """`name` as a part of a local path, and nothing else."""
    cleaned = re.sub(r"[^\w.@+=, -]", "_", name)
    return "_" if cleaned in {"", ".", ".."} else cleaned
