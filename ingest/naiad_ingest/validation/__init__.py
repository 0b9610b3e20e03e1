"""What may stand in a batch, and what is said of what may not.

Enters: a parsed Batch. Leaves: a Rejection per bad thing; what no rejection names is good.
A batch that can't be taken as a whole raises `BatchRefused`. Columns are looked at with
numpy as a whole, so the cost doesn't grow with each point.
"""

from naiad_ingest.validation.batch import BatchRefused, check_batch

__all__ = ["BatchRefused", "check_batch"]
