"""chain.db: final blocks with their certificates, ledgers after them, values voted on, and polkas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.storage import retention
from p2pfed.storage.database import Database, Row
from p2pfed.storage.schema import BLOBS, BLOCKS, LEDGERS, META, PENDING, POLKAS, BlobKind, BlobStatus
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.params import BODY_BYTES_MAX, CONTROL_BYTES_MAX

T = TypeVar("T")

BASE = "base"  # The row of `meta` with the height of the first block, where that is not 1.


def blobs_named_by(block: Block) -> tuple[tuple[BlobKind, bytes], ...]:
    """Return kind and root of every blob that `block` names, ascending, without duplicates."""
    named: set[tuple[BlobKind, bytes]] = {("payload", update.payload_root) for update in block.body.updates}
    named.add(("model", block.header.model_root))
    named.add(("exponents", block.header.exponents_root))
    return tuple(sorted(named))


class BlockStore:
    """The chain on disk. One thread at a time uses it; every change is durable when the call returns.

    All methods may raise StorageFault (damaged rows, read errors); those that write also DiskFull.
    """

    def __init__(self, path: Path, chain_id: bytes | None, *, read_only: bool = False) -> None:
        """Open the chain in `path`, creating it unless `read_only`; `chain_id` None reads whichever it is.

        Raises:
            LocalError: The chain in `path` is another one, or there is none to read.
        """
        read_only = read_only or chain_id is None
        self._database = Database(path, read_only)
        found = self._meta("chain_id")
        if found is None and chain_id is not None and not read_only:
            with self._database.transaction("meta"):
                self._database.insert(META, ("chain_id", chain_id))
            found = chain_id
        if found is None or (chain_id is not None and found != chain_id):
            self._database.close()
            raise LocalError(
                f"{path} holds the chain {found.hex() if found else 'of nobody'}, "
                f"genesis.json founds {chain_id.hex() if chain_id else 'another'}; "
                "use the home that belongs to this genesis"
            )
        self.chain_id: bytes = found
        base = self._meta(BASE)
        self._base = 0 if base is None else int.from_bytes(base, "big")

    def close(self) -> None:
        self._database.close()

    @property
    def height(self) -> int:
        """The last final height, 0 before the first block."""
        tip = self._database.scalar("SELECT max(height) FROM blocks")
        return tip if isinstance(tip, int) else 0

    def save_block(
        self,
        block: Block,
        ledger: bytes,
        is_held: Callable[[bytes], bool],
        oldest_evidence: int = 0,
        polkas: Sequence[PolkaCert] = (),
    ) -> tuple[bytes, ...]:
        """Add the next final block, the ledger after it and what is known of its blobs, in one transaction.

        Pending values up to its height and what retention no longer keeps leave in the same transaction.

        Args:
            block: The block of `height + 1`, or the first one.
            ledger: The ledger's state after it.
            is_held: Answers for a root whether that blob is in the blob store.
            oldest_evidence: Polkas of heights below it convict nobody any more, and leave.
            polkas: What was formed, used or received at this height; those kept before are passed over.

        Returns:
            Roots of blobs that are recorded as pruned now and that no kept height needs: delete their files.
        """
        height = block.header.height
        assert self.height in (0, height - 1), (height, self.height)
        parent = self.header(height - 1)
        assert parent is None or parent.value_id == block.header.prev_header_hash
        with self._database.transaction("block"):
            self._insert_block(block, ledger, is_held)
            for polka in polkas:
                if not self._has_polka(polka):
                    self._insert_polka(polka)
            self._database.delete(PENDING, "height <= ?", (height,))
            self._database.delete(POLKAS, "height < ?", (oldest_evidence,))
            for old in retention.dropped(height):
                if old != self._base:
                    self._database.delete(LEDGERS, "height = ?", (old,))
            return self._prune(height)

    def save_base(
        self,
        block: Block,
        ledger: bytes,
        absent: tuple[tuple[BlobKind, bytes], ...],
        is_held: Callable[[bytes], bool],
    ) -> None:
        """Begin an empty chain with `block` and the ledger after it, in one transaction: it is the base.

        Args:
            block: The final block of a snapshot. There is none before it here.
            ledger: The ledger's state after it; it is kept for ever, as replays begin with it.
            absent: Kind and root of what height 0 names and this store does not have.
            is_held: Answers for a root whether that blob is in the blob store.
        """
        height = block.header.height
        assert self.height == 0
        assert height > 0
        with self._database.transaction("block"):
            self._database.insert(META, (BASE, height.to_bytes(8, "big")))
            self._insert_block(block, ledger, is_held)
            for kind, root in absent:
                if self.blob_status(0, kind, root) is None:
                    self._database.insert(BLOBS, (0, kind, root, "absent"))
        self._base = height

    @property
    def base(self) -> int:
        """The height of the first block here; 0 where the chain is held from genesis on."""
        return self._base

    def _insert_block(self, block: Block, ledger: bytes, is_held: Callable[[bytes], bool]) -> None:
        height = block.header.height
        header, body = codec.encode(block.header), codec.encode(block.body)
        certificate = codec.encode(block.commit)
        row = (height, block.header.value_id, block.header.body_hash, header, body, certificate)
        self._database.insert(BLOCKS, row)
        self._database.insert(LEDGERS, (height, ledger))
        for kind, root in blobs_named_by(block):
            self._database.insert(BLOBS, (height, kind, root, "held" if is_held(root) else "absent"))

    def _prune(self, tip: int) -> tuple[bytes, ...]:
        pruned = [
            row
            for row in self._database.rows(BLOBS, "status = 'held'")
            if not retention.keeps(row[1], row[0], tip)
        ]
        for row in pruned:
            self._set_status(row, "pruned")
        still_held = self.held_roots()
        return tuple(sorted({row[2] for row in pruned} - still_held))

    def _set_status(self, row: Row, status: BlobStatus) -> None:
        self._database.delete(BLOBS, "height = ? AND kind = ? AND root = ?", row[:3])
        self._database.insert(BLOBS, (*row[:3], status))

    def save_genesis_blobs(self, blobs: tuple[tuple[BlobKind, bytes], ...]) -> None:
        """Record that the blobs of genesis (height 0) are held; those recorded before stay."""
        with self._database.transaction("held"):
            for kind, root in blobs:
                if root != EMPTY_ROOT and self.blob_status(0, kind, root) is None:
                    self._database.insert(BLOBS, (0, kind, root, "held"))

    def hold(self, root: bytes) -> None:
        """Record that a blob which was absent has come, at every height that names and still keeps it."""
        tip = self.height
        with self._database.transaction("held"):
            for row in self._database.rows(BLOBS, "root = ? AND status = 'absent'", (root,)):
                if retention.keeps(row[1], row[0], tip):
                    self._set_status(row, "held")

    def blob_status(self, height: int, kind: BlobKind, root: bytes) -> BlobStatus | None:
        """Return what is known of a blob at `height`; None where that height doesn't name it."""
        rows = self._database.rows(BLOBS, "height = ? AND kind = ? AND root = ?", (height, kind, root))
        return rows[0][3] if rows else None

    def held_roots(self) -> frozenset[bytes]:
        """Return the root of every blob that some height needs kept."""
        return frozenset(row[2] for row in self._database.rows(BLOBS, "status = 'held'"))

    def block(self, height: int) -> Block | None:
        """Return the final block of `height`; None where there is none."""
        rows = self._database.rows(BLOCKS, "height = ?", (height,))
        return self._block(rows[0]) if rows else None

    def blocks(self, from_height: int, count: int, bytes_max: int) -> tuple[Block, ...]:
        """Return up to `count` consecutive blocks, at most `bytes_max` in all but at least one."""
        found: list[Block] = []
        size = 0
        for height in range(from_height, from_height + count):
            rows = self._database.rows(BLOCKS, "height = ?", (height,))
            if not rows:
                break
            size += sum(len(column) for column in rows[0][3:])
            if found and size > bytes_max:
                break
            found.append(self._block(rows[0]))
        return tuple(found)

    def header(self, height: int) -> Header | None:
        """Return the header of `height`; None where there is no such block."""
        rows = self._database.rows(BLOCKS, "height = ?", (height,))
        return self._decode(rows[0][3], Header, CONTROL_BYTES_MAX) if rows else None

    def certified(self, height: int) -> tuple[Header, CommitCert] | None:
        """Return the header of `height` and what made it final, not the body; None where there is none."""
        rows = self._database.rows(BLOCKS, "height = ?", (height,))
        if not rows:
            return None
        header = self._decode(rows[0][3], Header, CONTROL_BYTES_MAX)
        return header, self._decode(rows[0][5], CommitCert, CONTROL_BYTES_MAX)

    def height_of(self, value_id: bytes) -> int | None:
        """Return the height at which `value_id` became final; None where it did not."""
        rows = self._database.rows(BLOCKS, "value_id = ?", (value_id,))
        return rows[0][0] if rows else None

    def body_bytes(self, body_hash: bytes) -> bytes | None:
        """Return the canonical body under `body_hash`, of a final or a pending block, for serving it."""
        found: list[bytes] = [row[4] for row in self._database.rows(BLOCKS, "body_hash = ?", (body_hash,), 1)]
        if not found:
            pending = (
                (self._decode(row[2], Header, CONTROL_BYTES_MAX), row[3])
                for row in self._database.rows(PENDING)
            )
            found = [body for header, body in pending if header.body_hash == body_hash]
        return found[0] if found else None

    def ledger(self, height: int) -> bytes | None:
        """Return the ledger's state after `height`; None where it is not kept."""
        rows = self._database.rows(LEDGERS, "height = ?", (height,))
        return rows[0][1] if rows else None

    def ledger_heights(self) -> tuple[int, ...]:
        """Return the heights whose ledger is kept, ascending."""
        return tuple(row[0] for row in self._database.rows(LEDGERS))

    def roots_only_above(self, height: int) -> tuple[bytes, ...]:
        """Return the roots of held blobs that no height up to `height` needs, ascending."""
        held = self._database.rows(BLOBS, "status = 'held'")
        return tuple(sorted({row[2] for row in held} - {row[2] for row in held if row[0] <= height}))

    def roll_back(self, height: int) -> tuple[bytes, ...]:
        """Forget every block above `height`, in one transaction; return the roots that nobody needs any more.

        What retention has pruned of kept heights is recorded as absent: it is wanted again, and not here.
        Pending values stay, for they were voted on; polkas whose validators are not known yet go.
        """
        doomed = self.roots_only_above(height)
        with self._database.transaction("block"):
            for table in (BLOCKS, LEDGERS, BLOBS):
                self._database.delete(table, "height > ?", (height,))
            self._database.delete(POLKAS, "height > ?", (height + 2,))
            for row in self._database.rows(BLOBS, "status = 'pruned'"):
                if retention.keeps(row[1], row[0], height):
                    self._set_status(row, "absent")
        return doomed

    def save_pending(self, header: Header, body: Body) -> None:
        """Keep a value durably before it is voted on (W8); the same one again changes nothing."""
        row = (header.value_id, header.height, codec.encode(header), codec.encode(body))
        if self._database.rows(PENDING, "value_id = ?", (row[0],)) == [row]:
            return
        with self._database.transaction("pending"):
            self._database.delete(PENDING, "value_id = ?", (row[0],))
            self._database.insert(PENDING, row)

    def pending(self) -> tuple[tuple[Header, Body], ...]:
        """Return every value kept that is not final yet, ascending by value id."""
        return tuple(
            (self._decode(row[2], Header, CONTROL_BYTES_MAX), self._decode(row[3], Body, BODY_BYTES_MAX))
            for row in self._database.rows(PENDING)
        )

    def save_polka(self, polka: PolkaCert) -> None:
        """Keep a polka certificate; the first one of each (height, round, value, valid round) stays."""
        if self._has_polka(polka):
            return
        with self._database.transaction("polka"):
            self._insert_polka(polka)

    def _has_polka(self, polka: PolkaCert) -> bool:
        key = (polka.height, polka.round, polka.value_id, polka.valid_round)
        where = "height = ? AND round = ? AND value_id = ? AND valid_round = ?"
        return bool(self._database.rows(POLKAS, where, key))

    def _insert_polka(self, polka: PolkaCert) -> None:
        row = (polka.height, polka.round, polka.value_id, polka.valid_round, codec.encode(polka))
        self._database.insert(POLKAS, row)

    def polkas(self, height: int) -> tuple[PolkaCert, ...]:
        """Return the polka certificates of `height`, ascending by round."""
        rows = self._database.rows(POLKAS, "height = ?", (height,))
        return tuple(self._decode(row[4], PolkaCert, CONTROL_BYTES_MAX) for row in rows)

    def _meta(self, name: str) -> bytes | None:
        rows = self._database.rows(META, "name = ?", (name,))
        return rows[0][1] if rows else None

    def _block(self, row: Row) -> Block:
        return Block(
            header=self._decode(row[3], Header, CONTROL_BYTES_MAX),
            body=self._decode(row[4], Body, BODY_BYTES_MAX),
            commit=self._decode(row[5], CommitCert, CONTROL_BYTES_MAX),
        )

    def _decode(self, data: object, kind: type[T], bytes_max: int) -> T:
        assert isinstance(data, bytes)
        try:
            return codec.decode(data, kind, bytes_max)
        except MalformedMessage as error:
            raise StorageFault(
                f"{self._database.path} holds a {kind.__name__} that no p2pfed wrote: {error}"
            ) from None
