"""The constructor's arguments, and what calls have in common: checked, and in the form that the
rest of the client works with."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from naiad import _platform
from naiad._configs import ConfigValue
from naiad._session import now_ms
from naiad._validation import check_step, check_timestamp
from naiad.exceptions import NaiadTypeError, NaiadValueError
from naiad.settings import (
    MODES,
    api_token,
    default_namespace,
    default_project,
    host_name,
    spool_root,
)
from naiad.spool.folder import host_folder
from naiad_proto.limits import check_experiment_name, check_path, check_project, check_run_id
from naiad_proto.v1 import records_pb2 as pb


def checked_project(given: str | None, run_id: Any, experiment_name: Any) -> str:
    """The project; after a look at all names that a run has."""
    project = default_project(given)
    if project is None:
        raise NaiadValueError(
            "no project is given: pass project='workspace/name' or set NAIAD_PROJECT"
        )
    for name, value in (
        ("project", project), ("run_id", run_id), ("experiment_name", experiment_name),
    ):  # fmt: skip
        if value is not None and not isinstance(value, str):
            raise NaiadTypeError(f"{name} is {value!r}; it must be a string")
    problem = check_project(project) or check_run_id(run_id)
    if experiment_name is not None:
        problem = problem or check_experiment_name(experiment_name)
    if problem:
        raise NaiadValueError(problem)
    return project


def chosen_mode(mode: str | None) -> str:
    chosen = mode or os.environ.get("NAIAD_MODE") or "async"
    if chosen not in MODES:
        raise NaiadValueError(f"mode {chosen!r} is none of {', '.join(map(repr, MODES))}")
    return chosen


def chosen_token(given: str | None) -> str | None:
    token = api_token(given)
    if token is not None and not isinstance(token, str):
        raise NaiadTypeError("api_token must be a string")
    return token.strip() if token else None


def time_argument(name: str, value: Any) -> int:
    try:
        return check_timestamp(value)
    except (ValueError, TypeError) as error:
        raise NaiadValueError(f"{name}: {error}") from None


def moment(timestamp: Any) -> int:
    return now_ms() if timestamp is None else check_timestamp(timestamp)


def completion_of(value: float | None) -> float:
    if value is None:
        return 0.0
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError(f"preview_completion {value} is not between 0 and 1")
    return number


def fork_micro_step(fork_run_id: str | None, fork_step: float | int | None) -> int:
    if (fork_run_id is None) != (fork_step is None):
        raise NaiadValueError("fork_run_id and fork_step belong together; give both or neither")
    if fork_run_id is None or fork_step is None:
        return 0
    if problem := check_run_id(fork_run_id):
        raise NaiadValueError(f"fork_run_id: {problem}")
    try:
        return check_step(fork_step)
    except (ValueError, TypeError) as error:
        raise NaiadValueError(f"fork_step: {error}") from None


def chosen_namespace(given: str | None) -> str:
    namespace = default_namespace() if given is None else str(given).strip("/")
    if problem := check_path(namespace):
        raise NaiadValueError(f"runtime_namespace: {problem}")
    return namespace


def sampling_interval(given: float | None) -> float | None:
    if given is None:
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        raise NaiadTypeError(f"hardware_interval is {given!r}; give seconds, or None") from None
    if not 1 <= seconds <= 3600:
        raise NaiadValueError(f"hardware_interval {given} is not between 1 and 3600 s")
    return seconds


def writable_host_folder(directory: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """The spools' folder, and a warning if it had to be another than was asked for."""
    root = spool_root(directory)
    try:
        return _writable(host_folder(root)), ""
    except OSError as error:
        other = Path(tempfile.gettempdir()) / f"naiad-{_platform.user_tag()}" / "spool"
        try:
            return _writable(host_folder(other)), (
                f"the spool folder {root} can't be written ({error}); {other} is used instead:"
                f" `naiad sync {other}` sends what may be left there"
            )
        except OSError:
            return root / host_name(), ""


def _writable(folder: Path) -> Path:
    (folder / "runs").mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def create_item(
    born: int, fork_run_id: str | None, fork_step: int, inherit_configs: bool
) -> pb.Item:
    """A run's creation; `born` in milliseconds, `fork_step` in micro-steps."""
    create = pb.CreateRun(created_at=born)
    if fork_run_id is not None:
        create.fork_run_id = fork_run_id
        create.fork_step = fork_step
        create.inherit_configs = inherit_configs
    return pb.Item(create_run=create)


def config_item(path: str, value: ConfigValue) -> pb.Item:
    if isinstance(value, set | frozenset):
        change = pb.UpdateStringSet(path=path, add=sorted(value))
        return pb.Item(timestamp=now_ms(), update_string_set=change)
    if isinstance(value, bool):
        made = pb.Value(bool_value=value)
    elif isinstance(value, int):
        made = pb.Value(int_value=value)
    elif isinstance(value, float):
        made = pb.Value(float_value=value)
    elif isinstance(value, datetime):
        made = pb.Value(datetime_value=check_timestamp(value))
    else:
        made = pb.Value(string_value=value)
    return pb.Item(timestamp=now_ms(), set_attribute=pb.SetAttribute(path=path, value=made))


def names_in(data: Any) -> str:
    """The paths of a call, as a message can carry them."""
    try:
        names = [repr(name) for name in data]
    except TypeError:
        return repr(data)[:80]
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
