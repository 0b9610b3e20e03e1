"""Filters as SQL: a condition on the rows of runs. Values and paths go in as parameters.

A test is true for a run if one of its values at the path meets it. Values are those of the runs
table: configs that a fork inherits are its own here too, and a series is what its last value, or
another that `aggregates` knows, says. What a run lacks meets no test.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from naiad_proto.filters import (
    ALIASES,
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
    Test,
    every_test,
    parse_filter,
)
from naiad_proto.filters.kinds import BOOLS, DATETIMES, SERIES_TYPES, STRINGS
from naiad_store.selects.aggregates import is_summed, series_rows, stat_rows
from naiad_store.selects.attributes import Attribute
from naiad_store.selects.derived import DERIVED
from naiad_store.selects.forks import Forks
from naiad_store.selects.runs import Which, choose, fork_rows, forks_among, with_facts
from naiad_store.selects.summaries import Summaries
from naiad_store.store import Store

_SINGLE = ("int", "float", "string", "bool", "datetime", "file")
# Of the rows of attributes and series what a test of each type of value looks at; times in
# microseconds, as those of a literal.
_COLUMNS = {
    "int": "integer", "float": "number", "float_series": "number", "string": "text",
    "string_series": "text", "bool": "integer", "datetime": "integer * 1000",
}  # fmt: skip
_INTEGERS = range(-(2**63), 2**63)
_AMONG = "run IN {among:Array(UInt64)}"
# For these nobody has to be asked whose fork a run is.
_NOBODY_INHERITS = {*ALIASES.values(), *(name.path for name in DERIVED)}


class Condition(NamedTuple):
    sql: str
    # Which facts of runs it is about (`runs.with_facts`).
    lives: bool
    trash: bool


def read_filter(text: str) -> Filter:
    """The tree of a filter that the store can be asked. Raises FilterError."""
    tree = parse_filter(text)
    for test in every_test(tree):
        _check_pattern(test, text)
        _check_derived(test, text)
    return tree


def condition_of(
    store: Store, project: str, which: Which, parameters: dict[str, object], now: float | None
) -> Condition:
    """Of `which.filter`; what it needs goes into `parameters`. Raises FilterError."""
    tree = read_filter(which.filter)
    forks = Forks()
    if any(test.operand.path not in _NOBODY_INHERITS for test in every_test(tree)):
        chosen = Which(in_trash=which.in_trash)
        forks = Forks.of(store, project, forks_among(store, project, chosen))
    summaries = Summaries(store, project, _summed(every_test(tree)), forks)
    made = _Making(forks, summaries, parameters, time.time() if now is None else now)
    return Condition(made.condition(tree), made.lives, made.trash)


def which_hold(
    store: Store, project: str, run_id: str, text: str, now: float | None = None
) -> list[bool] | None:
    """For each test of a filter, from left to right, whether it is true for one run; None for a
    run that the store does not know. Raises FilterError."""
    tests = list(every_test(read_filter(text)))
    which = Which(names=[run_id])
    parameters: dict[str, object] = {"project": project}
    found = choose(store, project, which)
    if not found.num_rows:
        return None
    forks = Forks.of(store, project, fork_rows(found.slice(0, 1)))
    # Of other runs nothing has to be read but what this one has of them.
    run = found.column("run")[0].as_py()
    sources = [heir[1] for heir in forks.heirs] + [stretch[1] for stretch in forks.stretches]
    parameters["among"] = sorted({run, *sources})
    summaries = Summaries(store, project, _summed(tests), forks, [run])
    made = _Making(forks, summaries, parameters, time.time() if now is None else now, _AMONG)
    shown = ", ".join(f"{made.condition(test)} AS t{place}" for place, test in enumerate(tests))
    sql = with_facts(lives=made.lives, trash=made.trash, among=_AMONG)
    parameters["run"] = run
    rows = store.query(f"SELECT {shown} FROM ({sql}) WHERE run = {{run:UInt64}}", parameters)
    return [bool(column[0].as_py()) for column in rows.columns]


def asks_the_time(text: str) -> bool:
    """Whether what a filter means depends on when it is asked."""
    return "ago" in text.lower()


class _Making:
    def __init__(
        self,
        forks: Forks,
        summaries: Summaries,
        parameters: dict[str, object],
        now: float,
        among: str = "1",
    ) -> None:
        """`among`: a condition on `run` that those asked about meet, and their ancestors."""
        self._runs_among = among
        self._forks = forks
        self._summaries = summaries
        self._parameters = parameters
        self._now = now
        self.lives = False
        self.trash = False

    def condition(self, tree: Filter) -> str:
        match tree:
            case And():
                return "(" + " AND ".join(map(self.condition, tree.parts)) + ")"
            case Or():
                return "(" + " OR ".join(map(self.condition, tree.parts)) + ")"
            case Not():
                return f"NOT {self.condition(tree.part)}"
            case _:
                return self._test(tree)

    def _test(self, test: Test) -> str:
        if derived := derived_of(test.operand):
            return self._derived(test, derived)
        operand = test.operand
        # sys/ is what the platform says of this run alone.
        forks = Forks(stretches=self._forks.stretches) if _is_own(operand) else self._forks
        path = self._give("String", operand.path)
        if isinstance(test, Exists):
            found = self._exists(operand, path, forks)
        else:
            found = self._meeting(test, path, forks)
        return "(" + " OR ".join(f"run IN ({sql})" for sql in found) + ")" if found else "0"

    def _derived(self, test: Test, name: Attribute) -> str:
        value = DERIVED[name]
        self.lives |= value.lives
        self.trash |= value.trash
        if isinstance(test, Exists):
            return f"(({value.sql}) IS NOT NULL)"
        sql = f"({value.sql})"
        if name.type == "datetime":
            sql = f"toUnixTimestamp64Milli({sql}) * 1000"
        return f"ifNull({self._meets(test, name.type, sql) or '0'}, 0)"

    def _exists(self, operand: Operand, path: str, forks: Forks) -> list[str]:
        types = operand.types
        if operand.stat:
            rows = self._stats(operand.stat, operand, types, path, forks)
            return [f"SELECT run FROM ({rows})"]
        found = []
        if kinds := [kind for kind in types if kind in _SINGLE]:
            found.append(f"SELECT run FROM ({self._singles(kinds, path, forks)})")
        if "string_set" in types:
            found.append(f"SELECT run FROM ({self._sets(path, forks)})")
        if kinds := [kind for kind in types if kind in SERIES_TYPES]:
            rows = series_rows(kinds, path, forks, self._parameters, self._runs_among)
            found.append(f"SELECT run FROM ({rows})")
        return found

    def _meeting(self, test: Compare | In, path: str, forks: Forks) -> list[str]:
        operand = test.operand
        found = []
        numeric = operand.stat == "count"
        meets = {
            kind: sql
            for kind in operand.types
            if kind in SERIES_TYPES or (kind in _COLUMNS and not operand.stat)
            if (kind in _COLUMNS or numeric)
            if (sql := self._meets(test, *_looked_at(kind, numeric=numeric)))
        }
        if singles := {kind: sql for kind, sql in meets.items() if kind not in SERIES_TYPES}:
            rows = self._singles(list(singles), path, forks)
            found.append(f"SELECT run FROM ({rows}) WHERE {_by_type(singles)}")
        if series := {kind: sql for kind, sql in meets.items() if kind in SERIES_TYPES}:
            stat = operand.stat or "last"
            rows = self._stats(stat, operand, list(series), path, forks)
            found.append(f"SELECT run FROM ({rows}) WHERE {_by_type(series)}")
        if "string_set" in operand.types and isinstance(test, Compare) and "has" in test.op:
            element = self._give("String", test.literal.value)
            negation = "NOT " if test.op == "not has" else ""
            rows = self._sets(path, forks)
            found.append(f"SELECT run FROM ({rows}) WHERE {negation}has(elements, {element})")
        return found

    def _stats(
        self, stat: str, operand: Operand, types: Sequence[str], path: str, forks: Forks
    ) -> str:
        summary = self._summaries.of(operand.path) if is_summed(stat) else None
        return stat_rows(stat, types, path, forks, self._parameters, self._runs_among, summary)

    def _singles(self, kinds: Sequence[str], path: str, forks: Forks) -> str:
        types = ", ".join(f"'{kind}'" for kind in kinds)
        rows = (
            "SELECT run, type, number, integer, text FROM attributes FINAL"
            f" WHERE project = {{project:String}} AND path = {path} AND type IN ({types})"
            f" AND {self._runs_among}"
        )
        columns = ("type", "number", "integer", "text")
        return forks.inherited(rows, columns, "type,", self._parameters)

    def _sets(self, path: str, forks: Forks) -> str:
        rows = (
            "SELECT run, groupArray(element) AS elements FROM string_sets FINAL"
            f" WHERE project = {{project:String}} AND path = {path} AND present"
            f" AND {self._runs_among} GROUP BY run"
        )
        return forks.inherited(rows, ("elements",), "", self._parameters)

    def _meets(self, test: Compare | In, kind: str, column: str) -> str:
        """A condition on a value of type `kind`; empty where it can't be compared."""
        if isinstance(test, In):
            found = self._among(test.literals, kind, column)
            return f"NOT ({found})" if found and test.negated else found
        if kind in STRINGS and isinstance(test.literal.value, str):
            text = self._give("String", test.literal.value)
            match test.op:
                case "=~" | "!~":
                    return f"{'NOT ' if test.op == '!~' else ''}match({column}, {text})"
                case "has" | "not has":
                    return f"position({column}, {text}) {'>' if test.op == 'has' else '='} 0"
                case op:
                    return f"{column} {_sql(op)} {text}"
        if "has" in test.op or "~" in test.op or kind not in test.literal.types:
            return ""
        if test.literal.is_nan:
            is_nan = f"isNaN({column})" if kind != "int" else "0"
            return is_nan if test.op == "==" else f"NOT {is_nan}"
        return f"{column} {_sql(test.op)} {self._literal(test.literal)}"

    def _among(self, literals: Sequence[Literal], kind: str, column: str) -> str:
        mine = [literal for literal in literals if kind in literal.types]
        if not mine:
            # None of them is like it; so it is none of them only where it could have been.
            return ""
        values = [literal.value for literal in mine]
        if kind in STRINGS:
            return f"{column} IN {self._give('Array(String)', values)}"
        if kind in DATETIMES:
            times = [literal.micros(self._now) for literal in mine]
            return f"{column} IN {self._give('Array(Int64)', times)}"
        if kind in BOOLS:
            return f"{column} IN {self._give('Array(UInt8)', [int(bool(v)) for v in values])}"
        numbers = [value for value in values if isinstance(value, int | float)]
        if kind == "int":
            whole = [int(v) for v in numbers if _is_whole(v) and int(v) in _INTEGERS]
            return f"{column} IN {self._give('Array(Int64)', whole)}" if whole else "0"
        exact = [float(v) for v in numbers if v == v and float(v) == v]
        # To a set of values, zero and minus zero are two.
        exact += [-0.0, 0.0] if 0 in exact else []
        found = [f"{column} IN {self._give('Array(Float64)', exact)}"] if exact else []
        if any(literal.is_nan for literal in mine):
            found.append(f"isNaN({column})")
        return f"({' OR '.join(found)})" if found else "0"

    def _literal(self, literal: Literal) -> str:
        """A literal that is no text."""
        micros = literal.micros(self._now)
        if micros is not None:
            return self._give("Int64", micros)
        match literal.value:
            case bool():
                return self._give("UInt8", int(literal.value))
            case int():
                # Compared with floats exactly, as ClickHouse does.
                return self._give("Int64", literal.value)
            case _:
                return self._give("Float64", literal.value)

    def _give(self, kind: str, value: object) -> str:
        name = f"filter_{len(self._parameters)}"
        self._parameters[name] = value
        return f"{{{name}:{kind}}}"


