"""What counts as a number: scalars of every framework, none of which is imported."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import naiad
from naiad._validation import check_metrics, check_step
from naiad.shipper.starting import stop_threads
from naiad.spool.folder import host_folder, spools
from naiad.spool.reader import MetricRows, SpoolReader


class TorchTensor:
    """As torch.Tensor: `item` of one element, `__float__`, a shape that is a tuple."""

    def __init__(self, *values: Any, shape: tuple[int, ...] = ()) -> None:
        self._values = values
        self.shape = shape

    def item(self) -> Any:
        if len(self._values) != 1:
            raise RuntimeError(f"a Tensor with {len(self._values)} elements cannot be converted")
        return self._values[0]

    def __float__(self) -> float:
        return float(self.item())

    def __eq__(self, other: object) -> Any:
        raise RuntimeError("Boolean value of Tensor is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class TensorFlowTensor:
    """As an EagerTensor: no `item`, but `__float__`; its shape is an object."""

    class Shape:
        def __init__(self, *sides: int) -> None:
            self._sides = sides

        def __iter__(self) -> Any:
            return iter(self._sides)

        def __len__(self) -> int:
            return len(self._sides)

    def __init__(self, *values: float) -> None:
        self._values = values
        self.shape = self.Shape(*([] if len(values) == 1 else [len(values)]))

    def __float__(self) -> float:
        if len(self._values) != 1:
            raise TypeError("only length-1 arrays can be converted to Python scalars")
        return float(self._values[0])


class JaxTracer:
    """As jax within jit: everything raises."""

    shape = ()

    def item(self) -> Any:
        raise TypeError("Abstract tracer value encountered where concrete value is expected")

    __float__ = item


class SymbolicShape:
    """As a symbolic tensor of TensorFlow: even its rank is unknown."""

    @property
    def shape(self) -> Any:
        return self

    def __len__(self) -> int:
        raise ValueError("Cannot take the length of shape with unknown rank")


NUMBERS = [
    (3, 3.0), (0.5, 0.5), (Decimal("0.25"), 0.25), (Fraction(1, 8), 0.125),
    (np.float16(0.5), 0.5), (np.float32(0.1), float(np.float32(0.1))), (np.float64(0.1), 0.1),
    (np.int8(-3), -3.0), (np.uint64(2**63), 2.0**63), (np.longdouble(1.5), 1.5),
    (np.array(2.5), 2.5), (np.array([2.5]), 2.5), (np.array([[7]]), 7.0),
    (TorchTensor(0.75), 0.75), (TorchTensor(4, shape=(1,)), 4.0), (TensorFlowTensor(1.25), 1.25),
    (True, 1.0), (np.bool_(False), 0.0), (TorchTensor(True), 1.0),
    (math.inf, math.inf), (np.float32("-inf"), -math.inf),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), NUMBERS)
def test_scalars_are_numbers(value: Any, expected: float) -> None:
    assert check_metrics({"a": value}) == ({"a": expected}, [])


def test_nan_of_any_kind_is_data() -> None:
    good, problems = check_metrics({"a": math.nan, "b": np.float32("nan"), "c": Decimal("NaN")})
    assert problems == []
    assert all(math.isnan(value) for value in good.values())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("high", "'high' (str)"),
        (b"high", "(bytes)"),
        (None, "None (NoneType)"),
        (1 + 2j, "(complex)"),
        (np.complex64(1), "complex64"),
        (np.array([1.0, 2.0]), "ndarray of shape (2,); a metric is one number"),
        (np.array([]), "ndarray of shape (0,)"),
        (np.array("text"), "ndarray"),
        (np.datetime64("2026-01-01"), "datetime64"),
        (TorchTensor(1.0, 2.0, shape=(2,)), "TorchTensor of shape (2,); a metric is one number"),
        (TensorFlowTensor(1.0, 2.0, 3.0), "TensorFlowTensor of shape (3,)"),
        (JaxTracer(), "TypeError: Abstract tracer value"),
        (SymbolicShape(), "SymbolicShape"),
        (Decimal("sNaN"), "sNaN"),
        (10**400, "too large"),
        ([1.0], "list"),
        ({"nested": 1.0}, "dict"),
        (object(), "object"),
    ],
)
def test_what_is_no_number_is_named_with_path_and_type(value: Any, said: str) -> None:
    good, (problem,) = check_metrics({"train/loss": value, "fine": 1})
    assert good == {"fine": 1.0}
    assert problem.startswith("'train/loss' is ")
    assert said in problem
    assert "\n" not in problem


@pytest.mark.parametrize(("step", "micro"), [(np.int64(3), 3), (TorchTensor(4), 4), (2.0, 2)])
def test_steps_too(step: Any, micro: int) -> None:
    assert check_step(step) == micro * 10**6


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, naiad\nfrom naiad._validation import check_metrics\n"
        "check_metrics({'a': 1.0, 'b': 'x'})\n"
        "assert not {'numpy', 'torch', 'jax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scalars_take_the_quick_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_SHIPPER", "thread")
    monkeypatch.setenv("NAIAD_QUIET", "1")
    slow: list[Any] = []
    slowly = naiad.Run._log_metrics_slowly

    def counted(self: naiad.Run, session: Any, data: Any, *rest: Any) -> None:
        slow.append(data)
        slowly(self, session, data, *rest)

    monkeypatch.setattr(naiad.Run, "_log_metrics_slowly", counted)
    run = naiad.Run(
        project="team/p", mode="offline", log_directory=tmp_path, hardware_interval=None,
        source_tracking_config=None, enable_console_log_capture=False,
    )  # fmt: skip
    for step in range(100):
        run.log_metrics({"a": np.float32(0.1), "b": np.int64(step), "c": np.float64(0.2)}, step)
    assert slow == []
    run.log_metrics({"a": TorchTensor(1.0), "b": TensorFlowTensor(1.0)}, 100)
    assert slow == []
    run.log_metrics({"a": TorchTensor(1.0, 2.0, shape=(2,)), "b": 1.0}, 100)
    assert len(slow) == 1
    run.terminate()
    stop_threads()
    (spool,) = spools(host_folder(tmp_path))
    rows = [
        row
        for row in SpoolReader(spool).rows(2**24, writer_lives=False)
        if isinstance(row, MetricRows)
    ]
    found = np.concatenate([row.values for row in rows if len(row.shape.paths) == 3])
    assert found.tolist() == [[float(np.float32(0.1)), step, 0.2] for step in range(100)]
