"""One training of the demo, with a witness: what it logged is also written to a file of its
own, so that the demo can tell whether the platform has every bit of it.

    python examples/demo_worker.py --hidden 64 --learning-rate 0.01 --witness FILE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import naiad
from digits import PROJECT, train


class Witness:
    """Passes every call on to the run and keeps its own account of it."""

    def __init__(self, run: naiad.Run) -> None:
        self._run = run
        self.points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.configs: dict[str, object] = {}
        self.tags: list[str] = []

    def log_metrics(self, data: dict[str, float], step: float) -> None:
        self._run.log_metrics(data, step)
        for path, value in data.items():
            self.points[path].append((float(step), float(value)))

    def log_configs(self, data: dict[str, Any], flatten: bool = False) -> None:
        self._run.log_configs(data, flatten=flatten)
        for group, values in data.items():
            self.configs.update({f"{group}/{name}": value for name, value in values.items()})

    def add_tags(self, tags: list[str]) -> None:
        self._run.add_tags(tags)
        self.tags += tags


class LineCount:
    """Counts the lines that go through to a stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--hidden", type=int, required=True)
    arguments.add_argument("--learning-rate", type=float, required=True)
    arguments.add_argument("--epochs", type=int, required=True)
    arguments.add_argument("--witness", type=Path, required=True)
    given = arguments.parse_args()

    name = f"mlp-{given.hidden}-lr-{given.learning_rate:g}"
    with naiad.Run(project=PROJECT, experiment_name=name) as run:
        witness = Witness(run)
        # On top of the run's own capture, so that it counts what the run is given.
        captured = sys.stdout
        counter = LineCount(captured)
        sys.stdout = counter
        try:
            train(witness, given.hidden, given.learning_rate, given.epochs)  # type: ignore[arg-type]
        finally:
            sys.stdout = captured
        readable = run.wait_for_processing(timeout=60)
        report = {
            "run_id": run.run_id,
            "experiment": name,
            "points": witness.points,
            "configs": witness.configs,
            "tags": witness.tags,
            "lines": counter.lines,
        }
    given.witness.write_text(json.dumps(report))
    if not readable:
        sys.exit(f"{name}: not everything was readable within 60 s of the last call")


if __name__ == "__main__":
    main()
