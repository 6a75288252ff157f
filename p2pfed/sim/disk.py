"""A disk in memory that forgets what was not synced: what a real one holds after a crash, at worst."""

from __future__ import annotations

import zlib
from copy import copy

from p2pfed.chain.snapshot import snapshot_of
from p2pfed.chain.state import ChainState, decode_ledger, encode_ledger, genesis_state, restore
from p2pfed.consensus.signer import SignRecord, decode_record, initial_record
from p2pfed.errors import DiskFull
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.sim.log_files import MemoryFiles
from p2pfed.sim.power import PointHook, ignore_point
from p2pfed.storage import retention
from p2pfed.storage.vote_state import parse_record, render_record
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.genesis import Genesis, genesis_exponents_root
from p2pfed.types.light import LightBlock
from p2pfed.types.model import ModelState
from p2pfed.types.params import BODY_BYTES_MAX, CONTROL_BYTES_MAX, PEERS_KNOWN_MAX
from p2pfed.types.peer import PeerRecord
from p2pfed.types.snapshot import Snapshot

_RECORD, _PEERS = "record", "peers"


class Disk:
    """Files by name, as bytes, in the formats of `storage`, so that whatever comes back went through them.

    Writes pass the crash points of production, by their names. A file that was renamed and whose name is not
    synced is there after a crash or isn't; a transaction of the database is there whole or not at all.
    """

    def __init__(self, genesis: Genesis, model: ModelState) -> None:
        self._genesis = genesis
        self._synced: dict[str, bytes] = {}
        self._unsynced: dict[str, bytes] = {}
        self._parsed = (b"", initial_record())  # The bytes of the last record read, and what they say.
        self.log_files = MemoryFiles()
        self._pass_point: PointHook = ignore_point
        self._model_roots = {0: model.root}  # By height, of those that are kept.
        self.height = 0
        self.full_until_ms = 0  # Until then nothing can be written.
        self._save_model(model)

    def watch(self, hook: PointHook) -> None:
        """Call `hook` at every crash point from now on; it may raise PowerCut."""
        self._pass_point = self.log_files.pass_point = hook

    def lose(self) -> None:
        """Lose the power: of what was renamed and not synced, each is there or not; a run repeats it."""
        for name, data in self._unsynced.items():
            if zlib.crc32(data) & 1:
                self._synced[name] = data
        self._unsynced.clear()
        self.log_files.lose()

    def image(self) -> Disk:
        """Return a copy of what is synced now, to be put back later."""
        other = copy(self)
        other._synced, other._unsynced = dict(self._synced), {}
        other._model_roots, other.full_until_ms = dict(self._model_roots), 0
        other.log_files = self.log_files.image()
        return other

    def verify_room(self) -> None:
        """Raise DiskFull where nothing can be written."""
        if self.full_until_ms:
            raise DiskFull(f"no space is left until {self.full_until_ms} ms")

    def wipe(self) -> None:
        """Forget everything, genesis' model too: the disk of a peer that has never run."""
        self._synced.clear()
        self._unsynced.clear()
        self._model_roots.clear()
        self.height = 0

    @property
    def is_empty(self) -> bool:
        """Answer whether there is neither a block nor genesis' model."""
        return self.height == 0 and self.blob(self._genesis.model_root) is None

    def save_record(self, record: SignRecord) -> None:
        self._replace("vote_state", _RECORD, render_record(codec.encode(record)))

    def load_record(self) -> SignRecord:
        data = self._read(_RECORD)
        if data is None:
            return initial_record()
        if data is not self._parsed[0]:
            self._parsed = (data, decode_record(parse_record(data, _RECORD)))
        return self._parsed[1]

    def save_peers(self, records: tuple[PeerRecord, ...]) -> None:
        self._replace("peers", _PEERS, codec.encode(records))

    def load_peers(self) -> tuple[PeerRecord, ...]:
        data = self._read(_PEERS)
        if data is None:
            return ()
        return codec.decode(data, tuple[PeerRecord, ...], PEERS_KNOWN_MAX * CONTROL_BYTES_MAX)

    def put(self, data: bytes) -> bytes:
        """Keep a blob durably and return its root."""
        root = chunk_root(data)
        self.keep(root, data)
        return root

    def keep(self, root: bytes, data: bytes) -> None:
        """Keep a blob durably, whose root is known."""
        if self.blob(root) is None:
            self._replace("blob", _blob(root), data)

    def save_pending(self, body: Body) -> None:
        """Keep the body of a value that is voted on (W8)."""
        data = codec.encode(body)
        root = chunk_root(data)
        if f"pending/{root.hex()}" not in self._synced:
            self._commit("pending", {f"pending/{root.hex()}": b"", _blob(root): data})

    def save_polkas(self, polkas: tuple[PolkaCert, ...]) -> None:
        for polka in polkas:
            name = f"polka/{polka.height}/{polka.round}/{polka.value_id.hex()}/{polka.valid_round}"
            if name not in self._synced:
                self._commit("polka", {name: codec.encode(polka)})

    def polkas(self, height: int) -> tuple[PolkaCert, ...]:
        """Return the polkas kept of a height, ascending by round."""
        kept = [data for name, data in sorted(self._synced.items()) if name.startswith(f"polka/{height}/")]
        found = [codec.decode(data, PolkaCert, CONTROL_BYTES_MAX) for data in kept]
        return tuple(sorted(found, key=lambda polka: polka.round))

    def blob(self, root: bytes) -> bytes | None:
        return self._read(_blob(root))

    def body(self, header: Header) -> Body | None:
        """Return the body of a header that was fetched or built here."""
        data = self.blob(header.body_hash)
        return None if data is None else codec.decode(data, Body, BODY_BYTES_MAX)

    def save_block(self, block: Block, state: ChainState) -> None:
        """Keep the next final block with the state after it, all of it or nothing."""
        assert block.header.height == (self.height or self._genesis.height) + 1
        self._save_block(block, state)

    def _save_block(self, block: Block, state: ChainState) -> None:
        height = block.header.height
        if state.model is not None:
            self._save_model(state.model)
        rows = {
            _blob(block.header.body_hash): codec.encode(block.body),
            f"block/{height}": codec.encode(block),
            f"ledger/{height}": encode_ledger(state.ledger),
        }
        self._commit("block", rows, height)
        self._model_roots[height] = block.header.model_root
        self._prune()

    def save_base(self, block: Block, state: ChainState) -> None:
        """Begin with the block of a snapshot and the state after it."""
        assert self.height == 0
        self._save_block(block, state)

    def snapshot(self, height: int) -> Snapshot | None:
        """Return the manifest of a snapshot as production makes it, and hold its ledger as a blob."""
        kept = retention.snapshot_heights(self.height)
        for one in (height,) if height else kept:
            block, data = self.block(one), self._read(f"ledger/{one}")
            if one not in kept or block is None or data is None or self.blob(block.header.model_root) is None:
                continue
            self._synced[_blob(chunk_root(data))] = data  # Served from its row; nothing is written for it.
            sets = decode_ledger(data).staking
            validators, following = sets.validators_at(one), sets.validators_at(one + 1)
            assert validators is not None
            assert following is not None
            light = LightBlock(block.header, block.commit, validators, following)
            return snapshot_of(light, data, len(codec.encode(block.body)), self._genesis)
        return None

    def light_block(self, height: int) -> LightBlock | None:
        """Return what a light client is told of a block, as far as the newest ledger goes back."""
        block, data = self.block(height), self._read(f"ledger/{self.height}")
        if block is None or data is None:
            return None
        sets = decode_ledger(data).staking
        validators, following = sets.validators_at(height), sets.validators_at(height + 1)
        if validators is None or following is None:
            return None
        return LightBlock(block.header, block.commit, validators, following)

    def save_model(self, model: ModelState) -> None:
        self._save_model(model)

    def load_model(self, root: bytes, exponents_root: bytes) -> ModelState | None:
        weights, exponents = self.blob(root), self.blob(exponents_root)
        if weights is None or exponents is None:
            return None
        return ModelState.from_bytes(weights, exponents, self._genesis.manifest)

    def block(self, height: int) -> Block | None:
        data = self._read(f"block/{height}")
        return None if data is None else codec.decode(data, Block, 2 * BODY_BYTES_MAX)

    def blocks(self, from_height: int, count: int) -> tuple[Block, ...]:
        """Return up to `count` consecutive blocks."""
        found = [
            self.block(height) for height in range(from_height, min(from_height + count, self.height + 1))
        ]
        return tuple(block for block in found if block is not None)

    def recover(self) -> tuple[ChainState, CommitCert | None]:
        """Return the state after the newest block, and its certificate."""
        block = self.block(self.height)
        if block is None:
            model = self.load_model(self._genesis.model_root, genesis_exponents_root(self._genesis))
            return genesis_state(self._genesis, model), None
        ledger = self._read(f"ledger/{self.height}")
        assert ledger is not None
        header = block.header
        model = self.load_model(header.model_root, header.exponents_root)
        return restore(self._genesis, header, ledger, model), block.commit

    def _save_model(self, model: ModelState) -> None:
        for data in (model.weights_bytes(), model.exponents_bytes()):
            self.put(data)

    def _prune(self) -> None:
        """Forget models that production doesn't keep, unless a kept height has the same one."""
        tip = self.height
        old = [height for height in self._model_roots if not retention.keeps("model", height, tip)]
        pruned = [self._model_roots.pop(height) for height in old]
        for root in pruned:
            if root not in self._model_roots.values():
                self._synced.pop(_blob(root), None)
                self._pass_point("blob.deleted")

    def _replace(self, point: str, name: str, data: bytes) -> None:
        """Replace a file as `storage.files.replace_file` does."""
        self._pass_point(f"{point}.begin")
        self.verify_room()
        self._pass_point(f"{point}.written")  # As a temporary file: nobody reads it after a crash.
        self._unsynced[name] = data
        self._pass_point(f"{point}.renamed")
        self._synced[name] = self._unsynced.pop(name)
        self._pass_point(f"{point}.durable")

    def _commit(self, point: str, rows: dict[str, bytes], height: int | None = None) -> None:
        """Add rows in one transaction, and with them a new height."""
        self._pass_point(f"{point}.begin")
        self.verify_room()
        self._pass_point(f"{point}.rows")
        self._synced.update(rows)
        self.height = self.height if height is None else height
        self._pass_point(f"{point}.committed")

    def _read(self, name: str) -> bytes | None:
        return self._unsynced.get(name, self._synced.get(name))


def _blob(root: bytes) -> str:
    return f"blob/{root.hex()}"
