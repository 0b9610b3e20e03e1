"""Parameters as they travel to the engine.

A list of ten thousand run keys is nothing to ClickHouse. But the client would look at each number
for a dozen types before it spells it, which took longer than the question; and a server refuses
form fields, in which parameters travel, beyond 128 KiB (`http_max_field_value_size`, which a
question can't change for itself). So lists of numbers are spelled here, and long lists go in parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

# Of a field, in bytes.
LONGEST = 120_000
# Of a number with what separates it from the next: a sign, 20 digits or 17 with point and exponent.
_OF_NUMBER = 26
_NUMBERS = ({int}, {float}, {int, float})


class _Spelled:
    """A value that the client writes as it is."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def bound(
    sql: str, parameters: Mapping[str, object] | None, longest: int | None = None
) -> tuple[str, dict[str, object]]:
    """The statement and its parameters, to be given to a client. With `longest`, bytes, arrays
    that would be longer go as several parameters that the statement puts together."""
    given: dict[str, object] = {}
    for name, value in (parameters or {}).items():
        parts = [value] if longest is None else list(_parts(value, longest))
        if len(parts) == 1:
            given[name] = _spelled(value)
            continue
        names = [f"{name}__{number}" for number in range(len(parts))]
        given |= dict(zip(names, map(_spelled, parts), strict=True))
        sql = re.sub(
            rf"\{{{re.escape(name)}:([^{{}}]+)\}}",
            lambda found, names=names: (  # type: ignore[misc]
                f"arrayConcat({', '.join(f'{{{one}:{found[1]}}}' for one in names)})"
            ),
            sql,
        )
    return sql, given


def _spelled(value: object) -> object:
    if isinstance(value, list) and set(map(type, value)) == {int}:
        return _Spelled(str(value))
    return value


def _parts(value: object, longest: int) -> Iterator[object]:
    if not isinstance(value, list):
        yield value
        return
    kinds = set(map(type, value))
    if kinds in _NUMBERS:
        at_once = longest // _OF_NUMBER
        for begin in range(0, len(value), at_once):
            yield value[begin : begin + at_once]
    elif kinds == {str}:
        yield from _texts(value, longest)
    else:
        yield value


def _texts(value: Sequence[str], longest: int) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for text in value:
        # Each may be escaped, and stands in quotes.
        more = 2 * len(text.encode()) + 4
        if part and size + more > longest:
            yield part
            part, size = [], 0
        part.append(text)
        size += more
    yield part
