"""What a question is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from naiad_proto.v1.query_pb2 import AttributeSelector, RunSelector
from naiad_proto.v1.records_pb2 import StringList


@dataclass(frozen=True)
class Runs:
    """Which runs: a pattern (RE2, found anywhere in the name), names, or all; of those the ones
    for which `filter` is true, an expression of the filter language; `in_trash`, those in the
    trash instead of the others."""

    pattern: str | None = None
    names: Sequence[str] | None = None
    by_experiment: bool = False
    filter: str = ""
    in_trash: bool = False

    def message(self) -> RunSelector:
        selector = RunSelector(
            by_experiment=self.by_experiment, filter=self.filter, in_trash=self.in_trash
        )
        if self.names is not None:
            selector.names.CopyFrom(StringList(values=self.names))
        elif self.pattern is not None:
            selector.pattern = self.pattern
        return selector


@dataclass(frozen=True)
class Attributes:
    """Which attributes: a pattern (RE2, found anywhere in the path), paths, or all; of
    `types` (empty: any), named as in `AttributeSelector`."""

    pattern: str | None = None
    paths: Sequence[str] | None = None
    types: Sequence[str] = ()

    def message(self) -> AttributeSelector:
        selector = AttributeSelector(types=self.types)
        if self.paths is not None:
            selector.paths.CopyFrom(StringList(values=self.paths))
        elif self.pattern is not None:
            selector.pattern = self.pattern
        return selector


ALL_RUNS = Runs()
ALL_ATTRIBUTES = Attributes()