def derived_of(operand: Operand) -> Attribute | None:
    """The attribute that the platform itself knows, if the operand means one."""
    if operand.stat:
        return None
    for name in DERIVED:
        if name.path == operand.path and operand.type in ("", name.type):
            return name
    return None


def _summed(tests: Iterable[Test]) -> set[str]:
    """Paths of the metrics that are asked for more than their last value."""
    return {
        test.operand.path
        for test in tests
        if is_summed(test.operand.stat) and "float_series" in test.operand.types
    }


def _is_own(operand: Operand) -> bool:
    """Whether forks have nothing of their ancestors there."""
    return operand.path.startswith("sys/")


def _looked_at(kind: str, *, numeric: bool) -> tuple[str, str]:
    return ("float", "number") if numeric else (kind, _COLUMNS[kind])


def _by_type(conditions: dict[str, str]) -> str:
    return " OR ".join(f"(type = '{kind}' AND {sql})" for kind, sql in conditions.items())


def _sql(op: str) -> str:
    return "=" if op == "==" else op


def _is_whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def _check_pattern(test: Test, text: str) -> None:
    """Arrow's regular expressions are RE2, as ClickHouse's."""
    if not isinstance(test, Compare) or test.op not in ("=~", "!~"):
        return
    try:
        pc.match_substring_regex(pa.array([""]), str(test.literal.value))
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ").partition(": ")
        raise FilterError(
            "this is not a regular expression that RE2 takes"
            f" (https://github.com/google/re2/wiki/Syntax): {reason[0]}",
            text,
            test.literal.at,
        ) from error


def _check_derived(test: Test, text: str) -> None:
    """What the platform says of runs has one type: a test that can't be true is a mistake."""
    name = derived_of(test.operand)
    if name is None or isinstance(test, Exists):
        return
    said = f"{name.path} is a {name.type}"
    literals = test.literals if isinstance(test, In) else (test.literal,)
    if isinstance(test, Compare) and ("has" in test.op or "~" in test.op):
        if name.type != "string":
            raise FilterError(f"{test.op} looks into texts; {said}", text, test.at)
        return
    for literal in literals:
        if name.type not in literal.types:
            hint = {
                "datetime": ', as "2026-01-31", "2026-01-31T18:00:00Z" or ago("7d")',
                "string": ", in quotes",
                "bool": ": true or false",
            }.get(name.type, "")
            raise FilterError(f"{said}: compare it with one{hint}", text, literal.at)
