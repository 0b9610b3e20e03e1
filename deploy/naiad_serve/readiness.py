"""Whether a process can do its work now, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

DRAINING = "draining"


class Readiness:
    """Named parts that have to be there. Ready means: all are, and nobody asked to end."""

    def __init__(self) -> None:
        self._because: dict[str, str] = {}
        self._watchers: list[Callable[[bool], None]] = []

    @property
    def ready(self) -> bool:
        return not self._because

    @property
    def because(self) -> Mapping[str, str]:
        """The parts that are not there, and why."""
        return dict(self._because)

    def lacks(self, part: str, reason: str) -> bool:
        """True when this is news."""
        before, news = self.ready, self._because.get(part) != reason
        self._because[part] = reason
        self._tell(before)
        return news

    def has(self, part: str) -> bool:
        """True when it was lacking."""
        before = self.ready
        news = self._because.pop(part, None) is not None
        self._tell(before)
        return news

    def drain(self) -> None:
        """Not ready from now on."""
        self.lacks(DRAINING, "it was asked to end and finishes what it has begun")

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """`watcher` is called now and at each change, in the event loop."""
        self._watchers.append(watcher)
        watcher(self.ready)

    def _tell(self, before: bool) -> None:
        if self.ready != before:
            for watcher in self._watchers:
                watcher(self.ready)
