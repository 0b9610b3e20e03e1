"""Which runs a rule's filter chooses, asked when something is about to be raised.

A test on a config, a tag or another attribute goes by what the log said of the run, as far as it
has been read, for the store may not have that yet: a run may log a config and NaN in one batch.
Everything else goes by the store, and what that says is believed for a few seconds.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from naiad_consumers.alerter.observation import Batch
from naiad_proto.filters import (
    And,
    Compare,
    Exists,
    Filter,
    In,
    Literal,
    Not,
    Or,
    Test,
    every_test,
    parse_filter,
)
from naiad_proto.filters.kinds import SERIES_TYPES, STRINGS

# Seconds for which an answer of the store is believed, and one that it does not know the run.
STORE_ASKED_EVERY = 10.0
_UNKNOWN = 1.0
# Runs remembered with what was heard of them, and answers of the store.
_MAX_RUNS = 10_000

# (project, run id, filter) → for each test of the filter, from left to right, whether the store
# has it hold; None for a run that it does not know.
Ask = Callable[[str, str, str], Sequence[bool] | None]


@dataclass(slots=True)
class Heard:
    """What the log said of a run."""

    # path → type → value; a datetime is milliseconds.
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    # path → element → whether it was added last, not removed.
    elements: dict[str, dict[str, bool]] = field(default_factory=dict)


class Choices:
    def __init__(self, filters: Iterable[str], ask: Ask) -> None:
        self._trees = {text: parse_filter(text) for text in filters if text}
        self._paths = {
            test.operand.path for tree in self._trees.values() for test in every_test(tree)
        }
        self._ask = ask
        self._heard: OrderedDict[tuple[str, str], Heard] = OrderedDict()
        # With the moment until which an answer is believed.
        self._answers: OrderedDict[tuple[str, str, str], tuple[float, Sequence[bool]]]
        self._answers = OrderedDict()

    def hear(self, batch: Batch) -> None:
        for one in batch.attributes:
            kind = one.value.WhichOneof("kind")
            if one.path in self._paths and kind:
                value = getattr(one.value, kind)
                heard = self._of(batch.project, batch.run_id)
                heard.values.setdefault(one.path, {})[kind.removesuffix("_value")] = value
        for update in batch.string_sets:
            if update.path in self._paths:
                heard = self._of(batch.project, batch.run_id)
                elements = heard.elements.setdefault(update.path, {})
                elements |= dict.fromkeys(update.add, True) | dict.fromkeys(update.remove, False)

    def forget(self, project: str, run_id: str) -> None:
        """The run was deleted: whoever comes under its id next is another one."""
        self._heard.pop((project, run_id), None)
        for text in self._trees:
            self._answers.pop((text, project, run_id), None)

    def take(self, text: str, project: str, run_id: str, now: float, clock: float) -> bool:
        """Whether the filter `text` is true for the run; `now` in seconds of any clock that goes
        on, `clock` in seconds since 1970."""
        heard = self._heard.get((project, run_id), Heard())
        return holds(
            self._trees[text], heard, lambda: self._stored(text, project, run_id, now), clock
        )

    def _of(self, project: str, run_id: str) -> Heard:
        heard = self._heard.setdefault((project, run_id), Heard())
        self._heard.move_to_end((project, run_id))
        if len(self._heard) > _MAX_RUNS:
            self._heard.popitem(last=False)
        return heard

    def _stored(self, text: str, project: str, run_id: str, now: float) -> Sequence[bool]:
        key = (text, project, run_id)
        until, found = self._answers.get(key, (now, ()))
        if now >= until:
            answer = self._ask(project, run_id, text)
            until = now + (_UNKNOWN if answer is None else STORE_ASKED_EVERY)
            found = answer or [False] * sum(1 for _ in every_test(self._trees[text]))
            self._answers[key] = (until, found)
            self._answers.move_to_end(key)
            if len(self._answers) > _MAX_RUNS:
                self._answers.popitem(last=False)
        return found


def holds(tree: Filter, heard: Heard, stored: Callable[[], Sequence[bool]], clock: float) -> bool:
    """Whether `tree` is true for a run: by what was heard of it, else by `stored`, the answer of
    the store for each test."""
    places = {id(test): place for place, test in enumerate(every_test(tree))}

    def one(part: Filter) -> bool:
        match part:
            case And():
                return all(map(one, part.parts))
            case Or():
                return any(map(one, part.parts))
            case Not():
                return not one(part.part)
            case test:
                said = _heard_of(test, heard, clock)
                return stored()[places[id(test)]] if said is None else said

    return one(tree)


def _heard_of(test: Test, heard: Heard, clock: float) -> bool | None:
    """None where the log has said nothing of what the test is about."""
    operand = test.operand
    if operand.stat or operand.type in SERIES_TYPES:
        return None
    values = heard.values.get(operand.path, {})
    mine = {kind: value for kind, value in values.items() if kind in operand.types}
    elements = heard.elements.get(operand.path) if "string_set" in operand.types else None
    if isinstance(test, Exists):
        return True if mine or any((elements or {}).values()) else None
    if mine and any(_meets(test, kind, value, clock) for kind, value in mine.items()):
        return True
    if elements is not None and isinstance(test, Compare) and "has" in test.op:
        there = elements.get(str(test.literal.value))
        return None if there is None else there == (test.op == "has")
    return False if mine else None


def _meets(test: Compare | In, kind: str, value: Any, clock: float) -> bool:
    if isinstance(test, In):
        like = [literal for literal in test.literals if kind in literal.types]
        found = any(_compared("==", kind, value, literal, clock) for literal in like)
        return bool(like) and found != test.negated
    if test.op in ("=~", "!~"):
        if kind not in STRINGS:
            return False
        # RE2, as the store's; to it a dot is a line's end too.
        pattern = f"(?s:{test.literal.value})"
        matches = pc.match_substring_regex(pa.array([str(value)]), pattern)[0].as_py()
        return bool(matches) == (test.op == "=~")
    if test.op in ("has", "not has"):
        return kind in STRINGS and (str(test.literal.value) in value) == (test.op == "has")
    return kind in test.literal.types and _compared(test.op, kind, value, test.literal, clock)


def _compared(op: str, kind: str, value: Any, literal: Literal, clock: float) -> bool:
    if literal.is_nan:
        return bool(value != value) == (op == "==")
    other: Any = literal.value
    if kind == "datetime":
        value, other = value * 1000, literal.micros(clock)
    return bool(_OPERATORS[op](value, other))


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
