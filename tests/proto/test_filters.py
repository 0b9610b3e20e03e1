"""The filter language as text: what is understood, and what is said of what is not."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naiad_proto.filters import (
    Ago,
    And,
    Compare,
    Exists,
    Filter,
    FilterError,
    In,
    Literal,
    Not,
    Operand,
    Or,
    parse_filter,
)
from naiad_proto.filters.kinds import ALIASES, KEYWORDS, STATS, TYPES
from naiad_proto.filters.parser import MAX_DEPTH, MAX_LENGTH, MAX_LITERALS, MAX_TESTS

LR, LOSS = Operand("lr"), Operand("loss")
# What filters are made of, and what they are not.
PIECES = [
    *KEYWORDS, *ALIASES, *STATS, *TYPES, "lr", "val/acc", "(", ")", ",", ":", ".", "`", '"', "'",
    "==", "=", "!=", "<", "<=", ">", ">=", "=~", "!~", "-", "1e-3", "0", "\\", " ", "\n", "é", "|",
    "&", "\x00", "\ud800", "７", "²",
]  # fmt: skip


def compare(operand: Operand, op: str, value: object) -> Compare:
    return Compare(operand, op, Literal(value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("lr > 0.1", compare(LR, ">", 0.1)),
        ("lr=1", compare(LR, "==", 1)),
        ("lr==-2", compare(LR, "==", -2)),
        ("lr<.5", compare(LR, "<", 0.5)),
        ("lr != 1e-3", compare(LR, "!=", 1e-3)),
        ("lr == NaN or lr == -inf",
         Or((compare(LR, "==", math.nan), compare(LR, "==", -math.inf)))),
        ("lr:float >= 2", compare(Operand("lr", "", "float"), ">=", 2)),
        ("val/acc.last > 0", compare(Operand("val/acc", "last"), ">", 0)),
        ("a.b.min < 0", compare(Operand("a.b", "min"), "<", 0)),
        ("loss.count:string_series > 3",
         compare(Operand("loss", "count", "string_series"), ">", 3)),
        ("`odd path`.max:float_series <= 3",
         compare(Operand("odd path", "max", "float_series"), "<=", 3)),
        ("`a.min` == 'x'", compare(Operand("a.min"), "==", "x")),
        ("`a``b` == true", compare(Operand("a`b"), "==", True)),
        ("`name` == 'x'", compare(Operand("name"), "==", "x")),
        ("name == 'x'", compare(Operand("sys/name"), "==", "x")),
        ("status:string == 'x'", compare(Operand("sys/state", "", "string"), "==", "x")),
        ("lr in (1, 'a', false)", In(LR, (Literal(1), Literal("a"), Literal(False)))),
        ("lr not in(1)", In(LR, (Literal(1),), negated=True)),
        ("exists lr", Exists(LR)),
        ("lr EXISTS", Exists(LR)),
        ("lr not exists", Not(Exists(LR))),
        ("not exists lr", Not(Exists(LR))),
        ('tags has "prod"', compare(Operand("sys/tags"), "has", "prod")),
        ('tags not has "prod"', compare(Operand("sys/tags"), "not has", "prod")),
        (r"lr =~ '\d\\\''", compare(LR, "=~", "\\d\\'")),
        ("lr !~ \"it's\"", compare(LR, "!~", "it's")),
        ('created > ago("1.5d")', compare(Operand("sys/creation_time"), ">", Ago(129_600.0))),
        ("1 == 1", compare(Operand("1"), "==", 1)),
        ("ünï-ts/x_1.y exists", Exists(Operand("ünï-ts/x_1.y"))),
        ("(lr>1)and(loss>2)or not(lr>1)and loss>2",
         Or((And((compare(LR, ">", 1), compare(LOSS, ">", 2))),
             And((Not(compare(LR, ">", 1)), compare(LOSS, ">", 2)))))),
        ("not not lr > 1", Not(Not(compare(LR, ">", 1)))),
        ("\n lr\t>\n1 ", compare(LR, ">", 1)),
        (f"lr == {2**63 - 1}", compare(LR, "==", 2**63 - 1)),
        (f"lr == {2**63}", compare(LR, "==", float(2**63))),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree
    assert parse_filter(str(tree)) == tree
    assert pickle.loads(pickle.dumps(tree)) == tree


def test_equal_is_told_from_alike() -> None:
    assert Literal(1) != Literal(True) != Literal(1.0)
    assert Literal(0.0) != Literal(-0.0)
    assert Literal(math.nan) == Literal(math.nan)


OPERATORS = "==, !=, <, <=, >, >=, =~, !~, in, has or exists"
VALUE = 'expected a value: a number, a "text", true, false or ago("7d")'


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "expected a test, as lr > 0.1"),
        ("lr", 3, f"expected {OPERATORS} after lr"),
        ("lr >", 5, VALUE),
        ("lr > > 1", 6, VALUE),
        ("lr <> 1", 4, f'expected {OPERATORS} after lr; write "!=" for <>'),
        ("lr=>1", 3, f'expected {OPERATORS} after lr; write ">=" for =>'),
        ("lr =< 1", 4, f'expected {OPERATORS} after lr; write "<=" for =<'),
        ("lr == abc", 7, f'{VALUE}; a text stands in quotes: "abc"'),
        ("lr == 1.2.3", 7, "1.2.3 is not a number; a text stands in quotes"),
        ("lr == 0x10", 7, "0x10 is not a number; a text stands in quotes"),
        ("lr == -nan", 7, f'{VALUE}; a text stands in quotes: "-nan"'),
        ("lr == 1e999", 7, "this number is too large; the largest are about 1.8e308, and inf"),
        ("lr == 'abc", 7, "this quote has no second one"),
        ("`lr == 1", 1, "this backtick has no second one"),
        ("`` == 1", 1, "there is no path between the backticks"),
        ("`a`.low > 1", 4, "expected .last, .first, .min, .max, .mean or .count behind the"),
        ("'lr' == 1", 1, "expected a path; it stands without quotes, or in `backticks`"),
        ("lr > 1 loss > 2", 8, 'expected "and", "or" or the end'),
        ("lr > 1 & loss > 2", 8, 'expected "and", "or" or the end; write "and" for &'),
        ("lr > 1 || loss > 2", 8, 'expected "and", "or" or the end; write "or" for ||'),
        ("!lr > 1", 1, 'expected a test, as lr > 0.1; write "not" for !'),
        ("(lr > 1", 8, 'expected "and", "or", or the ")" of the "(" in column 1'),
        ("lr > 1)", 7, 'expected "and", "or" or the end'),
        ("()", 2, 'expected a test before ")", as lr > 0.1'),
        ("lr > 1 and", 11, "expected a test, as lr > 0.1"),
        ("in > 1", 1, 'expected a path, and "in" is a word of the language; a path'),
        ("lr in 1", 7, 'expected "(" and values after "in", as in lr in (0.1, 0.01)'),
        ("lr in (1 2)", 10, 'expected "," or ")" in the list of values'),
        ("lr in ()", 8, VALUE),
        ("lr not > 1", 8, 'expected in, has or exists after "not"'),
        ("lr:flaot > 1", 4, "there is no type 'flaot'; did you mean float?"),
        ("lr: > 1", 5, "there is no type ''; there are int, float, string"),
        ("lr.min:int > 1", 8, "only series have a .min, and this is a int"),
        ("lr.min:string_series > 1", 8, "only a float_series has a .min, and this is a string_"),
        ("lr.count == 'a'", 13, "this is a text; lr.count is none"),
        ("lr.count has 'a'", 10, "has looks into texts and string sets; lr.count is none"),
        ("lr:int == 'a'", 11, "this is a text; lr:int is a int"),
        ("lr:int == true", 11, "this is true or false; lr:int is a int"),
        ("lr.min == 'a'", 11, "this is a text; lr.min is none"),
        ("lr:string in ('a', 1)", 20, "this is a number; lr:string is a string"),
        ("lr:datetime > 'soon'", 15, 'expected a time, as "2026-01-31", "2026-01-31T18:00:00Z" or'),
        ("lr:string_set == 'a'", 18, 'a string set is asked by has: tags has "prod"'),
        ("lr:int has 'a'", 8, "has looks into texts and string sets; lr:int is a int"),
        ("lr:int =~ 'a'", 8, "=~ looks into texts; lr:int is a int"),
        ("lr =~ 1", 7, "=~ wants a regular expression in quotes"),
        ("lr has true", 8, "has wants a text in quotes"),
        ("lr < true", 4, "true and false have no order; write == or !="),
        ("lr <= nan", 4, "nothing is less or greater than nan; write == nan or != nan"),
        ("lr > ago", 9, 'expected "(" after "ago", as in ago("7d")'),
        ("lr > ago(7d)", 10, 'expected how long, in quotes, as in ago("7d")'),
        ("lr > ago('7 years')", 10, 'expected how long, as "30s", "15m", "12h", "7d" or "2w"'),
        ("lr > ago('9999999999w')", 10, "expected how long"),
        ("lr > ago('7d'", 14, 'expected ")" after how long'),
        ("a == '\ud800'", 7, "this is not valid Unicode text; remove the lone surrogate"),
        ("lr > 1 and " * 100 + "lr > 1", 1101, "more than 100 tests; at most that many"),
        ("(" * 51 + "lr > 1", 51, "more than 50 brackets and nots stand in each other"),
        ("not " * 51 + "lr > 1", 201, "more than 50 brackets and nots stand in each other"),
        (f"lr in ({', '.join('1' * 10_001)})", 30_008, "more than 10,000 values"),
        ("lr > 1" + " " * 100_000, 100_001, "the filter has 100,006 characters; at most 100,000"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_pointed_at(text: str, column: int, message: str) -> None:
    with pytest.raises(FilterError) as told:
        parse_filter(text)
    assert told.value.message.startswith(message)
    assert told.value.column == column


def test_limits_are_reached_before_they_are_passed() -> None:
    parse_filter(" and ".join(["lr > 1"] * MAX_TESTS))
    parse_filter("(" * (MAX_DEPTH - 1) + "lr > 1" + ")" * (MAX_DEPTH - 1))
    parse_filter(f"lr in ({','.join('1' * MAX_LITERALS)})")
    parse_filter("lr > 1".ljust(MAX_LENGTH))


def test_a_caret_stands_below_the_place() -> None:
    with pytest.raises(FilterError) as told:
        parse_filter("名前 == 1 und lr > 1")
    assert str(told.value).splitlines() == [
        'filter, column 9: expected "and", "or" or the end',
        "  名前 == 1 und lr > 1",
        # Two of them are twice as wide.
        "            ^",
    ]


def test_of_a_long_filter_the_part_around_the_place_is_shown() -> None:
    with pytest.raises(FilterError) as told:
        parse_filter(" or\n".join(["`long path`:float != 17"] * 9) + " xor lr > 1" * 9)
    _, line, caret = str(told.value).splitlines()
    assert line.startswith("  …")
    assert line.endswith("…")
    assert line[caret.index("^") :].startswith("xor lr > 1")
    assert "\n" not in line


@settings(max_examples=400)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join),
                 st.lists(st.sampled_from(PIECES)).map(" ".join)))  # fmt: skip
def test_any_text_is_a_filter_or_is_told_what_it_lacks(text: str) -> None:
    told: FilterError | None = None
    try:
        tree = parse_filter(text)
    except FilterError as error:
        told = error
    if told:
        assert 1 <= told.column <= len(text) + 1
        assert told.message
        assert len(told.picture.splitlines()) == 2
    else:
        assert parse_filter(str(tree)) == tree


paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
operands = st.builds(Operand, paths, st.sampled_from(["", "last"]))
literals = st.builds(
    Literal,
    st.one_of(
        st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(),
        st.text(st.characters(exclude_categories=["Cs"])), st.builds(Ago, st.floats(0, 1e10)),
    ),
)  # fmt: skip


@given(paths, literals)
def test_paths_and_values_are_printed_as_they_are_read(path: str, literal: Literal) -> None:
    for tree in (
        In(Operand(path), (literal, literal), negated=True),
        And(
            (
                Exists(Operand(path, "count")),
                Not(Or((Exists(Operand(path)), Exists(Operand(path))))),
            )
        ),
        Not(And((In(Operand(path), (literal,)), Exists(Operand(path, "", "file"))))),
    ):
        assert parse_filter(str(tree)) == tree
