"""The store of a running peer: chain.db and the blob files together, in the order that survives a crash.

Blobs are durable before the row that names them is; a row says pruned before its file goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from p2pfed.errors import MalformedMessage, StorageFault
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.storage import retention
from p2pfed.storage.blob_store import BlobStore
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.files import REMEDY, disk_errors, read_small, replace_file, verify_free_space
from p2pfed.storage.home import Home
from p2pfed.types.block import Block
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.genesis import Genesis, genesis_exponents_root, model_bytes
from p2pfed.types.model import ModelState
from p2pfed.types.params import BODY_BYTES_MAX
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.wire import RESPONSE_BYTES_MAX

UPDATE_BYTES = 2  # int16.


class Store:
    """Everything final or voted on. One thread at a time uses it; `blobs` alone may be read from several.

    All methods may raise StorageFault; those that write also DiskFull.
    """

    def __init__(self, home: Home, genesis: Genesis, *, read_only: bool = False) -> None:
        """Open the store of `home`, creating it; `read_only` leaves a peer that runs there undisturbed.

        Raises:
            LocalError: It holds another chain, or there is none to read.
        """
        if not read_only:
            home.create()
        self.home = home
        self.genesis = genesis
        self.chain = BlockStore(home.chain_db, genesis.chain_id, read_only=read_only)
        self.blobs = BlobStore(home.blobs)
        self._doomed: list[bytes] = []  # Pruned in chain.db; `clean_up` deletes their files.
        if not read_only:
            # Throws away unfinished blobs but those of a state sync: only the one who writes them may.
            self.blobs.open(self._unfinished_parts())
        self.blobs.height = self.chain.height

    def close(self) -> None:
        self.chain.close()

    def save_genesis(self, model: ModelState, evaluation: bytes | None) -> None:
        """Keep the initial model and the public evaluation set for ever; again is harmless."""
        assert model.root == self.genesis.model_root
        assert evaluation is None or self.genesis.evaluation_root != EMPTY_ROOT
        self.put_model(model)
        named = [("model", model.root), ("exponents", model.exponents_root)]
        if evaluation is not None:
            named.append(("evaluation", self.blobs.put(evaluation)))
            assert named[-1][1] == self.genesis.evaluation_root
        self.chain.save_genesis_blobs(tuple(named))  # type: ignore[arg-type]

    def save_block(
        self,
        block: Block,
        ledger: bytes,
        model: ModelState | None,
        oldest_evidence: int = 0,
        polkas: Sequence[PolkaCert] = (),
    ) -> None:
        """Make the next final block durable with its ledger and model; `clean_up` is due then.

        A `model` of None (catching up) leaves the model of this height out: it is recorded as absent, unless
        its blob is here already. Payloads count as held where their blobs are here. Polkas of heights below
        `oldest_evidence` leave, those of this height come with the block.
        """
        if model is not None:
            assert (model.root, model.exponents_root) == (
                block.header.model_root,
                block.header.exponents_root,
            )
            self.put_model(model)
        assert block.header.height == (self.chain.height or self.genesis.height) + 1
        self.blobs.height = block.header.height
        self._doomed += self.chain.save_block(block, ledger, self.blobs.has, oldest_evidence, polkas)

    def clean_up(self) -> None:
        """Delete the files that retention no longer keeps. Nobody waits for that as for a block."""
        height = self.blobs.height
        while self._doomed:
            # Used at this height: another update has the very same bytes.
            self.blobs.delete_unused(self._doomed.pop(), height - 1)
        if height % retention.LOOSE_HEIGHTS == 0:
            self._delete_loose(height)

    @property
    def wanted_snapshot(self) -> Snapshot | None:
        """Return the snapshot that was being fetched when this peer ended; None where there is none."""
        data = read_small(self.home.sync)
        try:
            return None if data is None else codec.decode(data, Snapshot, RESPONSE_BYTES_MAX)
        except MalformedMessage:
            return None  # Another version's, or damaged: the parts are fetched anew.

    def want_snapshot(self, snapshot: Snapshot | None) -> None:
        """Remember what is being fetched from now on, so that a restart goes on with it; None: nothing."""
        if snapshot is not None:
            replace_file(self.home.sync, codec.encode(snapshot))
            self.blobs.forget_unfinished(part.root for part in snapshot.parts)
        else:
            with disk_errors(f"delete {self.home.sync}"):
                self.home.sync.unlink(missing_ok=True)

    def _unfinished_parts(self) -> tuple[bytes, ...]:
        wanted = self.wanted_snapshot
        return () if wanted is None else tuple(part.root for part in wanted.parts)

    def save_base(self, block: Block, ledger: bytes) -> None:
        """Begin an empty store with the final block of a snapshot, whose model's blobs are here already.

        What came before it is not here and never will be: genesis' model is recorded as absent.
        """
        self.blobs.height = block.header.height
        genesis_blobs = (
            ("model", self.genesis.model_root),
            ("exponents", genesis_exponents_root(self.genesis)),
        )
        self.chain.save_base(block, ledger, genesis_blobs, self.blobs.has)  # type: ignore[arg-type]

    def save_model(self, model: ModelState) -> None:
        """Keep a model that was fetched later, at every height that names it."""
        self.put_model(model)
        self.chain.hold(model.root)
        self.chain.hold(model.exponents_root)

    def load_model(self, height: int) -> ModelState | None:
        """Return the model after `height`; None where it was never fetched or is pruned.

        Raises:
            StorageFault: It should be here and is missing or damaged.
        """
        roots = self._model_roots(height)
        if roots is None:
            return None
        if self.chain.blob_status(height, "model", roots[0]) != "held":
            return None
        weights, exponents = self.blobs.load(roots[0]), self.blobs.load(roots[1])
        if weights is None or exponents is None:
            if self.chain.blob_status(height, "model", roots[0]) != "held":
                return None  # The running peer pruned it while we read.
            missing = roots[0] if weights is None else roots[1]
            raise StorageFault(
                f"the model of height {height} is missing though it was not pruned "
                f"({self.blobs.path(missing)}); {REMEDY}"
            )
        return ModelState.from_bytes(weights, exponents, self.genesis.manifest)

    @contextmanager
    def snapshot(self) -> Iterator[BlockStore]:
        """Read the chain from another thread: a connection of its own, closed at the end."""
        chain = BlockStore(self.home.chain_db, None)
        try:
            yield chain
        finally:
            chain.close()

    def verify_space(self) -> None:
        """Raise DiskFull where less is free than two blocks need; called before each height."""
        verify_free_space(self.home.data, bytes_of_two_blocks(self.genesis))

    def put_model(self, model: ModelState) -> None:
        """Keep the blobs of a model, named by no block yet. Any thread may call it.

        Memory has the newest model, so nobody but who joins or restarts reads it.
        """
        self.blobs.put_as(model.root, model.weights_buffer(), is_read_soon=False)
        self.blobs.put(model.exponents_bytes())

    def _model_roots(self, height: int) -> tuple[bytes, bytes] | None:
        header = self.chain.header(height)
        if header is not None:
            return header.model_root, header.exponents_root
        if height == 0:
            return self.genesis.model_root, genesis_exponents_root(self.genesis)
        return None

    def _delete_loose(self, tip: int) -> None:
        held = self.chain.held_roots()
        for root in self.blobs.roots():
            if root not in held:
                self.blobs.delete_unused(root, tip - retention.LOOSE_HEIGHTS)


def bytes_of_two_blocks(genesis: Genesis) -> int:
    """Return an upper bound of what two heights write: payloads, models, bodies in pending and final rows."""
    size = genesis.manifest.size
    payloads = UPDATE_BYTES * size * len(genesis.participants)
    # A body is written as pending, as final, and both again while SQLite's log is merged.
    return 2 * (payloads + model_bytes(genesis) + 4 * BODY_BYTES_MAX)
