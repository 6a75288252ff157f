"""What came of a network of stopped processes, from their disks and logs, and what was expected of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from p2pfed.cli.reading import tip_of
from p2pfed.learning.apps import load_learner
from p2pfed.learning.learner import ACCURACY_PUBLIC, AppContext
from p2pfed.learning.session import Session
from p2pfed.ledger.state import decode_ledger
from p2pfed.node.facts import BROKEN
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.config import LearnerConfig
from p2pfed.runtime.peer import read_genesis
from p2pfed.sim.earnings import scores_in
from p2pfed.sim.expect import Came, disappointments
from p2pfed.sim.scenario import Scenario
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.storage.store import Store
from p2pfed.types.address import peer_id
from p2pfed.types.block import Block


class Played(Struct, frozen=True):
    """What came of a run.

    heights: Final blocks of each peer, in their order.
    came: What the scenario's expectations are held against, of the honest peer with the most blocks.
    model: The root of the last model on its disk, hexadecimal.
    commit_ms: From when a value is built, before it is signed, to the block on disk, the median over honest
        peers and heights; -1: no log has both.
    seconds: How long the processes ran.
    """

    heights: tuple[int, ...]
    violations: tuple[str, ...]
    came: Came
    model: str
    commit_ms: int
    seconds: float = 0.0


def judge(scenario: Scenario, learner: LearnerConfig, homes: list[Path]) -> Played:
    """Read the stopped homes: one chain and one model on all honest disks, and what is expected of them.

    Args:
        learner: What measures the last model, as any member's would.
        homes: Of all members in their order; the honest ones are the first.
    """
    before, honest = scenario.height_first - 1, homes[: scenario.peers - len(scenario.byzantine)]
    numbers = {load_key(Home(home).key).public: number for number, home in enumerate(homes)}
    heights = tuple(max(0, tip_of(Home(home))[0] - before) for home in homes)
    best = max(honest, key=lambda home: tip_of(Home(home))[0])
    final: dict[int, bytes] = {}
    violations: list[str] = []
    came, model = Came(0, 0.0), ""
    for home in honest:
        if tip_of(Home(home))[0] == 0:
            continue
        with closing(Store(Home(home), read_genesis(Home(home)), read_only=True)) as store:
            blocks = _blocks(store, scenario.height_first)
            for block in blocks:
                at, value_id = block.header.height, block.header.value_id
                if final.setdefault(at, value_id) != value_id:
                    violations.append(f"{home.name}: a fork at height {at}")
            violations += [f"{home.name}: {text}" for text in _wrong_model(store)]
            if home == best:
                came, model = _came(store, blocks, numbers, learner)
    members = {peer_id(key): number for key, number in numbers.items()}
    came = Came(
        max(heights[: len(honest)]), came.accuracy, came.convicted,
        refused=_named(honest, members, "update.refused", "trainer", BROKEN),
        blamed=_named(honest, members, "peer.blamed", "peer"),
        earned=came.earned, returns=came.returns, older=came.older,
    )  # fmt: skip
    innocent = sorted({*came.convicted} & {*range(len(honest))} - {*scenario.faulty})
    violations += [f"peer {number} is honest and was convicted" for number in innocent]
    if not violations:
        violations += disappointments(scenario, came)
    return Played(heights, tuple(violations), came, model, _commit_ms(homes, honest))


def _blocks(store: Store, first: int) -> list[Block]:
    found = (store.chain.block(height) for height in range(first, store.chain.height + 1))
    return [block for block in found if block is not None]


def _wrong_model(store: Store) -> list[str]:
    """Return what is wrong with the newest model of a disk; nothing: it is the one that its block names."""
    header, model = store.chain.header(store.chain.height), store.load_model(store.chain.height)
    if header is None or model is None:
        return ["no model of its last height"]
    if (model.root, model.exponents_root) != (header.model_root, header.exponents_root):
        return ["the model of its last height is not the one that its block names"]
    return []


def _came(
    store: Store, blocks: list[Block], numbers: dict[bytes, int], learner: LearnerConfig
) -> tuple[Came, str]:
    """Return what one disk says of a run, and the root of its last model."""
    data, model = store.chain.ledger(store.chain.height), store.load_model(store.chain.height)
    assert data is not None
    scores: Counter[bytes] = sum(map(scores_in, blocks), Counter())
    headers = [block.header for block in blocks]
    bases = [
        (block.header.height, update.base_height)
        for block in blocks
        if not block.header.is_empty
        for update in block.body.updates
    ]
    came = Came(
        blocks=len(blocks),
        accuracy=0.0 if model is None else _accuracy(store, learner),
        convicted={numbers[entry.key] for entry in decode_ledger(data).slashing.convictions},
        earned={numbers[key]: score for key, score in scores.items()},
        returns=sum(header.model_parent < header.height - 1 for header in headers),
        older=sum(base < height - 1 for height, base in bases),
    )
    return came, "" if model is None else model.root.hex()


def _accuracy(store: Store, learner: LearnerConfig) -> float:
    """Return `acc(public)` of the newest model, measured here: no peer's own word counts."""
    height = store.chain.height
    model, header = store.load_model(height), store.chain.header(height)
    assert model is not None
    assert header is not None
    context = AppContext(0, 1, learner.partition, learner.seed, learner.data_dir, learner.params)
    session = Session(load_learner(learner.app, context), context)
    view = model_view(model, store.genesis.manifest.groups)
    return float(session.evaluate(view, height, header.train_index).get(ACCURACY_PUBLIC, 0.0))


def _named(honest: list[Path], members: dict[str, int], event: str, key: str, reason: str = "") -> set[int]:
    """Return the members whom honest peers' logs name in an event, where a reason is given only with it."""
    entries = [entry for home in honest for entry in _entries(home, event)]
    return {members[entry[key]] for entry in entries if entry[key] in members and reason in entry["reason"]}


def _commit_ms(homes: list[Path], honest: list[Path]) -> int:
    """Return the median time from a proposed value to each honest peer's block, -1 where no log has both."""
    built: dict[str, int] = {}
    for home in homes:
        for entry in _entries(home, "proposal.built"):
            built.setdefault(entry["value_id"], entry["time_ms"])
    times = [
        entry["time_ms"] - built[entry["value_id"]]
        for home in honest
        for entry in _entries(home, "block.committed")
        if not entry["caught_up"] and entry["value_id"] in built
    ]
    return round(median(times)) if times else -1


def _entries(home: Path, event: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of one kind in a peer's log."""
    mark = f'"event": "{event}"'
    for line in (Home(home).logs / "output.log").read_text(encoding="utf-8").splitlines():
        if mark not in line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # The line at which a peer was killed.
        if entry.get("event") == event:
            yield entry
