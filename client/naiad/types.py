"""What can be logged beside numbers and strings."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from naiad_proto.limits import MAX_HISTOGRAM_BINS
from naiad_proto.v1 import records_pb2 as pb

_DEFAULT_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class File:
    """A file to log: `source` is its path, or its content as bytes.

    mime_type: guessed from the name when left out.
    size: ignored; the content's own counts. Accepted for users of neptune_scale.
    destination: the name that a download gets; default the source's, or the attribute's.
    """

    source: str | os.PathLike[str] | bytes
    mime_type: str | None = None
    size: int | None = None
    destination: str | None = None

    def name_for(self, path: str) -> str:
        """The name of a download, for the file under the attribute `path`."""
        if self.destination:
            name = Path(self.destination).name
        elif isinstance(self.source, bytes):
            name = path.rpartition("/")[2]
            if not Path(name).suffix and self.mime_type:
                import mimetypes

                name += mimetypes.guess_extension(self.mime_type) or ""
        else:
            name = Path(self.source).name
        return name or "file"

    def mime_type_for(self, path: str) -> str:
        """Its MIME type, guessed where none was given."""
        if self.mime_type:
            return self.mime_type
        # Most trainings log no file.
        import mimetypes

        return mimetypes.guess_type(self.name_for(path))[0] or _DEFAULT_TYPE


@dataclass(frozen=True, eq=False)
class Histogram:
    """k bins between k + 1 ascending edges, with their counts or densities; k up to 512.

    Raises ValueError where the numbers don't fit, TypeError where they are none.
    """

    bin_edges: Sequence[float]
    counts: Sequence[float] | None = None
    densities: Sequence[float] | None = None

    def __init__(
        self,
        bin_edges: Sequence[float],
        *,
        counts: Sequence[float] | None = None,
        densities: Sequence[float] | None = None,
    ) -> None:
        if (counts is None) == (densities is None):
            raise ValueError("a histogram has counts or densities: give one of them")
        name, given = ("counts", counts) if counts is not None else ("densities", densities)
        edges, bins = _numbers("bin_edges", bin_edges), _numbers(name, given)
        if len(edges) < 2 or len(bins) != len(edges) - 1:
            raise ValueError(
                f"a histogram with {len(edges)} bin_edges has {max(0, len(edges) - 1)} bins, not"
                f" {len(bins)} {name}"
            )
        if len(bins) > MAX_HISTOGRAM_BINS:
            raise ValueError(
                f"a histogram has at most {MAX_HISTOGRAM_BINS} bins, not {len(bins)}; merge some"
            )
        if not all(map(math.isfinite, edges)) or any(b <= a for a, b in pairwise(edges)):
            raise ValueError("bin_edges have to be finite and ascending")
        if not all(math.isfinite(number) and number >= 0 for number in bins):
            raise ValueError(f"{name} have to be finite and not negative")
        object.__setattr__(self, "bin_edges", edges)
        object.__setattr__(self, "counts", bins if counts is not None else None)
        object.__setattr__(self, "densities", bins if counts is None else None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def type(self) -> str:
        """COUNTING or DENSITY; with `edges` and `values` as neptune_query names its parts."""
        return "DENSITY" if self.counts is None else "COUNTING"

    @property
    def edges(self) -> Sequence[float]:
        return self.bin_edges

    @property
    def values(self) -> Sequence[float]:
        return (self.densities if self.counts is None else self.counts) or []

    def message(self) -> pb.Histogram:
        """As it travels."""
        made = pb.Histogram(edges=self.bin_edges)
        if self.counts is not None:
            made.counts.values.extend(self.counts)
        else:
            made.densities.values.extend(self.densities or ())
        return made


def _numbers(name: str, given: Any) -> list[float]:
    """Of a list, or an array of any library; not by numpy, which a training that has no need
    of it should not have to import."""
    dimensions = getattr(given, "ndim", 1)
    if dimensions != 1:
        raise ValueError(f"{name} of a histogram have to be one-dimensional, not {dimensions}")
    listed = given.tolist() if callable(getattr(given, "tolist", None)) else given
    try:
        return [_number(value) for value in listed]
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} of a histogram have to be numbers") from None


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError(value)
    return float(value)


@dataclass(frozen=True)
class SourceTrackingConfig:
    """What a run keeps of the code that it comes from; everything can be switched off."""

    # Where in the run it goes.
    namespace: str = "source_code"
    # The script that was started, as a file.
    upload_entry_point: bool = True
    # The changes that are not committed, and those that are not pushed.
    upload_diff_head: bool = True
    upload_diff_upstream: bool = True
    # The command line; it may hold secrets.
    upload_run_command: bool = True
    # Commit, branch, remote and whether there are changes.
    track_git: bool = True
    # Versions of Python and of all installed packages.
    track_packages: bool = True
    # Host, container and job: Slurm, Kubernetes, SageMaker, Ray, torchrun.
    track_host: bool = True
