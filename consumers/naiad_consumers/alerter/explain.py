"""Turns what YAML and pydantic say of an alert file into lines that a person can act on."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Sequence

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from naiad_proto.limits import shorten

# What trips people: to YAML these characters mean something else.
_UNQUOTED_OP = re.compile(r"\bop:\s*>")
_UNQUOTED_GLOB = re.compile(r":\s+\*")


def explain_yaml(file: str, text: str, error: yaml.YAMLError) -> str:
    """One line for a file that isn't YAML, with the cure where it is a usual slip."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return f"{file}: not valid YAML: {problem}"
    lines = text.splitlines()
    near = "\n".join(lines[max(0, mark.line - 1) : mark.line + 1])
    if _UNQUOTED_OP.search(near):
        problem += '; put the operator in quotes, as in op: ">="'
    elif _UNQUOTED_GLOB.search(near):
        problem += '; put a pattern that begins with * in quotes, as in path: "*/loss"'
    elif "\t" in near:
        problem += "; indent with spaces, YAML takes no tabs"
    return f"{file}, line {mark.line + 1}: not valid YAML: {problem}"


def explain(
    file: str, tree: yaml.Node | None, model: type[BaseModel], error: ValidationError
) -> str:
    """One line per fault: file, line, which entry and field, what is wrong, what to do."""
    return "\n".join(_fault(file, tree, model, fault) for fault in error.errors())


def _fault(file: str, tree: yaml.Node | None, model: type[BaseModel], fault: ErrorDetails) -> str:
    place = fault["loc"]
    where = f"{file}, line {_line(tree, place)}"
    if place:
        where += f": {_name(tree, place)}"
    return f"{where}: {_cure(model, fault)}"


def _cure(model: type[BaseModel], fault: ErrorDetails) -> str:
    kind, given = fault["type"], fault.get("input")
    shown = shorten(repr(given))
    field = str(fault["loc"][-1]) if fault["loc"] else ""
    if kind == "extra_forbidden":
        known = _fields(model, fault["loc"][:-1])
        close = difflib.get_close_matches(field, known, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}"
        return f"there is no such field{hint}"
    if kind == "missing":
        return "it is missing; add it"
    if kind == "literal_error":
        expected = fault["ctx"]["expected"]
        if given == "":
            return f'it is empty; write one of {expected}, in quotes, as in {field}: ">"'
        return f"{shown} is not one of {expected}"
    if kind == "enum":
        return f"{shown} is not one of {fault['ctx']['expected']}"
    if kind in ("value_error", "assertion_error"):
        return str(fault["ctx"]["error"])
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{message}, not {shown}"


def _name(tree: yaml.Node | None, place: Sequence[str | int]) -> str:
    """`thresholds[1] ("loss too high").op`: an entry by number and, if it has one, by name."""
    text = ""
    for depth, key in enumerate(place):
        if isinstance(key, int):
            text += f"[{key}]"
            named = _find(tree, [*place[: depth + 1], "name"])
            if isinstance(named, yaml.ScalarNode):
                text += f" ({shorten(named.value)!r})"
        else:
            text += f".{key}" if text else key
    return text


def _line(tree: yaml.Node | None, place: Sequence[str | int]) -> int:
    """Line of the innermost part of `place` that is in the file, from 1."""
    for length in range(len(place), -1, -1):
        node = _find(tree, place[:length], key=True)
        if node is not None:
            return int(node.start_mark.line) + 1
    return 1


def _find(
    tree: yaml.Node | None, place: Sequence[str | int], *, key: bool = False
) -> yaml.Node | None:
    """The node at `place`, or, with `key`, that of its key where it stands in a mapping."""
    node, shown = tree, tree
    for part in place:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == str(part):
                    node, shown = value, name
                    break
            else:
                return None
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                return None
            node = shown = node.value[part]
        else:
            return None
    return shown if key else node


def _fields(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Names of the fields that the model at `place` takes."""
    current: object = model
    for part in place:
        if isinstance(part, str) and isinstance(current, type) and issubclass(current, BaseModel):
            current = _model_of(current.model_fields[part].annotation)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []


def _model_of(annotation: object) -> object:
    """The model inside tuple[Model, ...] and the like."""
    if isinstance(annotation, types.GenericAlias) or typing.get_origin(annotation):
        return next(iter(typing.get_args(annotation)), None)
    return annotation
