"""M4 in SQL (Jugel et al., VLDB 2014): of the points of a column first, last, least and greatest.

Columns have the form of rows of `rollups`. Where they are gathered from several, and for the
extremes always, each of the four is one number of 128 bits, so that a plain min or max finds it,
ties included, whatever the order in which rows are met:

    early  x, then the bits of y: the first is the least of them, the last the greatest
    least  y in an order of unsigned numbers, then x: the least, of equal ones the earliest
    most   the same with x complemented: the greatest of all, of equal ones the earliest

x is not negative. Columns without finite points have what wins nothing.
"""

from __future__ import annotations

_HIGHEST = "toUInt64(9223372036854775807)"
_SIGN = "toUInt64(9223372036854775808)"
_ALL_ONES = "bitNot(toUInt128(0))"

# Beyond every step: of the first point where there is none.
NO_FIRST = 1 << 62


def early(x: str, y: str) -> str:
    return f"bitOr(bitShiftLeft(toUInt128({x}), 64), toUInt128(reinterpretAsUInt64({y})))"


def least(x: str, y: str) -> str:
    return f"bitOr(bitShiftLeft(toUInt128({ordered(y)}), 64), toUInt128({x}))"


def most(x: str, y: str) -> str:
    return (
        f"bitOr(bitShiftLeft(toUInt128({ordered(y)}), 64), toUInt128({_HIGHEST} - toUInt64({x})))"
    )


def ordered(y: str) -> str:
    """The bits of a float as a number that orders as it does; -0.0 counts as 0.0."""
    bits = f"reinterpretAsUInt64({y} + 0.)"
    return f"if({y} < 0, bitNot({bits}), bitOr({bits}, {_SIGN}))"


def number_of(bits: str) -> str:
    """The float that `ordered` made these bits of."""
    return f"reinterpretAsFloat64(if({bits} >= {_SIGN}, bitXor({bits}, {_SIGN}), bitNot({bits})))"


# From points (x, value, fine: is it finite) to what `OF_EXTREMES` makes columns of. Where x is
# unique the first and the last need no numbers of 128 bits.
OF_POINTS = f"""
    minIf(x, fine) AS first_x, argMinIf(value, x, fine) AS first_y,
    maxIf(x, fine) AS last_x, argMaxIf(value, x, fine) AS last_y,
    minIf({least("x", "value")}, fine) AS lowest,
    maxIf({most("x", "value")}, fine) AS highest,
    sumIf(value, fine) AS sum,
    countIf(fine) AS finite,
    countIf(isNaN(value)) AS nans,
    countIf(value = inf) AS positive_infinities,
    countIf(value = -inf) AS negative_infinities
"""

# From columns to what `OF_GATHERED` makes wider ones of.
GATHERED = f"""
    min({early("first_x", "first_y")}) AS first,
    max({early("last_x", "last_y")}) AS last,
    min({least("min_x", "min_y")}) AS lowest,
    max({most("max_x", "max_y")}) AS highest,
    sum(sum) AS sum, sum(finite) AS finite, sum(nans) AS nans,
    sum(positive_infinities) AS positive_infinities,
    sum(negative_infinities) AS negative_infinities
"""

_COUNTS = ("sum", "finite", "nans", "positive_infinities", "negative_infinities")
_ENDS = {
    "first_x": "toInt64(bitShiftRight(first, 64))",
    "first_y": "reinterpretAsFloat64(toUInt64(first))",
    "last_x": "toInt64(bitShiftRight(last, 64))",
    "last_y": "reinterpretAsFloat64(toUInt64(last))",
}
_EXTREMES = {
    "min_x": "toInt64(toUInt64(lowest))",
    "min_y": number_of("toUInt64(bitShiftRight(lowest, 64))"),
    "max_x": f"toInt64({_HIGHEST} - toUInt64(highest))",
    "max_y": number_of("toUInt64(bitShiftRight(highest, 64))"),
}
# What a column has where no point is finite.
_NONE = {
    "first_x": str(NO_FIRST), "first_y": "0.", "last_x": "0", "last_y": "0.",
    "min_x": str(NO_FIRST), "min_y": "inf", "max_x": str(NO_FIRST), "max_y": "-inf",
}  # fmt: skip

# Names of a column's numbers, in order.
ROLLUP = (*_NONE, *_COUNTS)


def _as_rollup(made: dict[str, str]) -> str:
    return ", ".join(
        [
            f"if(finite = 0, {none}, {made.get(name, name)}) AS {name}"
            for name, none in _NONE.items()
        ]
        + list(_COUNTS)
    )


OF_EXTREMES = _as_rollup(_EXTREMES)
OF_GATHERED = _as_rollup(_ENDS | _EXTREMES)
