"""Run keys back into the names that the asker used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from naiad_store.selects.runs import RunRow

WORDS = pa.dictionary(pa.int32(), pa.string())


class Names:
    """Run id or experiment name by run key."""

    def __init__(self, runs: Sequence[RunRow], *, by_experiment: bool) -> None:
        keys = np.array([run.run for run in runs], np.uint64)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]
        names = [run.experiment if by_experiment else run.run_id for run in runs]
        self._names = pa.array(names, pa.string())

    def column(self, runs: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
        """A dictionary column of names for a column of keys."""
        keys = runs.to_numpy()
        places = self._order[np.searchsorted(self._sorted, keys)] if len(keys) else keys
        return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), self._names)


def words(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of strings, each of which is sent once."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        return column.cast(WORDS)
    return column.cast(pa.string()).dictionary_encode().cast(WORDS)
