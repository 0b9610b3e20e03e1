"""The first run. With `naiad up` in another terminal:

python examples/quickstart.py
"""

from __future__ import annotations

import math

import naiad


def main() -> None:
    with naiad.Run(project="me/first-steps", experiment_name="hello") as run:
        run.log_configs({"lr": 0.01, "batch_size": 64})
        run.add_tags(["try"])
        for step in range(1000):
            loss = math.exp(-step / 200) + 0.02 * math.sin(step / 5)
            run.log_metrics({"train/loss": loss, "train/accuracy": 1 - loss}, step=step)
        print("See it at", run.get_run_url())


if __name__ == "__main__":
    main()
