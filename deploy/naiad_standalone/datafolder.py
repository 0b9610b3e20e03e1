"""The one folder that holds everything `naiad up` keeps."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

# Raised when a newer release lays the folder out so that this one could not read it.
FORMAT = 1

_STAMP = "format.json"
_LOCK = "lock"
# What a client on the same machine may have put there before the first `naiad up`.
_CLIENT_ENTRIES = frozenset({"spool", ".gitignore"})


class DataFolderError(Exception):
    """The folder can't be used; the message says why and what to do, in one line."""


class DataFolder:
    """An opened data folder, held by this process until it is closed.

    Layout: `log/` event log, `store/` chDB, `files/`, `valkey/`, `tokens.json`; clients
    started beside it keep their `spool/` here too, which the server never touches.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> DataFolder:
        """Makes the folder if it is missing and takes it for this process.

        Raises DataFolderError when another process has it, when it holds something
        else, when a newer Naiad made it, or when it can't be written.
        """
        folder = Path(path).expanduser().absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_is_ours(folder)
            lock = _take(folder)
            try:
                _stamp(folder)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataFolderError(
                f"the data folder {folder} can't be used: {reason}. Name another with --data"
            ) from error
        return cls(folder, lock)

    @property
    def log_file(self) -> Path:
        return self.path / "log" / "log.db"

    @property
    def log_url(self) -> str:
        self.log_file.parent.mkdir(mode=0o700, exist_ok=True)
        return f"sqlite:///{self.log_file}"

    @property
    def store_url(self) -> str:
        return f"chdb://{self.path / 'store'}"

    @property
    def files_url(self) -> str:
        return f"file://{self.path / 'files'}"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def tokens(self) -> Path:
        return tokens_file(self.path)

    @property
    def dead_letters(self) -> Path:
        return self.path / "dead"

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def tokens_file(folder: str | os.PathLike[str]) -> Path:
    """Where a data folder keeps its tokens' hashes."""
    return Path(folder).expanduser().absolute() / "tokens.json"


def owner_of(folder: str | os.PathLike[str]) -> int | None:
    """Pid of the process that holds the folder now; None if nobody does; 0 if unknown."""
    try:
        descriptor = os.open(Path(folder) / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _check_is_ours(folder: Path) -> None:
    if (folder / _STAMP).exists():
        return
    strangers = {entry.name for entry in folder.iterdir()} - _CLIENT_ENTRIES - {_LOCK}
    if strangers:
        raise DataFolderError(
            f"the folder {folder} is not empty and was not made by Naiad (it holds"
            f" {sorted(strangers)[0]!r}); name an empty or new one with --data"
        )


def _take(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # flock, because the kernel drops it at death: a killed server leaves nothing to
        # clean up before the next start.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise DataFolderError(
            f"the data folder {folder} is in use by process {pid}; stop it or name another"
            " folder with --data"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _stamp(folder: Path) -> None:
    stamp = folder / _STAMP
    try:
        found = json.loads(stamp.read_text())
        made_with = int(found["format"])
    except FileNotFoundError:
        made_with = 0
    except (ValueError, KeyError, TypeError) as error:
        raise DataFolderError(
            f"{stamp} can't be read ({error}); restore it from a backup or name another folder"
            " with --data"
        ) from error
    if made_with > FORMAT:
        raise DataFolderError(
            f"the data folder {folder} has format {made_with}, made by a newer Naiad; this one"
            f" reads up to {FORMAT}: upgrade with pip install --upgrade naiad"
        )
    if made_with == FORMAT:
        return
    # Data is not source: keep it out of the repository that the folder may stand in.
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    half = stamp.with_suffix(".new")
    with half.open("w") as file:
        json.dump({"format": FORMAT}, file)
        file.flush()
        os.fsync(file.fileno())
    half.rename(stamp)
