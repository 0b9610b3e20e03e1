"""What can go wrong with a store."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not be opened or asked; the message says why."""


class StoreBusy(StoreError):
    """Another process has the folder open."""


class StoreTooNew(StoreError):
    """A newer release made the store."""
