"""Why a process doesn't start."""

from __future__ import annotations


class StartError(Exception):
    """What it can't do without is not there, and waiting won't help: a taken port, a store
    made by a newer release. One line that names it and says what to do."""
