"""The token of the local API, in `run/api.token`: who can read the home of a peer may write through it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from p2pfed.errors import LocalError
from p2pfed.storage.files import disk_errors, read_small, replace_file

TOKEN_BYTES = 32
_FILE_BYTES_MAX = 1024
_TOKEN = re.compile(rb"[0-9a-f]{64}\n?")


def ready_token(path: Path) -> str:
    """Return the token, made where there is none, where it is damaged, or where others could have read it.

    Raises:
        DiskFull, StorageFault: The disk refuses.
    """
    data = read_small(path, _FILE_BYTES_MAX)
    if data is not None and _TOKEN.fullmatch(data):
        with disk_errors(f"read {path}"):
            mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & 0o077:
            return data.decode().strip()
    token = os.urandom(TOKEN_BYTES).hex()
    replace_file(path, token.encode() + b"\n")
    return token


def load_token(path: Path) -> str:
    """Return the token of a peer that runs.

    Raises:
        LocalError: There is none that could be sent.
        StorageFault: The disk refuses.
    """
    data = read_small(path, _FILE_BYTES_MAX)
    if data is None or not _TOKEN.fullmatch(data):
        raise LocalError(f"{path} holds no token of the HTTP API; a peer writes one when it starts")
    return data.decode().strip()
