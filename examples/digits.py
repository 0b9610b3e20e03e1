"""Train one small network on handwritten digits and follow it with Naiad.

    naiad up                                      # in one terminal
    python examples/digits.py --hidden 64         # in another

The data (1,797 images of 8 x 8 pixels) ships with scikit-learn; a run takes seconds.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import naiad

PROJECT = "examples/digits"
DIGITS = np.arange(10)


def train(
    run: naiad.Run, hidden: int, learning_rate: float, epochs: int = 25, batch_size: int = 64
) -> None:
    """Trains with plain mini-batches and logs what one wants to see while it happens."""
    run.log_configs(
        {
            "model": {"kind": "MLP", "hidden_units": hidden, "activation": "relu"},
            "optimizer": {"name": "adam", "learning_rate": learning_rate},
            "training": {"epochs": epochs, "batch_size": batch_size, "seed": 0},
        },
        flatten=True,
    )
    run.add_tags(["digits", "wide" if hidden >= 64 else "narrow"])

    pixels, labels = load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        pixels / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )
    model = MLPClassifier(
        hidden_layer_sizes=(hidden,), learning_rate_init=learning_rate, random_state=0
    )
    random = np.random.default_rng(0)
    step = 0
    for epoch in range(1, epochs + 1):
        order = random.permutation(len(train_x))
        for begin in range(0, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            model.partial_fit(train_x[batch], train_y[batch], classes=DIGITS)
            run.log_metrics(
                {
                    "train/loss": model.loss_,
                    "train/accuracy": model.score(train_x[batch], train_y[batch]),
                },
                step=step,
            )
            step += 1
        accuracy = model.score(val_x, val_y)
        loss = log_loss(val_y, model.predict_proba(val_x), labels=DIGITS)
        run.log_metrics({"val/accuracy": accuracy, "val/loss": loss, "epoch": epoch}, step=step - 1)
        print(f"epoch {epoch}/{epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--hidden", type=int, default=64, help="hidden units (64)")
    arguments.add_argument("--learning-rate", type=float, default=0.01, help="(0.01)")
    arguments.add_argument("--epochs", type=int, default=25, help="(25)")
    given = arguments.parse_args()

    name = f"mlp-{given.hidden}-lr-{given.learning_rate:g}"
    with naiad.Run(project=PROJECT, experiment_name=name) as run:
        train(run, given.hidden, given.learning_rate, given.epochs)
        print(f"See it at {run.get_run_url()}")


if __name__ == "__main__":
    main()
