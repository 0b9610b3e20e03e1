"""Where a snapshot lies: a folder, or a bucket's prefix.

A place holds a mark while a snapshot is being written there, and the manifest, written last
and as a whole, once it is finished. So what has no manifest is no snapshot, and what was cut off
is told from files of somebody else.
"""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from naiad_store.errors import StoreError

MANIFEST = "manifest.json"
MARK = "unfinished"


class SnapshotError(StoreError):
    """The snapshot can't be taken or read; the message names the file and says what to do."""


class Place(abc.ABC):
    """Names are of files directly in it. Methods raise SnapshotError."""

    named: str

    @abc.abstractmethod
    def names(self) -> set[str]: ...

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """A small file."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """A small file, as a whole or not at all; durable when it returns."""

    @abc.abstractmethod
    def remove(self, name: str) -> None: ...

    @abc.abstractmethod
    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """A path to write a large file at; durable in its place at the end of the block."""

    @abc.abstractmethod
    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A path to read a large file at."""


class Folder(Place):
    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self.named = str(self._path)

    def names(self) -> set[str]:
        with self._told("read"):
            if not self._path.exists():
                return set()
            return {entry.name for entry in self._path.iterdir()}

    def read(self, name: str) -> bytes:
        with self._told("read"):
            return (self._path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        with self._told("written"):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            half = self._path / f"{name}.new"
            half.write_bytes(content)
            _sync(half)
            half.rename(self._path / name)
            _sync(self._path)

    def remove(self, name: str) -> None:
        with self._told("written"):
            (self._path / name).unlink(missing_ok=True)
            _sync(self._path)

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        with self._told("written"):
            yield self._path / name
            _sync(self._path / name)
            _sync(self._path)

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Path]:
        with self._told("read"):
            yield self._path / name

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            name = error.filename or self._path
            raise SnapshotError(f"{name} can't be {done}: {error.strerror or error}") from error


class Bucket(Place):
    """Objects below a prefix, through obstore. `scratch`: a folder for a file at a time."""

    def __init__(self, objects: Any, named: str, scratch: Path) -> None:
        self._objects = objects
        self.named = named
        self._scratch = scratch

    def names(self) -> set[str]:
        import obstore

        with self._told("listed"):
            return {
                str(meta["path"]) for page in obstore.list(self._objects) for meta in page
            }  # fmt: skip

    def read(self, name: str) -> bytes:
        import obstore

        with self._told(f"asked for {name}"):
            return bytes(obstore.get(self._objects, name).bytes())

    def write(self, name: str, content: bytes) -> None:
        import obstore

        with self._told(f"given {name}"):
            obstore.put(self._objects, name, content)

    def remove(self, name: str) -> None:
        import obstore

        with self._told(f"rid of {name}"):
            obstore.delete(self._objects, name)

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        import obstore

        path = self._scratch / name
        try:
            yield path
            with self._told(f"given {name}"), path.open("rb") as content:
                obstore.put(self._objects, name, content)
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Path]:
        import obstore

        path = self._scratch / name
        try:
            with self._told(f"asked for {name}"), path.open("wb") as file:
                for chunk in obstore.get(self._objects, name).stream():
                    file.write(chunk)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            text = " ".join(str(error).split())[:500]
            raise SnapshotError(f"{self.named} can't be {what}: {text}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
