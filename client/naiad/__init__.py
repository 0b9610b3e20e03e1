"""Naiad's client: follow machine-learning runs without the training noticing.

    import naiad

    with naiad.Run(project="me/first-steps", experiment_name="hello") as run:
        run.log_configs({"lr": 0.01})
        run.log_metrics({"loss": 0.5}, step=0)

Enter: metrics, configs, strings, histograms, files, tags. Leave: files in the spool, which a
process beside this one sends to the server. Promised: no call raises, blocks or loses what
it was given because of the server or the network; see `naiad.Run`.

`naiad.query` and `naiad.query.runs` read back; they need `pip install 'naiad[query]'`.
"""

from naiad.exceptions import NaiadError
from naiad.handler import NaiadLoggingHandler
from naiad.ids import generate_run_id
from naiad.ledger import Ledger
from naiad.run import Run
from naiad.types import File, Histogram, SourceTrackingConfig

__all__ = [
    "File",
    "Histogram",
    "Ledger",
    "NaiadError",
    "NaiadLoggingHandler",
    "Run",
    "SourceTrackingConfig",
    "generate_run_id",
]
