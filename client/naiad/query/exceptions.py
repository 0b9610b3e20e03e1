"""Errors of reading back that have a name of their own; the others are in `naiad.exceptions`."""

from __future__ import annotations

from naiad.exceptions import NaiadQueryError, NaiadTypeError, NaiadValueError

__all__ = ["ChartNote", "ConflictingAttributeTypes", "WrongArgumentType"]


class WrongArgumentType(NaiadTypeError, NaiadValueError):
    """An argument of a wrong type. A ValueError too, which is what neptune_query raises for it."""


class ConflictingAttributeTypes(NaiadQueryError):
    """A path has several types among the runs asked for, so that no single column can hold it."""

    def __init__(self, types: dict[str, list[str]]) -> None:
        """`types` of each such path."""
        self.types = types
        told = "; ".join(f"{path!r} is {' and '.join(kinds)}" for path, kinds in types.items())
        super().__init__(
            f"{told}. Ask with type_suffix_in_column_names=True for a column of each type, or for"
            " one type: AttributeFilter(name=..., type=...)"
        )


class ChartNote(UserWarning):
    """What a chart leaves out, or shows more coarsely than was asked."""
