"""Which functions users' SQL may call: those that look at nothing but their arguments.

The store says which functions it has and of what kind each is. Kinds are allowed as a whole
where all of them only compute; of the mixed kind, "Other", single ones by name. A function that
a later release of the engine brings under a kind that nobody here has judged is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator

import sqlglot
from sqlglot.tokens import Token, TokenType  # type: ignore[attr-defined]

from naiad_store import Store

_KINDS = frozenset(
    {
        "Aggregate Functions", "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional",
        "Dates and Times", "Distance", "Encoding", "Hash", "IP Address", "JSON", "Logical", "Map",
        "Mathematical", "Null", "Random Number", "Rounding", "String", "String Replacement",
        "String Search", "String Splitting", "Time Window", "Tuple", "Type Conversion", "URL",
        "UUID",
    }
)  # fmt: skip
_SINGLE = frozenset(
    {
        "bar", "countDigits", "finalizeAggregation", "formatReadableDecimalSize",
        "formatReadableQuantity", "formatReadableSize", "formatReadableTimeDelta", "identity",
        "ignore", "initializeAggregation", "isDecimalOverflow", "materialize",
        "minSampleSizeContinuous", "minSampleSizeConversion", "neighbor", "parseReadableSize",
        "parseReadableSizeOrNull", "parseReadableSizeOrZero", "parseTimeDelta",
        "rowNumberInAllBlocks", "runningAccumulate", "runningDifference", "toTypeName",
        "transform", "visibleWidth",
    }
)  # fmt: skip
# Of the allowed kinds, but not for here: "in" and its kin take a name for a table.
_NEVER = re.compile(r"chdb|servertimezone|(global)?(not)?(null)?(not)?in(ignoreset)?")
_COMBINATORS = re.compile(
    r"(if|array|distinct|foreach|map|merge|null|ordefault|ornull|resample|simplestate|state|tuple"
    r"|argmin|argmax)$"
)
# What may stand before a parenthesis without being a function.
_WORDS = frozenset(
    {
        "all", "and", "apply", "array", "as", "asc", "between", "by", "case", "columns", "cube",
        "desc", "distinct", "else", "except", "exists", "fill", "from", "group", "having", "ilike",
        "in", "intersect", "interval", "is", "join", "like", "limit", "not", "offset", "on", "or",
        "order", "over", "partition", "prewhere", "qualify", "replace", "rollup", "select", "sets",
        "then", "totals", "union", "using", "when", "where", "window", "with",
        # Types with arguments.
        "datetime", "datetime64", "decimal", "decimal32", "decimal64", "decimal128", "decimal256",
        "enum8", "enum16", "fixedstring", "lowcardinality", "map", "nested", "nullable", "tuple",
        "variant",
    }
)  # fmt: skip


def allowed_functions(store: Store) -> frozenset[str]:
    """Their names in lower case."""
    rows = store.query(
        "SELECT name, alias_to, categories, is_aggregate FROM system.functions"
    ).to_pylist()
    good = {
        row["name"]
        for row in rows
        if row["is_aggregate"] or row["name"] in _SINGLE or _all_good(row["categories"])
    }
    named = good | {row["name"] for row in rows if row["alias_to"] in good}
    return frozenset(name.lower() for name in named if not _NEVER.fullmatch(name.lower()))


def is_allowed(name: str, functions: Collection[str]) -> bool:
    """`name` as it stands before a parenthesis, with an aggregate's combinators."""
    name = name.lower()
    while name not in functions and name not in _WORDS:
        shorter = _COMBINATORS.sub("", name)
        if shorter == name:
            return False
        name = shorter
    return True


def calls(sql: str) -> Iterator[str]:
    """Names before a parenthesis, quoted ones too: functions and a few words."""
    tokens: list[Token] = sqlglot.tokenize(sql, read="clickhouse")
    for token, following in itertools.pairwise(tokens):
        if following.token_type == TokenType.L_PAREN and (
            token.token_type == TokenType.IDENTIFIER
            or (token.token_type != TokenType.STRING and re.fullmatch(r"[^\W\d]\w*", token.text))
        ):
            yield token.text


def _all_good(categories: str) -> bool:
    kinds = [kind for kind in re.split(r"\s*[,;]\s*", categories) if kind]
    return bool(kinds) and all(kind in _KINDS for kind in kinds)
