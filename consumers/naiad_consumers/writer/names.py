"""Numbers for strings, for the life of one block."""

from __future__ import annotations


class Names:
    """Gives each string a small number, the same for the same string."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def words(self) -> list[str]:
        """All strings, by number."""
        return list(self._numbers)

    def ranks(self) -> list[int]:
        """For each number its place in alphabetical order."""
        order = sorted(range(len(self)), key=list(self._numbers).__getitem__)
        ranks = [0] * len(order)
        for rank, number in enumerate(order):
            ranks[number] = rank
        return ranks
