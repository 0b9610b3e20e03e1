"""What Naiad's client raises or hands to callbacks. All are `NaiadError`s."""

from __future__ import annotations


class NaiadError(Exception):
    """The root of them."""


class NaiadValueError(NaiadError, ValueError):
    """An argument or item that can't be taken; the message names it and what to do."""


class NaiadTypeError(NaiadError, TypeError):
    """An argument or item of a wrong type."""


class NaiadSpoolError(NaiadError):
    """The spool folder can't be written: what was logged meanwhile is lost, and counted."""


class NaiadConnectionError(NaiadError):
    """The server can't be reached, or broke the connection."""


class NaiadAuthError(NaiadError):
    """The server wants a token, or another one."""


class NaiadRejected(NaiadError):
    """The server did not take an item; everything else was taken."""


class NaiadQueryError(NaiadError):
    """The server refused a question; the message is its own sentence."""


class NaiadClosedError(NaiadError):
    """The run was closed before the call."""
