"""Programs that end with the tests that started them, also when those are killed."""

from __future__ import annotations

import os
import sys


def child(*command: str) -> list[str]:
    """The command, to be started by this process; it ends with the thread that starts it."""
    return [sys.executable, "-m", "naiad_serve.child", str(os.getpid()), *command]
