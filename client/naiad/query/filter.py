"""`Filter`: which runs, said by the values of their attributes."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from naiad.exceptions import NaiadValueError
from naiad.query.attributes import Attribute
from naiad.query.exceptions import WrongArgumentType

Value = bool | int | float | str | datetime

# How patterns are joined, here as in naiad_store: between blanks, and "!" before what is not
# to be found.
_OR, _AND, _NOT = re.compile(r"\s+\|\s+"), re.compile(r"\s+&\s+"), re.compile(r"!\s*")
# What needs no quotes whoever reads it: an alias or a keyword has no slash.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z0-9_]+)+")


class Filter:
    """Runs for which an expression of the filter language is true, as `naiad runs list --filter`
    takes it; or one made from the methods below. They combine by `&`, `|` and `~`:

        Filter('val/acc.last > 0.95 and tags has "prod"')
        Filter.lt("lr", 0.01) & ~Filter.contains_all("sys/tags", ["broken"])

    A test of an attribute that a run lacks is false. Methods raise NaiadValueError, NaiadTypeError
    for what can't be asked; a mistake in an expression is told by the server, with its column.
    """

    def __init__(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise WrongArgumentType(
                f"expression is {expression!r}; give a filter such as 'lr > 0.1' as a string"
            )
        if not expression.strip():
            raise NaiadValueError("the filter is empty; give one such as 'lr > 0.1', or None")
        self._expression = expression
        # "" for a test or a negation, "and" or "or" for what these join, and None for text of
        # which nobody here knows.
        self._word: str | None = None

    @staticmethod
    def name(name: str | Sequence[str]) -> Filter:
        """Experiments in whose name a regular expression is found, or that are named exactly so."""
        attribute = Attribute("sys/name", "string")
        if isinstance(name, str):
            return Filter.matches(attribute, name)
        values = _values("name", name)
        return _closed(f"{_operand(attribute)} in ({', '.join(map(_text, values))})")

    @staticmethod
    def eq(attribute: str | Attribute, value: Value) -> Filter:
        return _compared(attribute, "==", value)

    @staticmethod
    def ne(attribute: str | Attribute, value: Value) -> Filter:
        """Has another value; false where there is none."""
        return _compared(attribute, "!=", value)

    @staticmethod
    def gt(attribute: str | Attribute, value: Value) -> Filter:
        return _compared(attribute, ">", value)

    @staticmethod
    def ge(attribute: str | Attribute, value: Value) -> Filter:
        return _compared(attribute, ">=", value)

    @staticmethod
    def lt(attribute: str | Attribute, value: Value) -> Filter:
        return _compared(attribute, "<", value)

    @staticmethod
    def le(attribute: str | Attribute, value: Value) -> Filter:
        return _compared(attribute, "<=", value)

    @staticmethod
    def matches(attribute: str | Attribute, pattern: str) -> Filter:
        """Regular expressions (RE2) are found in a string's value: several are joined by " & ",
        " | ", and "!" stands before one that is not to be found."""
        if not isinstance(pattern, str):
            raise WrongArgumentType(f"pattern is {pattern!r}; give a regular expression")
        operand = _operand(attribute)
        either = [
            [
                f"{operand} !~ {_text(part[found.end() :])}"
                if (found := _NOT.match(part))
                else f"{operand} =~ {_text(part)}"
                for part in _AND.split(alternative)
            ]
            for alternative in _OR.split(pattern.strip())
        ]
        return _any([_all([_closed(test) for test in tests]) for tests in either])

    @staticmethod
    def contains_all(attribute: str | Attribute, values: str | Sequence[str]) -> Filter:
        """A set of strings has all of these, or a string has them as parts."""
        operand = _operand(attribute)
        return _all([_closed(f"{operand} has {_text(one)}") for one in _values("values", values)])

    @staticmethod
    def contains_none(attribute: str | Attribute, values: str | Sequence[str]) -> Filter:
        """It has none of these. True also of runs without the attribute: a run without tags has
        no tag."""
        operand = _operand(attribute)
        return _all(
            [_closed(f"not ({operand} has {_text(one)})") for one in _values("values", values)]
        )

    @staticmethod
    def exists(attribute: str | Attribute) -> Filter:
        return _closed(f"{_operand(attribute)} exists")

    def __and__(self, other: Filter) -> Filter:
        return _all([self, other]) if isinstance(other, Filter) else NotImplemented

    def __or__(self, other: Filter) -> Filter:
        return _any([self, other]) if isinstance(other, Filter) else NotImplemented

    def __invert__(self) -> Filter:
        return _closed(f"not ({self})")

    def __bool__(self) -> bool:
        raise WrongArgumentType("filters combine by & and |, not by `and` and `or`")

    def __str__(self) -> str:
        """In the filter language."""
        return self._expression

    def __repr__(self) -> str:
        return f"Filter({self._expression!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self._expression == other._expression

    def __hash__(self) -> int:
        return hash(self._expression)


def _closed(expression: str) -> Filter:
    made = Filter(expression)
    made._word = ""
    return made


def _all(filters: list[Filter]) -> Filter:
    return _joined("and", filters)


def _any(filters: list[Filter]) -> Filter:
    return _joined("or", filters)


def _joined(word: str, filters: list[Filter]) -> Filter:
    if len(filters) == 1:
        return filters[0]
    # A chain of one word needs no brackets, which may not stand in each other for ever.
    made = Filter(
        f" {word} ".join(str(one) if one._word in ("", word) else f"({one})" for one in filters)
    )
    made._word = word
    return made


def _compared(attribute: str | Attribute, operator: str, value: Value) -> Filter:
    return _closed(f"{_operand(attribute)} {operator} {_literal(value)}")


def _operand(attribute: str | Attribute) -> str:
    if isinstance(attribute, str):
        attribute = Attribute(attribute)
    if not isinstance(attribute, Attribute):
        raise WrongArgumentType(f"attribute is {attribute!r}; give a path or an Attribute")
    path = attribute.name
    if not _PLAIN.fullmatch(path):
        path = "`" + path.replace("`", "``") + "`"
    fold = f".{attribute.aggregation}" if attribute.aggregation else ""
    return path + fold + (f":{attribute.type}" if attribute.type else "")


def _literal(value: Any) -> str:
    match value:
        case str():
            return _text(value)
        case datetime():
            return _text(value.astimezone(UTC).isoformat(timespec="milliseconds"))
        case bool():
            return "true" if value else "false"
        case numbers.Integral():
            return str(int(value))
        case numbers.Real():
            number = float(value)
            return str(number) if math.isfinite(number) else str(number).removeprefix("+")
    raise WrongArgumentType(
        f"value is {value!r}; a filter compares with a number, a string, a bool or a datetime"
    )


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _values(name: str, given: str | Sequence[str]) -> list[str]:
    values = [given] if isinstance(given, str) else list(given)
    if not values:
        raise NaiadValueError(f"{name} is an empty list; give a string or several")
    for value in values:
        if not isinstance(value, str):
            raise WrongArgumentType(f"{name} has {value!r} in it; give strings")
    return values
