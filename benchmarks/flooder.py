"""The flooder of `floods.py`, a process of its own: it encodes a flood and writes it to each peer until cut.

    python benchmarks/flooder.py KIND HOME HEIGHT SECONDS HOST:PORT…

HOME has the key and the genesis, HEIGHT is about what the network works on. Each pipe is opened again as soon
as its peer takes it. Prints a line of JSON a flood: which peer, after how many ms it was cut, how many bytes
were written.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from p2pfed.net.limits import PROTOCOL_VERSION
from p2pfed.net.tcp.certificate import dialer_context
from p2pfed.net.tcp.frames import HEADER_BYTES, Kind, frame
from p2pfed.net.tcp.hello import Hello, Transcript, check_hello, prove
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.types.certificate import CommitCert
from p2pfed.types.message import SignedMessage
from p2pfed.types.params import ROUNDS_AHEAD_MAX, VALIDATORS_MAX
from p2pfed.types.peer import PeerRecord
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import PeerRecords

FLOOD_MESSAGES = 4_000
WRITE_BYTES = 64 * 1024
PAUSE_S = 0.05  # Between two dials of a banned key; `dials` makes none.
IDENTITIES = 1_000
ALIVE_S = 0.5
KINDS = ("duplicates", "valid", "certificates", "garbage", "dials", "identities", "idle")


class Flooder:
    """One key, its flood, and pipes to everybody."""

    def __init__(self, kind: str, home: Home, height: int, until: float) -> None:
        self.kind, self.until = kind, until
        self.key: PrivateKey = load_key(home.key)
        genesis = read_genesis(home)
        self.chain_id = genesis.chain_id
        keys = sorted(participant.key for participant in genesis.participants)
        self.index = keys.index(self.key.public)
        self.process, self.dials = secrets.token_bytes(16), 0
        messages = list(self.messages(height))
        self.mean_bytes = sum(map(len, messages)) / len(messages) + HEADER_BYTES
        whole = b"".join(frame(Kind.CONTROL, message) for message in messages)
        self.writes = [whole[start : start + WRITE_BYTES] for start in range(0, len(whole), WRITE_BYTES)]

    def signed(self, message: SignedMessage) -> bytes:
        fields = [getattr(message, name) for name in message.__struct_fields__[:-1]]
        return codec.encode(type(message)(*fields, self.key.sign(message.digest(self.chain_id))))

    def messages(self, height: int) -> Iterator[bytes]:
        """Yield the flood; of `valid` no two are alike."""
        dice = random.Random(7)
        vote = self.signed(Prevote(height, 0, None, -1, self.index, bytes(64)))
        for number in range(FLOOD_MESSAGES):
            at, round_ = height + number % 40, number % ROUNDS_AHEAD_MAX
            value = dice.randbytes(32)
            if self.kind == "garbage":
                yield dice.randbytes(200)
            elif self.kind == "certificates":
                yield codec.encode(CommitCert(at, round_, value, b"\xff" * 50, (value * 2,) * VALIDATORS_MAX))
            elif self.kind == "valid" and number % 3 == 0:
                record = PeerRecord(self.key.public, (time.time_ns() // 1_000_000) + number, (), bytes(64))
                signed = type(record)(
                    record.key, record.sequence, (), self.key.sign(record.digest(self.chain_id))
                )
                yield codec.encode(PeerRecords((signed,)))
            elif self.kind == "valid" and number % 3 == 1:
                yield self.signed(Prevote(at, round_, value, -1, self.index, bytes(64)))
            elif self.kind == "valid":
                yield self.signed(Precommit(at, round_, value, self.index, bytes(64)))
            else:
                yield vote

    def flood(self, name: str) -> None:
        """Open pipes to one peer, one after the other, and write to each until it is cut."""
        host, _, port = name.rpartition(":")
        while time.monotonic() < self.until:
            try:
                pipe = self.open(host, int(port))
            except (OSError, struct.error):
                time.sleep(0 if self.kind == "dials" else PAUSE_S)
                continue
            if self.kind == "dials":
                pipe.close()
                continue
            if self.kind == "idle":
                self.stay(pipe)
                continue
            began, sent = time.monotonic(), 0
            try:
                while time.monotonic() < self.until:
                    for data in self.writes:
                        pipe.sendall(data)
                        sent += len(data)
            except OSError:
                pass
            is_cut = time.monotonic() < self.until
            cut_ms = round((time.monotonic() - began) * 1000) if is_cut else None
            row = {"peer": name, "cut_ms": cut_ms, "bytes": sent, "messages": round(sent / self.mean_bytes)}
            sys.stdout.write(json.dumps(row) + "\n")  # In one go: peers share the pipe.
            sys.stdout.flush()
            pipe.close()

    def crowd(self, name: str) -> None:
        """Open pipes of a thousand keys that nobody knows, over and over; each is held until it is closed."""
        host, _, port = name.rpartition(":")
        keys = [PrivateKey(secrets.token_bytes(32)) for _ in range(IDENTITIES)]
        held: dict[int, ssl.SSLSocket] = {}
        opened = number = 0
        while time.monotonic() < self.until:
            number = (number + 1) % IDENTITIES
            try:
                held[number] = self.open(host, int(port), keys[number])
                opened += 1
            except (OSError, struct.error):
                time.sleep(PAUSE_S / 10)
        sys.stdout.write(json.dumps({"peer": name, "cut_ms": None, "bytes": 0, "messages": opened}) + "\n")

    def stay(self, pipe: ssl.SSLSocket) -> None:
        """Keep a pipe open and say nothing: what a member costs that is there and does not work."""
        with suppress(OSError):
            while time.monotonic() < self.until:
                pipe.sendall(frame(Kind.ALIVE))
                time.sleep(ALIVE_S)

    def open(self, host: str, port: int, key: PrivateKey | None = None) -> ssl.SSLSocket:
        """Return a pipe that has said hello."""
        key = key or self.key
        raw = socket.create_connection((host, port), 5)
        pipe = dialer_context().wrap_socket(raw, server_hostname="p2pfed")
        pipe.settimeout(20)
        self.dials += 1
        nonce = secrets.token_bytes(32)
        ours = Hello(PROTOCOL_VERSION, self.chain_id, key.public, nonce, self.process, self.dials)
        pipe.sendall(frame(Kind.HELLO, codec.encode(ours)))
        theirs = check_hello(_receive(pipe, Kind.HELLO), ours, None, host)
        certificate = sha256(pipe.getpeercert(binary_form=True) or b"")
        said = Transcript("dialer", ours, theirs, certificate)
        pipe.sendall(frame(Kind.PROOF, prove(key, said)))
        _receive(pipe, Kind.PROOF)
        return pipe


def _receive(pipe: ssl.SSLSocket, kind: Kind) -> bytes:
    """Return what the next frame carries; OSError where it is another: a goodbye."""
    header = pipe.recv(HEADER_BYTES)
    number, _, length = struct.unpack(">BII", header)
    if number != kind:
        raise ConnectionRefusedError(pipe.recv(length).decode("ascii", "replace"))
    return pipe.recv(length)


def main() -> None:
    kind, home, height, seconds, *names = sys.argv[1:]
    flooder = Flooder(kind, Home(Path(home)), int(height), time.monotonic() + float(seconds))
    flooder.until = time.monotonic() + float(seconds)  # What was encoded before does not count.
    work = flooder.crowd if kind == "identities" else flooder.flood
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
