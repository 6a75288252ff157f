"""Kill -9 at every named point of every durable write, then look at what is on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import tiny_chain

from p2pfed.consensus.journal import Began, Ended
from p2pfed.errors import UsageError
from p2pfed.storage import crash_points
from p2pfed.storage.audit import audit
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.storage.log import Log
from p2pfed.storage.log_files import FolderFiles
from p2pfed.storage.peers_file import load_peers, save_peers
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.peer import PeerRecord

HEIGHTS = 9  # The payloads of height 1 are pruned at height 9.
LATE_MODEL = 5  # The model of this height comes only after its block.


def records() -> tuple[PeerRecord, ...]:
    chain_id = tiny_chain.genesis().chain_id
    address = ("/ip4/10.0.0.1/tcp/7400",)
    return tuple(
        tiny_chain.signed(PeerRecord(key.public, 1, address, tiny_chain.BLANK), key, chain_id)
        for key in tiny_chain.KEYS
    )


def run_peer(home: Home) -> None:
    """Do every kind of durable write, going on from whatever an earlier run has left."""
    store = tiny_chain.found(home)
    replace_file(home.config, b"heights = 9\n")
    save_peers(home.peers, records())
    signer = VoteStateFile(home.vote_state)
    log = Log(FolderFiles(home.wal), store.chain.chain_id, rotate_bytes=64)
    log.open()
    for step in tiny_chain.steps(HEIGHTS)[store.chain.height :]:
        height = step.block.header.height
        log.append(Began(height, 0, None))
        signer.save(b"record %d" % height)
        log.sync()
        tiny_chain.keep(store, step, with_model=height != LATE_MODEL)
        log.append(Ended(height))
    newest = sorted(home.wal.iterdir())[-1]
    newest.write_bytes(newest.read_bytes() + b"torn")
    assert Log(FolderFiles(home.wal), store.chain.chain_id).open()[1] == 4
    model = tiny_chain.steps(LATE_MODEL)[-1].state.model
    assert model is not None
    store.save_model(model)
    store.close()


def killed_in(home: Home, wish: str, work: Callable[[Home], None]) -> bool:
    """Run `work` in a child that is armed with `wish`; answer whether it was killed."""
    child = os.fork()
    if child == 0:
        crash_points.arm({crash_points.VARIABLE: wish})
        try:
            work(home)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def passings(tmp_path: Path) -> dict[str, int]:
    """Return how often an undisturbed run passes each point."""
    plenty = 1 << 20
    crash_points._armed.update(dict.fromkeys(crash_points.NAMES, plenty))
    try:
        run_peer(Home(tmp_path / "counted"))
        return {name: plenty - left for name, left in crash_points._armed.items()}
    finally:
        crash_points._armed.clear()


def verify_left(home: Home) -> None:
    """Every file left is whole and everything acknowledged is there."""
    if home.vote_state.exists():
        assert VoteStateFile(home.vote_state).load() is not None
    if home.key.exists():
        assert load_key(home.key).public == tiny_chain.KEYS[0].public
    assert load_peers(home.peers, tiny_chain.genesis().chain_id) in ((), records())
    if not home.chain_db.exists() or home.chain_db.stat().st_size == 0:
        return
    store = Store(home, tiny_chain.genesis())
    height, genesis_is_kept = store.chain.height, bool(store.chain.held_roots())
    for step in tiny_chain.steps(height):
        assert store.chain.block(step.block.header.height) == step.block
    store.close()
    signed = VoteStateFile(home.vote_state).load()
    assert signed in (b"record %d" % height, b"record %d" % (height + 1))
    if genesis_is_kept:
        assert audit(home, tiny_chain.genesis()).problems == []


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    return passings(tmp_path_factory.mktemp("passings"))


def test_a_run_passes_every_crash_point(counted: dict[str, int]) -> None:
    assert [name for name, count in counted.items() if count == 0] == []


@pytest.mark.parametrize("name", crash_points.NAMES)
def test_a_peer_killed_at_any_point_goes_on_from_its_disk(
    name: str, counted: dict[str, int], tmp_path: Path
) -> None:
    for passing in sorted({1, counted[name]}):
        home = Home(tmp_path / str(passing))
        assert killed_in(home, f"{name}:{passing}", run_peer)
        verify_left(home)
        run_peer(home)
        report = audit(home, tiny_chain.genesis())
        assert (report.problems, report.heights) == ([], HEIGHTS)
        assert list((home.blobs / "tmp").iterdir()) == []


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    def save_twice(home: Home) -> None:
        signer = VoteStateFile(home.vote_state)
        signer.save(b"first")
        signer.save(b"second")

    for step, kept in (
        ("begin", b"first"),
        ("written", b"first"),
        ("renamed", b"second"),
        ("durable", b"second"),
    ):
        home = Home(tmp_path / step)
        home.create()
        assert killed_in(home, f"vote_state.{step}:2", save_twice)
        assert VoteStateFile(home.vote_state).load() == kept


def test_a_block_is_there_after_its_commit_and_not_before(tmp_path: Path) -> None:
    for step, height in (("begin", 2), ("rows", 2), ("committed", 3)):
        home = Home(tmp_path / step)
        assert killed_in(home, f"block.{step}:3", run_peer)
        store = Store(home, tiny_chain.genesis())
        assert store.chain.height == height
        pending = [header.height for header, _ in store.chain.pending()]
        assert pending == ([] if height == 3 else [3])
        store.close()


@pytest.mark.parametrize("wish", ["blob.rename", "block.rows:0", "block.rows:x", "block.rows:-1", ":3"])
def test_a_crash_point_that_does_not_exist_is_refused_at_the_start(wish: str) -> None:
    with pytest.raises(UsageError):
        crash_points.arm({crash_points.VARIABLE: wish})


def test_a_process_that_locks_its_home_reads_the_wish_for_a_crash(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    program = (
        "import sys\nfrom p2pfed.storage.home import Home\n"
        "from p2pfed.storage.vote_state import VoteStateFile\n"
        "home = Home(sys.argv[1])\nwith home.lock(): VoteStateFile(home.vote_state).save(b'x')"
    )
    environment = {**os.environ, crash_points.VARIABLE: "vote_state.written"}
    done = subprocess.run([sys.executable, "-c", program, str(home.path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert VoteStateFile(home.vote_state).load() is None


def test_nothing_happens_where_nobody_asked(tmp_path: Path) -> None:
    crash_points.arm({})
    for name in crash_points.NAMES:
        crash_points.crashpoint(name)
    with pytest.raises(AssertionError):
        crash_points.crashpoint("blob.rename")
