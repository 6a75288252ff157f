"""The write-ahead log of consensus: files in `data/wal`, appended to, rotated, and read once at each start.

Entries wait in memory until `sync`; it makes them durable before this peer's own words leave. What a crash
loses of the rest is what other peers say again (docs/spec/storage.md section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct, field

from p2pfed.consensus.journal import Began, Ended, Entry, decode_entry, encode_entry
from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.primitives import codec
from p2pfed.storage.crash_points import crashpoint
from p2pfed.storage.frames import SYNCED, Frame, encode_frame, frames_behind, read_frames
from p2pfed.storage.log_files import LogFiles

VERSION = 1
ROTATE_BYTES = 10_000_000
HEIGHTS_KEPT = 2  # Besides the one under way.
BUFFER_BYTES_MAX = 64 << 10  # So much waits in memory; more is written, though not yet synced.
_OPENED = "log"  # The first frame of a file: [version, chain id].


class _File(Struct):
    """One file of the log: its frames, how many of its bytes are sound, and how many there are."""

    name: str
    frames: list[Frame]
    sound_bytes: int
    bytes: int
    height: int = 0  # The newest height in it, or in the files before.

    @property
    def is_whole(self) -> bool:
        return bool(self.frames) and self.sound_bytes == self.bytes


class Survey(Struct):
    """What a log holds. `damage` is a sentence where something before its tail is damaged.

    torn_bytes: What follows the last sound frame, of a write that never became durable.
    frames_lost: Sound frames behind the damage; `repair` gives them up.
    """

    files: list[_File] = field(default_factory=list)
    torn_bytes: int = 0
    damage: str = ""
    frames_lost: int = 0

    @property
    def frames(self) -> list[Frame]:
        return [frame for file in self.files for frame in file.frames]

    def entries(self) -> list[tuple[int, Entry]]:
        """Return every entry with its number, in order.

        Raises:
            StorageFault: A frame is sound and holds no entry of ours.
        """
        return [(frame.seq, _entry(frame)) for frame in self.frames if frame.kind not in (_OPENED, SYNCED)]

    def newest(self) -> list[Entry]:
        """Return the entries of the newest engine, and the Ended before them: all that a start asks for."""
        frames = [frame for frame in self.frames if frame.kind not in (_OPENED, SYNCED)]
        begun = [at for at, frame in enumerate(frames) if frame.kind == "began"]
        first = begun[-1] if begun else len(frames)
        ended = [frame for frame in frames[:first] if frame.kind == "ended"][-1:]
        return [_entry(frame) for frame in (*ended, *frames[first:])]


def survey(files: LogFiles, chain_id: bytes) -> Survey:
    """Read the whole log and change nothing.

    Raises:
        LocalError: It is the log of another chain, or of another version.
        StorageFault: It can't be read.
    """
    found, height = Survey(), 0
    for name in files.names():
        data = files.read(name)
        frames, end = read_frames(data)
        before = found.files[-1] if found.files else None
        is_joined = before is None or not before.is_whole or not frames
        if not is_joined and before is not None and frames[0].seq != before.frames[-1].seq + 1:
            frames, end = [], 0  # A file between the two is missing.
        if frames:
            _verify_opening(frames[0], chain_id, name)
            height = max([height, *(_height_begun(frame) for frame in frames if frame.kind == "began")])
        found.files.append(_File(name, frames, end, len(data), height))
    for at, file in enumerate(found.files):
        if file.is_whole:
            continue
        last = max((frame.seq for earlier in found.files[: at + 1] for frame in earlier.frames), default=-1)
        behind = frames_behind(files.read(file.name), file.sound_bytes, last)
        behind += [frame for later in found.files[at + 1 :] for frame in later.frames]
        # A frame that was written after this place had been synced proves that it was whole once.
        if at + 1 < len(found.files) or any(_synced_before(frame) > last + 1 for frame in behind):
            found.damage = (
                f"{files.where(file.name)} is damaged at byte {file.sound_bytes} of {file.bytes}, "
                f"behind entry {last}; {len(behind)} later entries are whole"
            )
            found.frames_lost = len(behind)
        else:
            found.torn_bytes = file.bytes - file.sound_bytes
        break
    return found


class Log:
    """The log of one running peer. `append` costs no I/O; the rest runs where disk work runs."""

    def __init__(self, files: LogFiles, chain_id: bytes, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._files = files
        self._rotate_bytes = rotate_bytes
        self._chain_id = chain_id
        self._buffer = bytearray()
        self._next_seq = 0
        self._synced_seq = 0
        self._height = 0
        self._kept: list[_File] = []
        self._is_dirty = False
        self._is_mark_due = False
        self.syncs = 0

    def open(self) -> tuple[Sequence[Entry], int]:
        """Return `Survey.newest` and how many bytes of a torn tail were cut; the log can be appended to then.

        Raises:
            LocalError: It is the log of another chain.
            StorageFault, DiskFull: It is damaged before its tail, or the disk refuses.
        """
        found = survey(self._files, self._chain_id)
        if found.damage:
            raise StorageFault(
                f"{found.damage}; run `p2pfed repair`: it cuts the log there, "
                "and the peer goes on from vote_state.json"
            )
        entries = found.newest()
        self._kept = found.files
        if self._kept and not self._kept[-1].is_whole:
            self._cut(self._kept[-1])
        frames = found.frames
        self._next_seq = self._synced_seq = frames[-1].seq + 1 if frames else 0
        self._height = self._kept[-1].height if self._kept else 0
        if not self._kept:
            self._begin_file()
        return entries, found.torn_bytes

    def append(self, entry: Entry) -> int:
        """Add an entry and return its number; it is durable after the next `sync`."""
        kind, body = encode_entry(entry)
        if isinstance(entry, Began):
            self._height = entry.height
        if self._is_mark_due:  # Not by itself: a mark is worth no sync.
            self._is_mark_due = False
            self._add(SYNCED, codec.encode(self._synced_seq))
        self._add(kind, body)
        if isinstance(entry, Ended):
            crashpoint("log.ended")
        return self._next_seq - 1

    def sync(self) -> None:
        """Make every entry so far durable (W2); rotate where the file is full.

        Raises:
            DiskFull, StorageFault: They are not, and nothing may be said.
        """
        if not self._buffer and not self._is_dirty:
            return
        crashpoint("log.begin")
        self.flush()
        crashpoint("log.written")
        self._files.sync(self._kept[-1].name)
        self.syncs += 1
        self._is_dirty = False
        crashpoint("log.durable")
        self._synced_seq = self._next_seq
        if self._kept[-1].bytes >= self._rotate_bytes:
            self._begin_file()
            self._drop_old()
        self._is_mark_due = True

    def flush(self) -> None:
        """Hand what waits to the system; not durable."""
        if self._buffer:
            self._files.append(self._kept[-1].name, bytes(self._buffer))
            self._kept[-1].bytes += len(self._buffer)
            self._kept[-1].height = self._height
            self._buffer.clear()
            self._is_dirty = True

    def close(self) -> None:
        """Hand over what still waits; where the disk refuses it is as after a crash."""
        with suppress(StorageFault):
            self.flush()

    @property
    def is_full(self) -> bool:
        """Answer whether so much waits in memory that it should be flushed."""
        return len(self._buffer) >= BUFFER_BYTES_MAX

    def _add(self, kind: str, body: bytes) -> None:
        self._buffer += encode_frame(self._next_seq, kind, body)
        self._next_seq += 1

    def _begin_file(self) -> None:
        """Begin the next file; its first frame says whose log it is. Durable on return."""
        number = int(self._kept[-1].name.split(".")[0]) + 1 if self._kept else 1
        opening = encode_frame(self._next_seq, _OPENED, codec.encode((VERSION, self._chain_id)))
        self._next_seq += 1
        name = f"{number:08d}.log"
        crashpoint("log.rotate")
        self._files.create(name, opening)
        self.syncs += 2
        self._kept.append(_File(name, [], 0, len(opening), self._height))
        self._synced_seq = self._next_seq
        crashpoint("log.rotated")

    def _drop_old(self) -> None:
        """Delete files that hold nothing of the last HEIGHTS_KEPT heights and the one under way."""
        while len(self._kept) > 1 and self._kept[0].height < self._height - HEIGHTS_KEPT:
            self._files.delete(self._kept.pop(0).name)
            crashpoint("log.dropped")

    def _cut(self, file: _File) -> None:
        if file.frames:
            self._files.cut(file.name, file.sound_bytes)
            file.bytes = file.sound_bytes
            crashpoint("log.cut")
        else:  # Not even its opening became durable.
            self._files.delete(file.name)
            self._kept.pop()


def repair(files: LogFiles, chain_id: bytes, *, forget: bool = False) -> tuple[int, int]:
    """Cut the log at its first damage, or `forget` all of it; return how many whole entries and bytes went.

    Raises:
        LocalError: It is the log of another chain, and `forget` is not asked.
        StorageFault, DiskFull: The disk refuses.
    """
    if forget:
        names = files.names()
        frames = [frame for name in names for frame in read_frames(files.read(name))[0]]
        gone = sum(len(files.read(name)) for name in names)
        for name in reversed(names):
            files.delete(name)
        return sum(frame.kind not in (_OPENED, SYNCED) for frame in frames), gone
    found = survey(files, chain_id)
    broken = [at for at, file in enumerate(found.files) if not file.is_whole]
    if not broken:
        return 0, 0
    first, gone = broken[0], 0
    for file in reversed(found.files[first + 1 :]):  # Backwards: a crash leaves no gap that was not there.
        files.delete(file.name)
        gone += file.bytes
    file = found.files[first]
    gone += file.bytes - file.sound_bytes
    if file.frames:
        files.cut(file.name, file.sound_bytes)
    else:
        files.delete(file.name)
    return found.frames_lost, gone


def _verify_opening(frame: Frame, chain_id: bytes, name: str) -> None:
    try:
        if frame.kind != _OPENED:
            raise MalformedMessage(f"its first frame is of kind {frame.kind!r}")
        version, found = codec.decode(frame.body, tuple[int, bytes], 64)
    except MalformedMessage as error:
        raise StorageFault(f"{name} is no file of a log: {error}; run `p2pfed repair --forget-log`") from None
    if version != VERSION:
        raise LocalError(
            f"the log {name} has version {version}, this p2pfed reads {VERSION}; install that one"
        )
    if found != chain_id:
        raise LocalError(
            f"the log {name} is of chain {found.hex()}, genesis.json founds {chain_id.hex()}; "
            "put back the data/wal of this home"
        )


def _entry(frame: Frame) -> Entry:
    try:
        return decode_entry(frame.kind, frame.body)
    except MalformedMessage as error:
        raise StorageFault(
            f"entry {frame.seq} of the log is none that this p2pfed writes: {error}; "
            "run `p2pfed repair --forget-log`"
        ) from None


def _height_begun(frame: Frame) -> int:
    entry = _entry(frame)
    return entry.height if isinstance(entry, Began) else 0


def _synced_before(frame: Frame) -> int:
    if frame.kind != SYNCED:
        return 0
    try:
        return codec.decode(frame.body, int, 16)
    except MalformedMessage:
        return 0
