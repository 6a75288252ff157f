"""Check everything that a home has stored, offline: `p2pfed verify`.

Each block is replayed from genesis with nothing but its certificate and body, as a peer does that catches up;
so every hash, root and signature under a header is computed again and none is taken on trust.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from p2pfed.chain.apply import apply_certified
from p2pfed.chain.state import ChainState, genesis_state, restore
from p2pfed.consensus.certificates import verify_commit, verify_polka
from p2pfed.errors import LocalError, MalformedMessage, P2PFedError, StorageFault
from p2pfed.ledger.state import decode_ledger, encode_ledger
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root
from p2pfed.storage import retention
from p2pfed.storage.blob_store import BlobStore
from p2pfed.storage.block_store import BASE, BlockStore, blobs_named_by
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.storage.log import survey
from p2pfed.storage.log_files import FolderFiles
from p2pfed.storage.peers_file import load_peers
from p2pfed.storage.scan import Problem, Row, Scan, shown
from p2pfed.storage.schema import BLOBS, BLOCKS, LEDGERS, META, PENDING, POLKAS
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.storage.wal import wal_problem
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.genesis import Genesis
from p2pfed.types.params import BODY_BYTES_MAX, CONTROL_BYTES_MAX

T = TypeVar("T")
Progress = Callable[[int], None]
BlobName = tuple[int, str, bytes]  # Height, kind, root.


class AuditReport(Struct):
    """What was checked and what can't be right; `heights` counts blocks that hold from the first one on.

    `base` is the height of the snapshot that the store began with, 0: it is held from genesis on.
    """

    base: int = 0
    heights: int = 0
    signatures: int = 0
    blobs: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    state: ChainState | None = None  # After the last block that holds, without its model.

    @property
    def is_sound(self) -> bool:
        return not self.problems


def audit(home: Home, genesis: Genesis, progress: Progress | None = None) -> AuditReport:
    """Check all that `home` stores against `genesis` and report every problem; nothing is changed.

    A peer may run meanwhile: the chain is one consistent view, and a blob that it prunes is asked for again.

    Args:
        home: The home; its genesis.json is `genesis`.
        genesis: The founding record of the network.
        progress: Called with each height that was replayed.
    """
    report = AuditReport()
    if (
        not home.is_locked()
    ):  # A running peer is writing its log; a reader can't tell a torn frame from a new one.
        problem = wal_problem(home.chain_db.with_name(home.chain_db.name + "-wal"))
        if problem:
            report.problems.append(Problem("SQLite's log", "chain.db-wal", "sound frames", problem))
    _audit_small_files(home, genesis, report)
    scan = Scan(home.chain_db, report.problems)
    try:
        if scan.open():
            _Replay(home, genesis, scan, report, progress).run()
    finally:
        scan.close()
    return report


def _audit_small_files(home: Home, genesis: Genesis, report: AuditReport) -> None:
    checks: tuple[tuple[Path, Callable[[], object]], ...] = (
        (home.vote_state, VoteStateFile(home.vote_state).load),
        (home.peers, lambda: load_peers(home.peers, genesis.chain_id)),
        (home.key, lambda: load_key(home.key)),
    )
    for path, load in checks:
        if not path.exists():
            continue
        try:
            load()
        except (StorageFault, LocalError) as error:
            report.problems.append(Problem("the file", path.name, "what was saved", str(error)))
    try:
        damage = survey(FolderFiles(home.wal), genesis.chain_id).damage
    except (StorageFault, LocalError) as error:
        damage = str(error)
    if damage:
        report.problems.append(Problem("the write-ahead log", "data/wal", "whole entries", damage))


class _Replay:
    """One pass over the rows: blocks in order, then what hangs on them."""

    def __init__(
        self, home: Home, genesis: Genesis, scan: Scan, report: AuditReport, progress: Progress | None
    ) -> None:
        self._home = home
        self._genesis = genesis
        self._scan = scan
        self._report = report
        self._progress = progress
        self._ledgers: dict[int, bytes] = {}  # Canonical bytes of each height that retention keeps.
        self._stated: dict[BlobName, str] = {}  # What the rows say of each blob.
        self._named: dict[BlobName, None] = {}  # Every blob that genesis or a block names.
        # Roots are enough here: what they name is checked blob by blob.
        self._state = genesis_state(genesis, None)

    def run(self) -> None:
        self._audit_meta()
        tip = self._audit_blocks()
        self._report.state = self._state
        self._stated = {(row[0], row[1], row[2]): row[3] for row in self._scan.rows(BLOBS)}
        self._audit_ledgers(tip)
        self._audit_pending(tip)
        self._audit_polkas()
        self._audit_blobs(tip)

    def _audit_meta(self) -> None:
        expected = [("chain_id", self._genesis.chain_id)]
        found = list(self._scan.rows(META))
        if found and found[0][0] == BASE:
            self._report.base = int.from_bytes(found.pop(0)[1], "big")
        if found != expected:
            self._scan.report("chain id", "meta", self._genesis.chain_id, [shown(row[1]) for row in found])

    def _audit_blocks(self) -> int:
        """Replay every block; return the height of the last row, replayed or not."""
        base = self._report.base
        tip, is_whole = (base - 1 if base else self._genesis.height), True
        self._named = dict.fromkeys(_named_by_genesis(self._state))
        for row in self._scan.rows(BLOCKS):
            height = row[0]
            if height != tip + 1:
                self._scan.report("blocks are missing", f"blocks {height}", f"height {tip + 1}", height)
                is_whole = False
            tip = height
            block = self._decoded_block(row)
            if block is None:
                is_whole = False
                continue
            self._named.update(dict.fromkeys((height, kind, root) for kind, root in blobs_named_by(block)))
            follow = self._begun if height == base else self._replayed
            is_whole = is_whole and follow(block)
        return tip

    def _begun(self, block: Block) -> bool:
        """Take the state after the first block of a store that began with a snapshot; answer if it holds.

        Its ledger is the one under the block's state root, and the validators that it names signed the block.
        That this block follows from genesis was checked by its headers, which are not kept.
        """
        height = block.header.height
        row = next((row for row in self._scan.rows(LEDGERS) if row[0] == height), None)
        try:
            if row is None:
                raise MalformedMessage("the ledger of the snapshot is missing")
            state = restore(self._genesis, block.header, row[1], None)
            verify_commit(block.commit, state.last_validators, self._genesis.chain_id)
        except P2PFedError as error:
            self._scan.report("the snapshot does not hold", f"blocks {height}", "a valid state", str(error))
            return False
        self._state = state
        self._ledgers[height] = row[1]
        self._count(block)
        return True

    def _decoded_block(self, row: Row) -> Block | None:
        height, value_id, body_hash, *parts = row
        where = f"blocks {height}"
        header = self._decoded(parts[0], Header, CONTROL_BYTES_MAX, f"{where}: header")
        body = self._decoded(parts[1], Body, BODY_BYTES_MAX, f"{where}: body")
        commit = self._decoded(parts[2], CommitCert, CONTROL_BYTES_MAX, f"{where}: certificate")
        if header is None or body is None or commit is None:
            return None
        self._compare(where, "height", header.height, height)
        self._compare(where, "value id", header.value_id, value_id)
        self._compare(where, "body hash", header.body_hash, body_hash)
        return Block(header, body, commit)

    def _replayed(self, block: Block) -> bool:
        """Apply the block to the state; answer whether it holds."""
        height, tip = block.header.height, self._state.next_height
        try:
            self._state = apply_certified(self._state, block)
        except P2PFedError as error:
            self._scan.report("the block does not hold", f"blocks {height}", "a valid block", str(error))
            return False
        assert self._state.height == tip
        self._ledgers[height] = encode_ledger(self._state.ledger)
        for old in retention.dropped(height):
            if old != self._report.base:
                self._ledgers.pop(old, None)
        self._count(block)
        return True

    def _count(self, block: Block) -> None:
        self._report.heights += 1
        self._report.signatures += _signatures_of(block)
        if self._progress is not None:
            self._progress(block.header.height)

    def _audit_ledgers(self, tip: int) -> None:
        found: set[int] = set()
        # Where the model is not here, as after a rollback, the ledger need not be.
        absent = {
            name[0] for name, status in self._stated.items() if (name[1], status) == ("model", "absent")
        }
        for height, data in self._scan.rows(LEDGERS):
            where = f"ledgers {height}"
            found.add(height)
            if height > tip or not self._keeps_ledger(height, tip):
                self._scan.report("a ledger too many", where, f"none (tip {tip})", "a row")
            elif height in self._ledgers:
                self._compare(where, "ledger", self._ledgers[height], data)
            else:
                self._audit_unreplayed_ledger(where, data)
        for height in range(max(self._report.base, self._genesis.params.height_first), tip + 1):
            if self._keeps_ledger(height, tip) and height not in found | absent:
                self._scan.report("a ledger is missing", f"ledgers {height}", "a row", "none")

    def _keeps_ledger(self, height: int, tip: int) -> bool:
        return retention.keeps_model(height, tip) or height == self._report.base > 0

    def _audit_unreplayed_ledger(self, where: str, data: bytes) -> None:
        try:
            decode_ledger(data)
        except MalformedMessage as error:
            self._scan.report("the ledger does not decode", where, "a ledger", str(error))

    def _audit_pending(self, tip: int) -> None:
        for value_id, height, header_bytes, body_bytes in self._scan.rows(PENDING):
            where = f"pending {value_id.hex()}"
            header = self._decoded(header_bytes, Header, CONTROL_BYTES_MAX, f"{where}: header")
            body = self._decoded(body_bytes, Body, BODY_BYTES_MAX, f"{where}: body")
            if height <= tip:
                self._scan.report("a pending value that is decided", where, f"above height {tip}", height)
            if header is not None:
                self._compare(where, "value id", header.value_id, value_id)
                self._compare(where, "height", header.height, height)
                if body is not None:
                    self._compare(where, "body hash", header.body_hash, body.hash())

    def _audit_polkas(self) -> None:
        for height, round_, value_id, valid_round, data in self._scan.rows(POLKAS):
            where = f"polkas {height}, {round_}, {value_id.hex()}, {valid_round}"
            polka = self._decoded(data, PolkaCert, CONTROL_BYTES_MAX, where)
            if polka is None:
                continue
            key = (polka.height, polka.round, polka.value_id, polka.valid_round)
            self._compare(where, "key", key, (height, round_, value_id, valid_round))
            validators = None
            if polka.height <= self._state.height + 2:
                validators = self._state.validators_at(polka.height)
            if validators is None:
                self._scan.report(
                    "no validators known for the polka", where, f"tip {self._state.height}", height
                )
                continue
            try:
                verify_polka(polka, validators, self._genesis.chain_id)
            except P2PFedError as error:
                self._scan.report("the polka does not hold", where, "a quorum", str(error))
            else:
                self._report.signatures += len(polka.signatures)

    def _audit_blobs(self, tip: int) -> None:
        stated = self._stated
        for height, kind, root in sorted(self._named.keys() - stated.keys()):
            if kind == "evaluation":
                continue  # A peer may do without it; once kept it is checked like the others.
            self._scan.report("nothing is recorded of a blob", f"blobs {height}, {kind}", root, "no row")
        for height, kind, root in sorted(stated.keys() - self._named.keys()):
            self._scan.report("a blob that no block names", f"blobs {height}, {kind}", "no row", root)
        store = BlobStore(self._home.blobs)
        present = self._present(store)
        for name, status in sorted(stated.items()):
            height, kind, root = name
            if status == "held" and not retention.keeps(kind, height, tip):
                self._scan.report("kept beyond retention", f"blobs {height}, {kind}", "pruned", root)
            if status == "pruned" and retention.keeps(kind, height, tip):
                self._scan.report("pruned too early", f"blobs {height}, {kind}", "held", root)
            if status == "held" and root not in present and not self._is_pruned_since(name):
                self._scan.report(
                    "the blob is missing, not pruned", f"blobs {height}, {kind}", root, "no file"
                )
        for root in sorted(present):
            self._audit_blob(store, root)

    def _present(self, store: BlobStore) -> frozenset[bytes]:
        roots, strangers = store.listing()
        for path in strangers:
            self._scan.report("a file that is no blob", f"data/blobs/sha256/{path}", "a root", path)
        return frozenset(roots)

    def _audit_blob(self, store: BlobStore, root: bytes) -> None:
        where = f"data/blobs/sha256/{root.hex()[:2]}/{root.hex()}"
        try:
            data = store.path(root).read_bytes()
        except FileNotFoundError:
            return  # Pruned or dropped while we read.
        except OSError as error:
            self._scan.report("the blob can't be read", where, "bytes", str(error))
            return
        found = chunk_root(data)
        if found != root:
            self._scan.report("the blob is damaged", where, root, found)
        self._report.blobs += 1
        self._report.bytes += len(data)

    def _is_pruned_since(self, name: BlobName) -> bool:
        """Answer whether a peer that runs, or ran a moment ago, pruned the blob after our view began."""
        height, kind, root = name
        try:
            now = BlockStore(self._home.chain_db, None)
        except P2PFedError:
            return False  # Damage that the scan has reported.
        try:
            return now.blob_status(height, kind, root) == "pruned"  # type: ignore[arg-type]
        except StorageFault:
            return False
        finally:
            now.close()

    def _decoded(self, data: bytes, kind: type[T], bytes_max: int, where: str) -> T | None:
        try:
            return codec.decode(data, kind, bytes_max)
        except MalformedMessage as error:
            self._scan.report("does not decode", where, kind.__name__, str(error))
            return None

    def _compare(self, where: str, what: str, expected: object, found: object) -> None:
        if expected != found:
            self._scan.report(what, where, expected, found)


def _named_by_genesis(state: ChainState) -> tuple[BlobName, ...]:
    named = [(0, "model", state.model_root), (0, "exponents", state.exponents_root)]
    if state.genesis.evaluation_root != EMPTY_ROOT:
        named.append((0, "evaluation", state.genesis.evaluation_root))
    return tuple(named)


def _signatures_of(block: Block) -> int:
    body = block.body
    last = len(body.last_commit.signatures) if body.last_commit else 0
    signed = len(body.avails) + len(body.updates) + len(body.signed_transactions) + 2 * len(body.evidence)
    return len(block.commit.signatures) + last + signed
