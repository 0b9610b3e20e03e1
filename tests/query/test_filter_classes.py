"""`Filter`: what its methods mean, in the filter language."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.exceptions import NaiadTypeError, NaiadValueError
from naiad.query.filters import Attribute, Filter
from naiad_proto.filters import Compare, parse_filter

INT = Attribute("batch_size", "int")


@pytest.mark.parametrize(
    ("made", "expression"),
    [
        (Filter.eq("train/lr", 0.1), "train/lr == 0.1"),
        (Filter.ne("train/lr", 1e-30), "train/lr != 1e-30"),
        (Filter.gt(INT, 64), "`batch_size`:int > 64"),
        (Filter.ge("a/b", -2), "a/b >= -2"),
        (Filter.lt(Attribute("val/loss", aggregation="min"), math.inf), "val/loss.min < inf"),
        (Filter.le("a/b", -math.inf), "a/b <= -inf"),
        (Filter.eq("a/b", math.nan), "a/b == nan"),
        (Filter.eq("a/b", True), "a/b == true"),
        (Filter.eq("a/b", 'a "b" \\d'), 'a/b == "a \\"b\\" \\\\d"'),
        (Filter.eq("a/b", datetime(2026, 1, 2, 3, tzinfo=UTC)),
         'a/b == "2026-01-02T03:00:00.000+00:00"'),
        # A name alone might be an alias, a keyword or end like a stat.
        (Filter.exists("name"), "`name` exists"),
        (Filter.exists("model.max"), "`model.max` exists"),
        (Filter.exists("odd `path`"), "`odd ``path``` exists"),
        (Filter.exists(Attribute("sys/tags", "string_set")), "sys/tags:string_set exists"),
        (Filter.name("resnet"), 'sys/name:string =~ "resnet"'),
        (Filter.name(["a", "b"]), 'sys/name:string in ("a", "b")'),
        (Filter.matches("a/b", "x & !y | !  z"),
         '(a/b =~ "x" and a/b !~ "y") or a/b !~ "z"'),
        (Filter.matches("a/b", r"a|b&c\x20!"), r'a/b =~ "a|b&c\\x20!"'),
        (Filter.contains_all("sys/tags", "a"), 'sys/tags has "a"'),
        (Filter.contains_all("sys/tags", ["a", "b"]), 'sys/tags has "a" and sys/tags has "b"'),
        (Filter.contains_none("sys/tags", ["a", "b"]),
         'not (sys/tags has "a") and not (sys/tags has "b")'),
        (Filter("lr > 1 or x = 2") & Filter.exists("a/b"), "(lr > 1 or x = 2) and a/b exists"),
        (~Filter("lr > 1"), "not (lr > 1)"),
        (Filter.exists("a/b") | Filter.exists("a/c") & ~Filter.exists("a/d"),
         "a/b exists or (a/c exists and not (a/d exists))"),
    ],
)  # fmt: skip
def test_compiled(made: Filter, expression: str) -> None:
    assert str(made) == expression
    assert made == Filter(expression)
    assert repr(made) == f"Filter({expression!r})"


PATHS = st.text(
    st.one_of(st.sampled_from("`ab/._-:\\ \"'min"), st.characters(exclude_categories=["Cs"])),
    min_size=1, max_size=12,
)  # fmt: skip
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    path=PATHS,
    value=st.one_of(
        STRINGS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
    ),
)
def test_whatever_is_named_and_compared_is_what_is_read(path: str, value: object) -> None:
    read = parse_filter(str(Filter.eq(path, value)))  # type: ignore[arg-type]
    assert isinstance(read, Compare)
    assert (read.operand.path, read.operand.stat, read.operand.type) == (path, "", "")
    assert read.literal.value == value
    assert type(read.literal.value) is type(value)


@given(path=PATHS, text=STRINGS)
def test_texts_in_sets_and_patterns_too(path: str, text: str) -> None:
    read = parse_filter(str(Filter.contains_all(path, text)))
    assert isinstance(read, Compare)
    assert (read.operand.path, read.op, read.literal.value) == (path, "has", text)


def test_all_that_is_made_can_be_read() -> None:
    made = Filter("lr > 1 or x = 2") & ~Filter.name("a & !b | c") | Filter.contains_none("t", "x")
    assert str(parse_filter(str(made)))
    chain = Filter.exists("a/0")
    for number in range(1, 80):
        chain &= Filter.exists(f"a/{number}")
    assert str(parse_filter(str(chain)))


def test_a_long_chain_has_no_brackets_in_each_other() -> None:
    chain = Filter.exists("a/0")
    for number in range(1, 80):
        chain &= Filter.exists(f"a/{number}")
    assert "(" not in str(chain)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Filter(3), NaiadTypeError, "expression is 3; give a filter such as"),
        (lambda: Filter(" "), NaiadValueError, "the filter is empty"),
        (lambda: Filter.eq("a", None), NaiadTypeError, "value is None; a filter compares with a"),
        (lambda: Filter.eq(3, 1), NaiadTypeError, "attribute is 3; give a path or an Attribute"),
        (lambda: Filter.matches("a", 1), NaiadTypeError, "pattern is 1; give a regular"),
        (lambda: Filter.name([]), NaiadValueError, "name is an empty list"),
        (lambda: Filter.contains_all("a", []), NaiadValueError, "values is an empty list"),
        (lambda: Filter.contains_none("a", [1]), NaiadTypeError, "values has 1 in it"),
        (lambda: bool(Filter("lr > 1")), NaiadTypeError, "combine by & and |, not by `and`"),
        (lambda: Filter("lr > 1") & "x", TypeError, "unsupported operand"),
        (lambda: Attribute("a", aggregation="median"), NaiadValueError, "no aggregation 'median'"),
    ],
)  # fmt: skip
def test_what_is_wrong(make: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()
