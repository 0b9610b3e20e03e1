"""The tokens there are: a small JSON file of their hashes.

A token is 256 random bits, so nobody can guess it and one round of SHA-256 is enough to
keep it; slow, salted hashes are for what people choose. The file is replaced as a whole
under a lock, and read again when it has changed, so the command line can add and revoke
tokens while a server runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from naiad_auth.principal import Principal

PREFIX = "naiad_"
_RANDOM_BYTES = 32
_FORMAT = 1
_NOBODY: frozenset[str] = frozenset()


class TokenFileError(Exception):
    """The token file can't be read; until it is mended nobody is let in."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token, without its secret."""

    id: str
    name: str
    # None: all projects.
    project: str | None
    read_only: bool
    created_at: datetime
    # Lower-case hexadecimal.
    sha256: str

    @property
    def principal(self) -> Principal:
        projects = None if self.project is None else frozenset((self.project,))
        write = _NOBODY if self.read_only else projects
        return Principal(self.name or f"token {self.id}", projects, write)

    def _as_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "name": self.name,
            "project": self.project,
            "read_only": self.read_only,
            "created_at": self.created_at.isoformat(),
            "sha256": self.sha256,
        }

    @classmethod
    def _from_json(cls, entry: dict[str, Any]) -> Token:
        token = cls(
            id=entry["id"],
            name=entry["name"],
            project=entry["project"],
            read_only=entry["read_only"],
            created_at=datetime.fromisoformat(entry["created_at"]),
            sha256=entry["sha256"],
        )
        # A wrong type here could widen what a token may do: `"read_only": 0`, say.
        texts = (token.id, token.name, token.sha256, token.project or "")
        if not all(isinstance(t, str) for t in texts) or type(token.read_only) is not bool:
            raise TypeError(f"wrong type in the entry of token {token.id!r}")
        return token


class TokenStore:
    """The tokens in one file. Safe for use by many threads and processes."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def create(self, *, project: str | None = None, read_only: bool = False, name: str = "") -> str:
        """Makes a token and returns its secret, which can't be had again.

        `project` ("workspace/name") limits it to that one; None means all. Raises OSError
        when the file can't be written, TokenFileError when the one there can't be read.
        """
        secret = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        with self._changing() as tokens:
            taken = {token.id for token in tokens}
            while (id := secrets.token_hex(4)) in taken:
                pass
            now = datetime.now(UTC).replace(microsecond=0)
            tokens.append(Token(id, name, project, read_only, now, _hash(secret)))
        return secret

    def revoke(self, id: str) -> bool:
        """Ends the token; False when there is none with this id."""
        with self._changing() as tokens:
            kept = [token for token in tokens if token.id != id]
            found = len(kept) < len(tokens)
            tokens[:] = kept
        return found

    def list(self) -> tuple[Token, ...]:
        """In the order of their creation."""
        return self._current()

    def empty(self) -> bool:
        return not self._current()

    def authenticate(self, token: str) -> Principal | None:
        """Who holds this token; None when it is none of ours or was revoked.

        Raises TokenFileError when the file can't be read.
        """
        digest = _hash(token)
        found = None
        # All are compared, each in constant time, so that the time taken tells nothing.
        for candidate in self._current():
            if hmac.compare_digest(candidate.sha256, digest):
                found = candidate
        return found.principal if found else None

    def _current(self) -> tuple[Token, ...]:
        with self._lock:
            try:
                status = self._path.stat()
            except FileNotFoundError:
                self._seen, self._tokens = None, ()
                return ()
            except OSError as error:
                raise TokenFileError(f"{self._path} can't be read: {error.strerror}") from error
            # The inode too: a replaced file may have the old one's size and time.
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._tokens = _read(self._path)
                self._seen = seen
            return self._tokens

    @contextlib.contextmanager
    def _changing(self) -> Iterator[MutableSequence[Token]]:
        """All tokens, to change; written back at the end, one process at a time."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of its own: the token file itself is replaced, and a lock on it with it.
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = [*_read(self._path)] if self._path.exists() else []
            yield tokens
            _write(self._path, tokens)
        finally:
            os.close(lock)


def _hash(token: str) -> str:
    # A header may hold anything, lone surrogates included.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> tuple[Token, ...]:
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            raise TokenFileError(
                f"{path} has format {document['format']!r}, which is newer than this Naiad;"
                " update it"
            )
        return tuple(Token._from_json(entry) for entry in document["tokens"])
    except OSError as error:
        raise TokenFileError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TokenFileError(
            f"{path} is damaged ({error}); restore it, or remove it and make new tokens"
        ) from error


def _write(path: Path, tokens: Sequence[Token]) -> None:
    document = {"format": _FORMAT, "tokens": [token._as_json() for token in tokens]}
    # mkstemp makes it 0600 from the start.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
