"""The home folder of a peer: where everything lies, and the lock that keeps a second process out."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pfed.errors import LocalError
from p2pfed.storage import crash_points
from p2pfed.storage.files import FOLDER_MODE, PRIVATE_MODE, disk_errors, make_folder


class Home:
    """Paths of a home folder (docs/spec/storage.md). Making one touches no disk."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.config = self.path / "config.toml"
        self.genesis = self.path / "genesis.json"
        self.key = self.path / "key.json"
        self.vote_state = self.path / "vote_state.json"
        self.peers = self.path / "peers.json"
        self.lock_file = self.path / "LOCK"
        self.data = self.path / "data"
        self.chain_db = self.data / "chain.db"
        self.blobs = self.data / "blobs"
        self.wal = self.data / "wal"
        self.sync = self.data / "sync"  # The manifest of the snapshot that is being fetched.
        self.feedback = self.data / "feedback"  # What the learner's updates could not carry yet.
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self.api_token = self.run / "api.token"

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def create(self) -> None:
        """Make the folders that are missing; the home itself is for its owner only."""
        with disk_errors(f"create the home {self.path}"):
            for folder in (self.path, self.data, self.blobs, self.logs, self.run):
                make_folder(folder)
            if self.path.stat().st_mode & 0o777 != FOLDER_MODE:
                self.path.chmod(FOLDER_MODE)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for this process (spec R5); the system lets go of it when the process ends.

        Raises:
            LocalError: Another process holds it, or there is no such home.
        """
        if not self.path.is_dir():
            raise LocalError(f"there is no home folder {self.path}; make one with `p2pfed init`")
        crash_points.arm(os.environ)
        with disk_errors(f"open {self.lock_file}"):
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                raise LocalError(
                    f"process {holder} already runs the peer of {self.path}; "
                    "stop it first, two processes with one key would be slashed"
                ) from None
            with disk_errors(f"write {self.lock_file}"):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Answer whether a process runs this home now."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
