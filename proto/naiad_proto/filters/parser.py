"""Text to tree, by recursive descent: what a word means depends on where it stands, so that
paths need no quotes.

    expr    := all ("or" all)*
    all     := one ("and" one)*
    one     := "not" one | "(" expr ")" | test
    test    := operand ("==" | "=" | "!=" | "<" | "<=" | ">" | ">=") literal
             | operand ("=~" | "!~") string
             | operand ["not"] "in" "(" literal ("," literal)* ")"
             | operand ["not"] "has" string
             | operand ["not"] "exists" | "exists" operand
    operand := path ["." stat] [":" type]
    path    := letters, digits, "_", "-", "/", "." | "`" anything "`"
    literal := number | string | "true" | "false" | "nan" | ["-"] "inf" | "ago" "(" string ")"
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable

from naiad_proto.filters.errors import FilterError
from naiad_proto.filters.kinds import (
    ALIASES,
    DATETIMES,
    HOLDERS,
    KEYWORDS,
    NAMES,
    SERIES_TYPES,
    STATS,
    STRINGS,
    TYPES,
)
from naiad_proto.filters.nodes import (
    WORD,
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
)
from naiad_proto.limits import shorten

MAX_LENGTH = 100_000
# Of brackets and nots in each other.
MAX_DEPTH = 50
MAX_TESTS = 100
MAX_LITERALS = 10_000

_BLANK = re.compile(r"\s*")
# None where two of them are another language's one: that is told then.
_COMPARISON = re.compile(r"(?!<>|=>|=<)(?:==|=~|!=|!~|<=|>=|=|<|>)")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|' + r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_QUOTED = re.compile(r"`((?:[^`]|``)*)`")
_STAT_OF = re.compile(rf"(.+)\.({'|'.join(STATS)})", re.DOTALL)
_STAT = re.compile(rf"\.({'|'.join(STATS)})(?![\w\-/.])")
_TYPE = re.compile(r"\w*")
# A backslash takes a quote or a backslash as it is; before anything else it is itself, so that
# regular expressions need no second one.
_ESCAPE = re.compile(r"""\\(["'\\])""")
_SPAN = re.compile(r"(\d{1,12}(?:\.\d{1,30})?(?:e[+-]?\d{1,3})?)\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_OPERATORS = "==, !=, <, <=, >, >=, =~, !~, in, has or exists"
_VALUE = 'a value: a number, a "text", true, false or ago("7d")'
# What people write who know other languages.
_ELSEWHERE = {
    "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not",
    "<>": "!=", "=>": ">=", "=<": "<=",
}  # fmt: skip
_INTEGERS = range(-(2**63), 2**63)


def parse_filter(text: str) -> Filter:
    """The tree of `text`. Raises FilterError."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._tests = 0
        self._literals = 0

    def whole(self) -> Filter:
        if len(self._text) > MAX_LENGTH:
            raise self._error(
                f"the filter has {len(self._text):,} characters; at most {MAX_LENGTH:,} are"
                " allowed",
                MAX_LENGTH,
            )
        try:
            self._text.encode()
        except UnicodeEncodeError as error:
            raise self._error(
                "this is not valid Unicode text; remove the lone surrogate", error.start
            ) from None
        found = self._any()
        if self._at < len(self._text):
            raise self._error(f'expected "and", "or" or the end{self._hint()}')
        return found

    # --- joined tests --------------------------------------------------------------------

    def _any(self) -> Filter:
        return self._joined(Or, "or", self._all)

    def _all(self) -> Filter:
        return self._joined(And, "and", self._one)

    def _joined(
        self, kind: Callable[[tuple[Filter, ...]], Filter], word: str, part: Callable[[], Filter]
    ) -> Filter:
        parts = [part()]
        while self._takes(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _one(self) -> Filter:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} brackets and nots stand in each other")
        self._skip()
        found: Filter
        if self._takes("not"):
            found = Not(self._one())
        elif self._next() == "(":
            opened = self._at
            self._at += 1
            found = self._any()
            if self._next() != ")":
                hint = self._hint()
                raise self._error(
                    f'expected "and", "or", or the ")" of the "(" in column {opened + 1}{hint}'
                )
            self._at += 1
        else:
            found = self._test()
        self._depth -= 1
        self._skip()
        return found

    # --- one test ------------------------------------------------------------------------

    def _test(self) -> Filter:
        self._skip()
        at = self._at
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise self._error(f"more than {MAX_TESTS} tests; at most that many are allowed")
        if self._takes("exists"):
            return Exists(self._operand(), at)
        operand = self._operand()
        self._skip()
        place = self._at
        if symbol := _COMPARISON.match(self._text, self._at):
            self._at = symbol.end()
            op = "==" if symbol[0] == "=" else symbol[0]
            return self._checked(Compare(operand, op, self._literal(), at), place)
        negated = self._takes("not")
        if self._takes("in"):
            return self._in(operand, negated, at)
        if self._takes("has"):
            op = "not has" if negated else "has"
            return self._checked(Compare(operand, op, self._literal(), at), place)
        if self._takes("exists"):
            return Not(Exists(operand, at)) if negated else Exists(operand, at)
        if negated:
            raise self._error('expected in, has or exists after "not"')
        raise self._error(f"expected {_OPERATORS} after {shorten(str(operand), 40)}{self._hint()}")

    def _in(self, operand: Operand, negated: bool, at: int) -> In:
        if self._next() != "(":
            raise self._error('expected "(" and values after "in", as in lr in (0.1, 0.01)')
        self._at += 1
        literals = [self._literal()]
        while self._next() == ",":
            self._at += 1
            literals.append(self._literal())
        if self._next() != ")":
            raise self._error('expected "," or ")" in the list of values')
        self._at += 1
        for literal in literals:
            self._compares(operand, literal)
        return In(operand, tuple(literals), negated, at)

    def _checked(self, test: Compare, place: int) -> Compare:
        """`test`, if values of such kinds can be compared so."""
        value, at = test.literal.value, test.literal.at
        if test.op in ("=~", "!~", "has", "not has"):
            if not isinstance(value, str):
                what = "a regular expression" if "~" in test.op else "a text"
                raise self._error(f"{test.op} wants {what} in quotes", at)
            takes = HOLDERS if "has" in test.op else STRINGS
            if not set(takes) & set(test.operand.looked_at):
                raise self._error(
                    f"{test.op} looks into texts"
                    f"{' and string sets' if 'has' in test.op else ''}; {_said(test.operand)}",
                    place,
                )
            return test
        if test.op not in ("==", "!="):
            if isinstance(value, bool):
                raise self._error("true and false have no order; write == or !=", place)
            if test.literal.is_nan:
                raise self._error(
                    "nothing is less or greater than nan; write == nan or != nan", place
                )
        self._compares(test.operand, test.literal)
        return test

    def _compares(self, operand: Operand, literal: Literal) -> None:
        if set(literal.types) & set(operand.looked_at):
            return
        if operand.type == "string_set":
            raise self._error('a string set is asked by has: tags has "prod"', literal.at)
        if operand.types == DATETIMES and isinstance(literal.value, str):
            raise self._error(
                'expected a time, as "2026-01-31", "2026-01-31T18:00:00Z" or ago("7d")', literal.at
            )
        named = " or ".join(NAMES[kinds] for kinds in literal.kinds)
        raise self._error(f"this is {named}; {_said(operand)}", literal.at)

    # --- operands and literals -----------------------------------------------------------

    def _operand(self) -> Operand:
        self._skip()
        at = self._at
        stat = kind = ""
        if self._next() == "`":
            quoted = _QUOTED.match(self._text, at)
            if not quoted:
                raise self._error("this backtick has no second one")
            path = quoted[1].replace("``", "`")
            if not path:
                raise self._error("there is no path between the backticks")
            self._at = quoted.end()
            if found := _STAT.match(self._text, self._at):
                stat, self._at = found[1], found.end()
            elif WORD.match(self._text, self._at):
                raise self._error(f"expected {_listed('.', STATS)} behind the path, or a blank")
        else:
            word = self._path()
            split = _STAT_OF.fullmatch(word)
            path, stat = (split[1], split[2]) if split else (word, "")
            path = ALIASES.get(path, path)
            self._at += len(word)
        if self._text.startswith(":", self._at):
            self._at += 1
            given = _TYPE.match(self._text, self._at)
            assert given
            kind = given[0]
            if kind not in TYPES:
                close = difflib.get_close_matches(kind, TYPES, 1)
                meant = (
                    f"; did you mean {close[0]}?" if close else f"; there are {_listed('', TYPES)}"
                )
                raise self._error(f"there is no type {shorten(kind)!r}{meant}")
            if stat and kind not in STATS[stat]:
                has = "series have" if kind not in SERIES_TYPES else f"a {STATS[stat][0]} has"
                raise self._error(f"only {has} a .{stat}, and this is a {kind}")
            self._at = given.end()
        return Operand(path, stat, kind, at)

    def _path(self) -> str:
        word = self._word()
        if not word:
            char = self._next()
            if char in ('"', "'"):
                raise self._error("expected a path; it stands without quotes, or in `backticks`")
            if char == ")":
                raise self._error('expected a test before ")", as lr > 0.1')
            raise self._error(f"expected a test, as lr > 0.1{self._hint()}")
        if word.lower() in KEYWORDS:
            raise self._error(
                f'expected a path, and "{word}" is a word of the language; a path that is called'
                " so stands in `backticks`"
            )
        return word

    def _literal(self) -> Literal:
        self._skip()
        at = self._at
        self._literals += 1
        if self._literals > MAX_LITERALS:
            raise self._error(f"more than {MAX_LITERALS:,} values; at most that many are allowed")
        if self._next() in ('"', "'"):
            return Literal(self._string(), at)
        if number := _NUMBER.match(self._text, at):
            self._at = number.end()
            return Literal(self._number(number[0], at), at)
        negative = self._text.startswith("-", at)
        self._at += negative
        for word, value in (("inf", math.inf), ("nan", math.nan)):
            if not (negative and word == "nan") and self._takes(word):
                return Literal(-value if negative else value, at)
        self._at = at
        for word, truth in (("true", True), ("false", False)):
            if self._takes(word):
                return Literal(truth, at)
        if self._takes("ago"):
            return Literal(self._ago(), at)
        word = self._word()
        if re.match(r"[.\-]?\d", word):
            raise self._error(f"{shorten(word)} is not a number; a text stands in quotes")
        if word:
            raise self._error(f'expected {_VALUE}; a text stands in quotes: "{shorten(word)}"')
        raise self._error(f"expected {_VALUE}")

    def _number(self, text: str, at: int) -> int | float:
        if not re.search(r"[.eE]", text) and len(text) <= 20 and int(text) in _INTEGERS:
            return int(text)
        number = float(text)
        if math.isinf(number):
            raise self._error(
                "this number is too large; the largest are about 1.8e308, and inf", at
            )
        return number

    def _string(self) -> str:
        found = _STRING.match(self._text, self._at)
        if not found:
            raise self._error("this quote has no second one")
        self._at = found.end()
        inner = found[1] if found[1] is not None else found[2]
        return _ESCAPE.sub(r"\1", inner)

    def _ago(self) -> Ago:
        if self._next() != "(":
            raise self._error('expected "(" after "ago", as in ago("7d")')
        self._at += 1
        self._skip()
        at = self._at
        if self._next() not in ('"', "'"):
            raise self._error('expected how long, in quotes, as in ago("7d")')
        span = _SPAN.fullmatch(self._string().strip())
        seconds = float(span[1]) * _SECONDS[span[2]] if span else math.inf
        # Beyond that there is no date.
        if seconds > 1e11:
            raise self._error(
                'expected how long, as "30s", "15m", "12h", "7d" or "2w", in some thousand years',
                at,
            )
        if self._next() != ")":
            raise self._error('expected ")" after how long')
        self._at += 1
        return Ago(seconds)

    # --- characters ------------------------------------------------------------------------

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found
        self._at = found.end()

    def _next(self) -> str:
        """The next character that is no blank; empty at the end."""
        self._skip()
        return self._text[self._at : self._at + 1]

    def _word(self) -> str:
        self._skip()
        found = WORD.match(self._text, self._at)
        return found[0] if found else ""

    def _takes(self, word: str) -> bool:
        """Goes past `word`, in whatever case, if it comes next."""
        if self._word().lower() != word:
            return False
        self._at += len(word)
        return True

    def _hint(self) -> str:
        """For who writes in another language."""
        self._skip()
        for symbol, word in _ELSEWHERE.items():
            if self._text.startswith(symbol, self._at):
                return f'; write "{word}" for {symbol}'
        return ""

    def _error(self, message: str, at: int | None = None) -> FilterError:
        if at is None:
            self._skip()
            at = self._at
        return FilterError(message, self._text, at)


def _said(operand: Operand) -> str:
    shown = shorten(str(operand), 40)
    return f"{shown} is a {operand.type}" if operand.type else f"{shown} is none"


def _listed(prefix: str, names: Iterable[str]) -> str:
    found = [f"{prefix}{name}" for name in names]
    return f"{', '.join(found[:-1])} or {found[-1]}"
