"""What is wrong with a filter, and where."""

from __future__ import annotations

import unicodedata

# Of a long filter so much is shown before and behind the place.
_BEFORE, _BEHIND = 48, 24


class FilterError(ValueError):
    """A filter that can't be understood.

    `message` is one sentence; `column` counts characters from 1. As a string: the sentence with
    the column, the part of the filter around it, and a caret below the place.
    """

    def __init__(self, message: str, text: str, at: int) -> None:
        self.message = message
        self.text = text
        self.at = min(max(at, 0), len(text))
        super().__init__(f"filter, column {self.column}: {message}\n{self.picture}")

    @property
    def column(self) -> int:
        return self.at + 1

    @property
    def picture(self) -> str:
        """Two lines: the filter, or the part of it around the place, and the caret."""
        begin, end = max(0, self.at - _BEFORE), min(len(self.text), self.at + _BEHIND)
        before = ("…" if begin else "") + _shown(self.text[begin : self.at])
        behind = _shown(self.text[self.at : end]) + ("…" if end < len(self.text) else "")
        return f"  {before}{behind}\n  {' ' * _width(before)}^"


def _shown(text: str) -> str:
    """A character for each, none of which breaks the line or steers a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    """Cells of a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
