"""M4 in SQL (Jugel et al., VLDB 2014): of the points of a column first, last, least and greatest.

Each of the four is one number of 128 bits while columns are gathered, so that a plain min or max
finds it, ties included, whatever the order in which rows are met:

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


# From points (x, value, fine: is it finite) to the parts of a column.
OF_POINTS = f"""
    minIf({early("x", "value")}, fine) AS first,
    maxIf({early("x", "value")}, fine) AS last,
    minIf({least("x", "value")}, fine) AS lowest,
    maxIf({most("x", "value")}, fine) AS highest,
    sumIf(value, fine) AS total,
    countIf(fine) AS finite,
    countIf(isNaN(value)) AS nans,
    countIf(value = inf) AS positive_infinities,
    countIf(value = -inf) AS negative_infinities
"""

# A row of `rollups` as parts.
OF_ROLLUP = f"""
    {early("first_x", "first_y")} AS first,
    {early("last_x", "last_y")} AS last,
    {least("min_x", "min_y")} AS lowest,
    {most("max_x", "max_y")} AS highest,
    sum AS total, finite, nans, positive_infinities, negative_infinities
"""

# Parts of columns put together, where `first` and the others are what wins nothing if finite = 0.
GATHERED = """
    min(first) AS first, max(last) AS last, min(lowest) AS lowest, max(highest) AS highest,
    sum(total) AS total, sum(finite) AS finite, sum(nans) AS nans,
    sum(positive_infinities) AS positive_infinities,
    sum(negative_infinities) AS negative_infinities
"""

# Parts of points, which say 0 where there is no finite one, as parts that can be gathered.
NEUTRAL = f"""
    if(finite = 0, {_ALL_ONES}, first) AS first, last,
    if(finite = 0, {_ALL_ONES}, lowest) AS lowest, highest,
    total, finite, nans, positive_infinities, negative_infinities
"""

_FOUR = {
    "first_x": "toInt64(bitShiftRight(first, 64))",
    "first_y": "reinterpretAsFloat64(toUInt64(first))",
    "last_x": "toInt64(bitShiftRight(last, 64))",
    "last_y": "reinterpretAsFloat64(toUInt64(last))",
    "min_x": "toInt64(toUInt64(lowest))",
    "min_y": number_of("toUInt64(bitShiftRight(lowest, 64))"),
    "max_x": f"toInt64({_HIGHEST} - toUInt64(highest))",
    "max_y": number_of("toUInt64(bitShiftRight(highest, 64))"),
}
# What a row of `rollups` has where no point is finite.
_NONE = {
    "first_x": str(NO_FIRST), "first_y": "0.", "last_x": "0", "last_y": "0.",
    "min_x": str(NO_FIRST), "min_y": "inf", "max_x": str(NO_FIRST), "max_y": "-inf",
}  # fmt: skip

ROLLUP = (
    *_FOUR, "sum", "finite", "nans", "positive_infinities", "negative_infinities",
)  # fmt: skip

# Parts as the columns `ROLLUP`.
AS_ROLLUP = ", ".join(
    [f"if(finite = 0, {_NONE[name]}, {_FOUR[name]}) AS {name}" for name in _FOUR]
    + ["total AS sum", *ROLLUP[-4:]]
)


def as_bucket(unit: int) -> str:
    """Parts as columns of an answer, x in units of the axis."""
    four = [
        f"if(finite = 0, nan, {sql}{f' / {unit}' if name.endswith('_x') else ''}) AS {name}"
        for name, sql in _FOUR.items()
    ]
    return ", ".join(
        [
            *four,
            "total AS sum_y",
            "finite AS finite_count",
            "nans AS nan_count",
            "positive_infinities AS positive_infinity_count",
            "negative_infinities AS negative_infinity_count",
        ]
    )


def rollup_as_bucket(unit: int) -> str:
    """A row of `rollups` that is a column as it is."""
    four = [
        f"if(finite = 0, nan, {name}{f' / {unit}' if name.endswith('_x') else ''}) AS a_{name}"
        for name in _FOUR
    ]
    return ", ".join([*four, "sum", *ROLLUP[-4:]])
