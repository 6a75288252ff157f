"""The snapshots that a store holds: nothing is written for them, retention keeps their parts anyway.

A snapshot height is a multiple of SNAPSHOT_INTERVAL whose ledger, block and model are here. The model and its
exponents are the blobs of that height, the body and the ledger are rows of chain.db, so no byte lies twice.
"""

from __future__ import annotations

from p2pfed.chain.snapshot import snapshot_of
from p2pfed.chain.state import decode_ledger
from p2pfed.errors import MalformedMessage, StorageFault
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import CHUNK_BYTES, chunk_hashes, path_of_hashes
from p2pfed.storage import retention
from p2pfed.storage.block_store import BlockStore
from p2pfed.types.genesis import Genesis
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import LEDGER, Snapshot
from p2pfed.types.wire import Chunk


class Snapshots:
    """Manifests of one store, made when somebody asks, and the chunks of their ledgers.

    `chain` is used by the thread that calls: a reader of its own, so that no vote waits for a manifest.
    """

    def __init__(self, chain: BlockStore, genesis: Genesis) -> None:
        self._chain = chain
        self._genesis = genesis
        self._manifests: dict[int, Snapshot] = {}  # By height; no more than retention keeps.
        self._ledger: tuple[bytes, bytes, list[bytes]] | None = (
            None  # The root asked for last, bytes, hashes.
        )

    def manifest(self, height: int) -> Snapshot | None:
        """Return the manifest of `height`, 0: of the newest one; None where its state is not held whole.

        Raises:
            StorageFault: What is stored of it does not decode.
        """
        kept = retention.snapshot_heights(self._chain.height)
        for one in (height,) if height else kept:
            found = self._manifest(one) if one in kept else None
            if found is not None:
                return found
        return None

    def ledger_chunk(self, root: bytes, index: int) -> Chunk | None:
        """Return a chunk of the ledger of a manifest that was given out; None where `root` names none."""
        if self._ledger is None or self._ledger[0] != root:
            height = next(
                (one for one, made in self._manifests.items() if made.part(LEDGER).root == root), None
            )
            data = None if height is None else self._chain.ledger(height)
            if data is None:
                return None
            self._ledger = root, data, chunk_hashes(data)
        _, data, hashes = self._ledger
        if not 0 <= index < len(hashes):
            return None
        start = index * CHUNK_BYTES
        return Chunk(len(hashes), data[start : start + CHUNK_BYTES], path_of_hashes(hashes, index))

    def _manifest(self, height: int) -> Snapshot | None:
        block, data = self._chain.block(height), self._chain.ledger(height)
        if block is None or data is None:
            return None
        header = block.header
        if self._chain.blob_status(height, "model", header.model_root) != "held":
            return None
        if height not in self._manifests:
            try:
                ledger = decode_ledger(data)
            except MalformedMessage as error:
                raise StorageFault(f"the stored ledger of height {height} is damaged: {error}") from None
            validators = ledger.staking.validators_at(height)
            following = ledger.staking.validators_at(height + 1)
            assert validators is not None
            assert following is not None
            light = LightBlock(header, block.commit, validators, following)
            body_bytes = len(codec.encode(block.body))
            self._manifests[height] = snapshot_of(light, data, body_bytes, self._genesis)
            while len(self._manifests) > retention.SNAPSHOTS_KEPT:
                del self._manifests[min(self._manifests)]
        return self._manifests[height]
