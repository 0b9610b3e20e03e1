"""Places of runs in a question back into the names that the asker used."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from naiad_store.selects.runs import RunRow

WORDS = pa.dictionary(pa.int32(), pa.string())


class Names:
    """Run ids or experiment names of the runs of a question, in its order."""

    def __init__(self, runs: Sequence[RunRow], *, by_experiment: bool) -> None:
        names = [run.experiment if by_experiment else run.run_id for run in runs]
        self._names = pa.array(names, pa.string())

    def list(self) -> list[str]:
        """By their places."""
        names: list[str] = self._names.to_pylist()
        return names

    def column(self, places: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
        """A dictionary column of names for a column of places."""
        if isinstance(places, pa.ChunkedArray):
            places = places.combine_chunks()
        return pa.DictionaryArray.from_arrays(places.cast(pa.int32()), self._names)


def words(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of strings, each of which is sent once."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        return column.cast(WORDS)
    return column.cast(pa.string()).dictionary_encode().cast(WORDS)
