"""From the wire's selectors to the store's, checked; and who may ask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import grpc

from naiad_auth import Principal
from naiad_proto.limits import check_project, shorten
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.errors import Refused, invalid
from naiad_store import Store
from naiad_store.selects.attributes import TYPES, What
from naiad_store.selects.runs import RunRow, Which, has_project, projects, select_runs
from naiad_store.selects.scope import Range

MAX_NAMES = 100_000
# Of one question: what a browser or a frame can still hold.
MAX_RUNS_WITH_POINTS = 10_000


def need_read(principal: Principal, project: str) -> None:
    """Raises Refused."""
    if problem := check_project(project):
        raise invalid(problem)
    if not principal.may_read(project):
        raise Refused(
            grpc.StatusCode.PERMISSION_DENIED,
            f"this token ({shorten(principal.name)}) may not read project {shorten(project)!r};"
            " use another, or ask whoever runs the server for one",
        )


def need_project(store: Store, principal: Principal, project: str) -> None:
    """Raises Refused, also when there is no such project."""
    need_read(principal, project)
    if not has_project(store, project):
        there = [name for name in projects(store) if principal.may_read(name)]
        known = f"there are: {', '.join(there[:10])}" if there else "there are none yet"
        raise Refused(grpc.StatusCode.NOT_FOUND, f"there is no project {project!r}; {known}")


def which(selector: pb.RunSelector) -> Which:
    names = list(selector.names.values) if selector.HasField("names") else None
    if names is not None and len(names) > MAX_NAMES:
        raise invalid(f"{len(names):,} runs are named; at most {MAX_NAMES:,} are allowed")
    pattern = selector.pattern if selector.HasField("pattern") else None
    return Which(
        selector.by_experiment, pattern, names, filter=selector.filter, in_trash=selector.in_trash
    )


def what(selector: pb.AttributeSelector, *kinds: str) -> What:
    """`kinds`: the types that the call is about; the selector's are narrowed to them."""
    for kind in selector.types:
        if kind not in TYPES:
            raise invalid(f"there is no type {shorten(kind)!r}; there are {', '.join(TYPES)}")
    types: Sequence[str] = list(selector.types)
    if kinds:
        types = [kind for kind in kinds if not types or kind in types] or ["none"]
    paths = list(selector.paths.values) if selector.HasField("paths") else None
    if paths is not None and len(paths) > MAX_NAMES:
        raise invalid(f"{len(paths):,} attributes are named; at most {MAX_NAMES:,} are allowed")
    pattern = selector.pattern if selector.HasField("pattern") else None
    return What(pattern, paths, types)


def chosen_runs(store: Store, project: str, selector: pb.RunSelector) -> list[RunRow]:
    """Runs of a question about points."""
    found = select_runs(store, project, which(selector))
    if len(found) > MAX_RUNS_WITH_POINTS:
        raise Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{len(found):,} runs are chosen; points of at most {MAX_RUNS_WITH_POINTS:,} are given"
            " at a time: choose fewer",
        )
    return found


def steps(given: pb.StepRange) -> Range:
    begin = given.from_step if given.HasField("from_step") else None
    end = given.to_step if given.HasField("to_step") else None
    if begin is not None and end is not None and begin > end:
        raise invalid(
            f"step_range begins at {begin / 1e6:g} and ends before that, at {end / 1e6:g}"
        )
    return Range(
        None if begin is None else max(begin, -1),
        None if end is None else min(end, MAX_MICRO_STEP),
    )


def finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise invalid(f"{name} is {value}; give a finite number or leave it out")
    return value
