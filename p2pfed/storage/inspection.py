"""Look at a home that is stopped or damaged: what is there, how large it is, and where it first goes wrong.

Nothing is changed and nothing is replayed: rows are read with their seals, links and roots are compared, and
blobs are looked for, not hashed. `p2pfed verify` does all of that.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from p2pfed.chain.genesis import load_genesis
from p2pfed.consensus.signer import decode_record
from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.ledger.state import decode_ledger
from p2pfed.primitives import codec
from p2pfed.storage import retention
from p2pfed.storage.blob_store import BlobStore
from p2pfed.storage.block_store import BASE
from p2pfed.storage.home import Home
from p2pfed.storage.scan import Problem, Scan
from p2pfed.storage.schema import BLOBS, BLOCKS, LEDGERS, META, PENDING, POLKAS
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.block import Header
from p2pfed.types.params import CONTROL_BYTES_MAX


class Inspection(Struct):
    """What a home holds. Heights are 0 and hashes empty where there is none.

    base, tip: The first and the newest block; base 0: from genesis on.
    states: Heights whose ledger and model are both here: where `rollback` can go.
    payloads: Heights whose payloads are all here.
    snapshots: Heights that a joining peer can be served.
    record: Height, round and step of the signer's record; None: there is none.
    sizes: Bytes of each file and folder.
    problem: The first thing that can't be right, of `problems` in all.
    """

    network: str = ""
    chain: str = ""
    is_running: bool = False
    base: int = 0
    tip: int = 0
    value_id: str = ""
    state_root: str = ""
    model_root: str = ""
    blocks: int = 0
    states: list[int] = []
    payloads: list[int] = []
    snapshots: list[int] = []
    pending: int = 0
    polkas: int = 0
    blobs: int = 0
    record: tuple[int, int, int] | None = None
    sizes: dict[str, int] = {}
    problem: str = ""
    problems: int = 0


def inspect(home: Home) -> Inspection:
    """Return what `home` holds, as far as it can be read; every failure is a problem in the answer."""
    found, problems = Inspection(is_running=home.is_locked()), list[Problem]()
    first = _look_at_files(home, found, problems)
    scan = Scan(home.chain_db, problems)
    try:
        if scan.open():
            _look_at_chain(home, scan, found, first)
    finally:
        scan.close()
    found.problems = len(problems)
    found.problem = str(problems[0]) if problems else ""
    return found


def _look_at_files(home: Home, found: Inspection, problems: list[Problem]) -> int:
    """Read what is beside the chain; return the height of the network's first block."""
    first = 1
    parts = (home.chain_db, home.chain_db.with_name("chain.db-wal"), home.blobs, home.wal, home.logs)
    found.sizes = {path.name: bytes_under(path) for path in parts}
    try:
        genesis = load_genesis(home.genesis.read_bytes())
        found.network, found.chain = genesis.name, genesis.chain_id.hex()
        first = genesis.params.height_first
    except OSError as error:
        problems.append(Problem("the file", home.genesis.name, "a genesis", error.strerror or str(error)))
    except LocalError as error:
        problems.append(Problem("the file", home.genesis.name, "a genesis", str(error)))
    try:
        data = VoteStateFile(home.vote_state).load()
        record = None if data is None else decode_record(data)
        found.record = None if record is None else (record.height, record.round, record.step)
    except (StorageFault, MalformedMessage) as error:
        problems.append(Problem("the file", home.vote_state.name, "a signer's record", str(error)))
    return first


def _look_at_chain(home: Home, scan: Scan, found: Inspection, first: int) -> None:
    meta = {row[0]: row[1] for row in scan.rows(META)}
    found.base = int.from_bytes(meta.get(BASE, b""), "big")
    if found.chain and meta.get("chain_id", b"").hex() != found.chain:
        scan.report("chain id", "meta", found.chain, meta.get("chain_id", b""))
    headers = _look_at_blocks(scan, found, first)
    ledgers = _look_at_ledgers(scan, headers)
    found.pending = sum(1 for _ in scan.rows(PENDING))
    found.polkas = sum(1 for _ in scan.rows(POLKAS))
    _look_at_blobs(home, scan, found, ledgers)


def _look_at_blocks(scan: Scan, found: Inspection, first: int) -> dict[int, Header]:
    """Compare each block with the one before it; return the headers."""
    headers: dict[int, Header] = {}
    expected = max(found.base, first)
    for height, value_id, _, data, *_ in scan.rows(BLOCKS):
        found.blocks += 1
        if height != expected:
            scan.report("blocks are missing", f"blocks {height}", f"height {expected}", height)
        expected = height + 1
        try:
            header = codec.decode(data, Header, CONTROL_BYTES_MAX)
        except MalformedMessage as error:
            scan.report("does not decode", f"blocks {height}: header", "Header", str(error))
            continue
        if header.value_id != value_id:
            scan.report("value id", f"blocks {height}", header.value_id, value_id)
        before = headers.get(height - 1)
        if before is not None and header.prev_header_hash != before.value_id:
            scan.report("the block before", f"blocks {height}", before.value_id, header.prev_header_hash)
        headers[height] = header
        found.tip, found.value_id = height, header.value_id.hex()
        found.state_root, found.model_root = header.state_root.hex(), header.model_root.hex()
    return headers


def _look_at_ledgers(scan: Scan, headers: dict[int, Header]) -> set[int]:
    """Compare each ledger with its header's root; return the heights that have one."""
    heights: set[int] = set()
    for height, data in scan.rows(LEDGERS):
        header = headers.get(height)
        if header is None:
            scan.report("a ledger without its block", f"ledgers {height}", "a block", "none")
            continue
        try:
            root = decode_ledger(data).root
        except MalformedMessage as error:
            scan.report("does not decode", f"ledgers {height}", "a ledger", str(error))
            continue
        if root != header.state_root:
            scan.report("root of the ledger", f"ledgers {height}", header.state_root, root)
        heights.add(height)
    return heights


def _look_at_blobs(home: Home, scan: Scan, found: Inspection, ledgers: set[int]) -> None:
    present = BlobStore(home.blobs)
    found.blobs = len(present.roots())
    held: dict[str, dict[int, bool]] = {"model": {}, "payload": {}}
    for height, kind, root, status in scan.rows(BLOBS):
        if status == "held" and present.size(root) is None:
            scan.report("the blob is missing, not pruned", f"blobs {height}, {kind}", root, "no file")
        if kind in held:
            is_here = status == "held" and present.size(root) is not None
            held[kind][height] = held[kind].get(height, True) and is_here
    found.states = sorted(
        height for height, is_here in held["model"].items() if is_here and height in ledgers
    )
    found.payloads = sorted(height for height, is_here in held["payload"].items() if is_here)
    offered = retention.snapshot_heights(found.tip)
    found.snapshots = [height for height in found.states if height in offered]


def bytes_under(path: Path) -> int:
    """Return the length of a file, or of all files under a folder; 0 where there is none."""
    if path.is_dir():
        return sum(bytes_under(child) for child in path.iterdir())
    try:
        return path.lstat().st_size
    except OSError:
        return 0
