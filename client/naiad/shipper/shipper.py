"""All spools of one host's folder, until nothing is left to do."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from naiad import _platform
from naiad.shipper.hardware import HardwareShip
from naiad.shipper.server import Server, TlsFiles
from naiad.shipper.spool import SpoolShip
from naiad.shipper.told import Told
from naiad.spool.folder import (
    HostLock,
    Life,
    read_header,
    read_progress,
    read_token,
    spools,
    write_json,
    writer_life,
    writer_lives,
)
from naiad.spool.layout import HEADER, PROGRESS, Header

log = logging.getLogger("naiad.shipper")

LOCK = "shipper.lock"
# While something moves, and else: what a point waits before it is sent.
BUSY_SECONDS = 0.01
QUIET_SECONDS = 0.05
# New spools are looked for this often.
SCAN_SECONDS = 0.2
SYNC_SECONDS = 1.0
# How long to stay when nothing is left: a next process may come at once.
IDLE_SECONDS = 5.0
# Until a certificate that could not be read is looked at again.
NO_WAY_SECONDS = 10.0
# Leftovers under way at once.
_MOST_LEFTOVERS = 32
_MOST_AFTERWARDS = 64


class Shipper:
    """Ships what `host`'s spools hold. One at a time per folder: `run` says no to a second."""

    def __init__(
        self,
        host: Path,
        *,
        forced_url: str | None = None,
        forced_token: str | None = None,
        offline_too: bool = False,
        sample_hardware: bool = True,
        watch: bool = True,
    ) -> None:
        """`offline_too`, `forced_url` and `forced_token` are what `naiad sync` asks for;
        without `watch`, `run` ends as soon as nothing of dead writers is left."""
        self.host = host
        self.ships: dict[Path, SpoolShip] = {}
        # Sent and gone, and the store may still say something about them.
        self.afterwards: list[SpoolShip] = []
        self.unreadable: set[Path] = set()
        # For spools to which no connection can be made at all: when to try again.
        self._not_before: dict[Path, float] = {}
        self._forced_url = forced_url
        self._forced_token = forced_token
        self._offline_too = offline_too
        self._watch = watch
        self._servers: dict[tuple[str, str | None, TlsFiles], Server] = {}
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="naiad upload")
        self._hardware = HardwareShip(host) if sample_hardware else None
        self._live: list[tuple[Path, Header]] = []
        self._silent: set[Path] = set()
        self._said: set[str] = set()
        self._next_scan = 0.0
        self._next_sync = 0.0
        self.waiting_offline = 0

    def run(
        self, stop: threading.Event | None = None, tick: Callable[[Shipper], None] | None = None
    ) -> bool:
        """Until idle or `stop`. Returns False if another shipper has the folder."""
        stop = stop or threading.Event()
        try:
            lock = HostLock(self.host / LOCK)
        except OSError as error:
            log.error("no shipper can work in %s: %s", self.host, error)
            return False
        if not lock.take():
            lock.release()
            return False
        try:
            idle_since: float | None = None
            while not stop.is_set():
                moved = self.tick()
                if tick:
                    tick(self)
                now = time.monotonic()
                if not lock.is_there():
                    # Somebody removed the folder. Whoever makes it anew starts a shipper that
                    # takes a lock of its own.
                    break
                if self._busy(moved):
                    idle_since = None
                elif not self._watch:
                    break
                else:
                    idle_since = idle_since or now
                    if now - idle_since > IDLE_SECONDS:
                        break
                stop.wait(BUSY_SECONDS if moved else QUIET_SECONDS)
            return True
        finally:
            self.close()
            lock.release()

    def tick(self) -> bool:
        """One round over everything; returns whether anything moved."""
        now = time.monotonic()
        if now >= self._next_scan:
            self._next_scan = now + SCAN_SECONDS
            try:
                self._scan()
                if self._hardware:
                    self._hardware.tick(self._live)
            except OSError as error:
                self._say_once(f"{self.host}: {error}")
        moved = False
        for folder, ship in list(self.ships.items()):
            try:
                moved |= ship.tick()
            except FileNotFoundError:
                # Somebody removed the folder: nothing there is left to send.
                log.warning("spool %s is gone", folder)
                ship.finished = True
            except OSError as error:
                # A disk in trouble; the next round tries again.
                self._say_once(f"spool {folder}: {error}")
            if ship.finished:
                del self.ships[folder]
                if folder.exists():
                    # Sent, and not to be removed: it must not be sent again and again.
                    self._say_once(f"spool {folder} is sent and can't be removed")
                    self.unreadable.add(folder)
                self.afterwards.append(ship)
        self.afterwards = [s for s in self.afterwards[-_MOST_AFTERWARDS:] if s.tick_afterwards()]
        if now >= self._next_sync:
            self._next_sync = now + SYNC_SECONDS
            self._sync()
        return moved

    def _busy(self, moved: bool) -> bool:
        """Is there anything to wait for? Not for writers of whom nobody knows whether they
        live, once all of theirs is sent."""
        return (
            moved
            or bool(self._live or self.afterwards)
            or any(folder not in self._silent or ship.waits for folder, ship in self.ships.items())
        )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.error("%s", text)

    def close(self) -> None:
        if self._hardware:
            self._hardware.close()
        for ship in (*self.ships.values(), *self.afterwards):
            with contextlib.suppress(OSError):
                ship.close()
        self._workers.shutdown(wait=False, cancel_futures=True)
        for server in self._servers.values():
            server.close()

    def _scan(self) -> None:
        self._live = []
        self._silent = set()
        self.waiting_offline = 0
        leftovers = sum(not writer_lives(folder) for folder in self.ships)
        for folder in spools(self.host):
            if folder in self.unreadable:
                continue
            ship = self.ships.get(folder)
            header = ship.header if ship else read_header(folder)
            if header is None:
                if not writer_lives(folder) and _old(folder):
                    self._give_up(folder)
                continue
            life = writer_life(folder)
            lives = life is not Life.ENDED
            if life is Life.SILENT:
                self._silent.add(folder)
            elif lives:
                self._live.append((folder, header))
            if ship or time.monotonic() < self._not_before.get(folder, 0.0):
                continue
            if header.mode == "offline" and not self._offline_too:
                self.waiting_offline += 1
                continue
            if not lives:
                if leftovers >= _MOST_LEFTOVERS:
                    continue
                leftovers += 1
            if server := self._server(folder, header):
                if life is Life.LIVES:
                    server.hurry()
                self.ships[folder] = SpoolShip(
                    folder, header, server, self._workers, silence_ends=self._offline_too
                )

    def _server(self, folder: Path, header: Header) -> Server | None:
        url = self._forced_url or header.url
        token = self._forced_token or read_token(folder)
        key = (url, token, TlsFiles(header.ca_file, header.cert_file, header.key_file))
        if key not in self._servers:
            try:
                self._servers[key] = Server(*key)
            except (ValueError, OSError) as error:
                text = f"nothing can be sent to {url}: {error}"
                log.error("spool %s: %s", folder, text)
                self._tell_trouble(folder, text)
                # Certificates are replaced, and file systems come back.
                self._not_before[folder] = time.monotonic() + NO_WAY_SECONDS
                return None
        return self._servers[key]

    def _give_up(self, folder: Path) -> None:
        """For a folder without a header whose writer is dead."""
        if (folder / HEADER).exists() or any(folder.glob("*.spool")):
            log.error("spool %s has no readable header; it is left as it is", folder)
            self.unreadable.add(folder)
        else:
            # Killed while it made the folder: nothing was ever logged there.
            shutil.rmtree(folder, ignore_errors=True)

    def _tell_trouble(self, folder: Path, text: str) -> None:
        told = Told.of(read_progress(folder))
        if told.trouble == text:
            return
        told.trouble = text
        told.say("network", text)
        with contextlib.suppress(OSError):
            write_json(folder / PROGRESS, told.content())

    def _sync(self) -> None:
        """Bounds what a power cut costs; it takes its time here and not in the training."""
        for folder, _ in self._live:
            newest = max(folder.glob("*.spool"), default=None)
            if newest is None:
                continue
            try:
                descriptor = os.open(newest, os.O_RDWR | _platform.OPEN_FLAGS)
                try:
                    _platform.sync_data(descriptor)
                finally:
                    os.close(descriptor)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._say_once(f"{newest} can't be synced to disk: {error}")


def _old(folder: Path) -> bool:
    """Old enough that its writer is not just making it."""
    try:
        return time.time() - folder.stat().st_mtime > 10
    except OSError:
        return False
