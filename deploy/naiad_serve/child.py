"""Becomes another program that dies with its parent: `python -m naiad_serve.child
PARENT_PID PROGRAM [ARGUMENT ...]`.

A SIGKILL of `naiad up` or of the dashboard's process must not leave a web server or a Valkey
behind that holds ports and files. Linux can promise that (PR_SET_PDEATHSIG, kept across
exec); it is set here, in the child, because doing it between fork and exec in a process full
of threads is not safe. Elsewhere the program is only started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Has the kernel end this process by SIGTERM when `parent` ends, as it may have already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
