"""Which functions users' SQL may call: those that look at nothing but their arguments.

The store says which functions it has and of what kind each is. Kinds are allowed as a whole
where all of them only compute; of the mixed kind, "Other", single ones by name. A function that
a later release of the engine brings under a kind that nobody here has judged is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

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
_NEVER = re.compile(r"chdb|formatrow.*|servertimezone|(global)?(not)?(null)?(not)?in(ignoreset)?")
_COMBINATORS = re.compile(
    r"(if|array|distinct|foreach|map|merge|null|ordefault|ornull|resample|simplestate|state|tuple"
    r"|argmin|argmax)$"
)
# What may stand before a parenthesis without being a function.
_WORDS = frozenset(
    {
        "all", "and", "apply", "array", "as", "asc", "between", "by", "case", "columns", "cube",
        "desc", "distinct", "else", "except", "exists", "fill", "filter", "from", "group",
        "grouping", "having", "ilike", "in", "intersect", "interval", "is", "join", "like",
        "limit", "not", "offset", "on", "or", "order", "over", "partition", "prewhere", "qualify",
        "replace", "rollup", "select", "sets", "then", "totals", "union", "using", "when", "where",
        "window", "with",
        # Types with arguments.
        "datetime", "datetime64", "decimal", "decimal32", "decimal64", "decimal128", "decimal256",
        "enum8", "enum16", "fixedstring", "lowcardinality", "map", "nested", "nullable", "tuple",
        "variant",
    }
)  # fmt: skip


class Functions(NamedTuple):
    """Names of the store's functions, in lower case."""

    allowed: frozenset[str]
    others: frozenset[str]

    @classmethod
    def of(cls, store: Store) -> Functions:
        rows = store.query(
            "SELECT name, alias_to, categories, is_aggregate FROM system.functions"
        ).to_pylist()
        good = {
            row["name"]
            for row in rows
            if row["is_aggregate"] or row["name"] in _SINGLE or _all_good(row["categories"])
        }
        every = {row["name"].lower() for row in rows}
        named = good | {row["name"] for row in rows if row["alias_to"] in good}
        allowed = {name.lower() for name in named if not _NEVER.fullmatch(name.lower())}
        return cls(frozenset(allowed), frozenset(every - allowed))

    def forbidden(self, sql: str, columns: Collection[str] = ()) -> str | None:
        """A function in `sql` that is not allowed, or a name that may stand for one, other than
        those of `columns`."""
        # With an end on each side.
        tokens: list[Token | None] = [None, *sqlglot.tokenize(sql, read="clickhouse"), None]
        for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if not token or not _is_name(token):
                continue
            if after and after.token_type == TokenType.L_PAREN:
                if not self._may_call(token.text):
                    return token.text
            elif token.text.lower() in self.others - _WORDS - frozenset(columns) and not (
                # A new name, a column of a table, or that table.
                (before and before.text.upper() in ("AS", ".")) or (after and after.text == ".")
            ):
                # Some take the name of a function: arrayMap(file, ...), APPLY(file).
                return token.text
        return None

    def _may_call(self, name: str) -> bool:
        """`name` as it stands before a parenthesis, with an aggregate's combinators."""
        name = name.lower()
        while name not in self.allowed and name not in _WORDS:
            shorter = _COMBINATORS.sub("", name)
            if shorter == name:
                return False
            name = shorter
        return True


def _is_name(token: Token) -> bool:
    if token.token_type == TokenType.IDENTIFIER:
        return True
    return token.token_type != TokenType.STRING and bool(re.fullmatch(r"[^\W\d]\w*", token.text))


def _all_good(categories: str) -> bool:
    kinds = [kind for kind in re.split(r"\s*[,;]\s*", categories) if kind]
    return bool(kinds) and all(kind in _KINDS for kind in kinds)
