"""The signer's record on disk: what this key signed last, replaced whole before a message leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from p2pfed.errors import StorageFault
from p2pfed.storage.files import read_small, render_json, replace_file


def render_record(record: bytes) -> bytes:
    """Return the content of the file: one spelling for each record."""
    checksum = hashlib.sha256(record).hexdigest()
    return render_json({"version": 1, "record": record.hex(), "checksum": checksum})


def parse_record(data: bytes, where: str) -> bytes:
    """Return the record in the content of the file `where`.

    Raises:
        StorageFault: It is not byte for byte what `render_record` returns.
    """
    try:
        record = bytes.fromhex(json.loads(data)["record"])
    except (ValueError, KeyError, TypeError, RecursionError):
        record = None
    if record is None or render_record(record) != data:
        raise StorageFault(
            f"{where} is damaged, and voting without it could sign twice; put back this very file, "
            "or start with --new-signer once no other process can vote with this key"
        )
    return record


class VoteStateFile:
    """`vote_state.json`. What the record means is `consensus.signer`'s business; here it is bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> bytes | None:
        """Return the record saved last, None where none ever was.

        Raises:
            StorageFault: The file is damaged: not byte for byte what `save` writes.
        """
        data = read_small(self.path)
        return None if data is None else parse_record(data, str(self.path))

    def save(self, record: bytes) -> None:
        """Replace the record; durable on return.

        Raises:
            DiskFull, StorageFault: The old record stands, and nothing may be signed.
        """
        replace_file(self.path, render_record(record), "vote_state")
