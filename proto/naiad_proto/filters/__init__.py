"""The filter language: which runs are meant, in words that people type (docs/filters.md).

Enters: text such as `val/acc.last > 0.95 and tags has "prod"`. Leaves: a tree of `And`, `Or`,
`Not` over tests (`Compare`, `In`, `Exists`), each of which knows where it stands in the text.
Promised: any text gives a tree or a FilterError that points at the column and says what was
expected, within stated limits; `str` of a tree is text that gives the same tree.

It stands with the wire's contract because it is part of it (`RunSelector.filter`): query and the
alerter read filters, and clients make them. What a test means for values is told here and in
the page; `naiad_store.selects.filters` makes SQL of it.
"""

from naiad_proto.filters.errors import FilterError
from naiad_proto.filters.kinds import ALIASES, STATS
from naiad_proto.filters.nodes import (
    Ago,
    And,
    Compare,
    Exists,
    Filter,
    In,
    Literal,
    Not,
    Operand,
    Or,
    Test,
    every_test,
)
from naiad_proto.filters.parser import parse_filter

__all__ = [
    "ALIASES",
    "STATS",
    "Ago",
    "And",
    "Compare",
    "Exists",
    "Filter",
    "FilterError",
    "In",
    "Literal",
    "Not",
    "Operand",
    "Or",
    "Test",
    "every_test",
    "parse_filter",
]
