"""A whole network in this process and in virtual time: nodes, liars and rules of production, no socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from p2pfed.adversary.effects import Boast
from p2pfed.adversary.registry import poison_of, verify_spec
from p2pfed.api.happenings import Block, Callbacks, Reader, UpdateRefused
from p2pfed.chain.state import ChainState
from p2pfed.errors import UsageError
from p2pfed.learning.apps import load_learner, made
from p2pfed.learning.delta import named
from p2pfed.learning.learner import ACCURACY_PUBLIC, CLASS_PREFIX, AppContext, Array, Learner, Metrics
from p2pfed.learning.session import Session
from p2pfed.node.facts import Fact
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.feed import Entry, entry_of
from p2pfed.sim.learner import Learners
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Scenario, verify_scenario
from p2pfed.sim.world import START_MS, World
from p2pfed.types import block as blocks
from p2pfed.types.params import OUTER_ONE, OUTER_RATE_MAX

Factory = Callable[[AppContext], Learner]
PEERS_MAX = 64  # All learners are in this process.


class Simulated(Struct, frozen=True):
    """What came of a simulation.

    blocks: The final blocks of the first honest peer, in order, each with the figures of its model.
    model: The last model: float32 arrays by name.
    refused: Updates that did not count at that peer.
    violations: Laws of agreement that were broken, "" none: see docs/guide/promises.md.
    """

    blocks: tuple[Block, ...]
    model: dict[str, Array]
    refused: tuple[UpdateRefused, ...]
    violations: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """`acc(public)` of the last model, 0.0 where the learner measures none."""
        return float(self.figures.get(ACCURACY_PUBLIC, 0.0))

    @property
    def figures(self) -> Metrics:
        """What the learner measured of the last model."""
        return self.blocks[-1].figures if self.blocks else {}

    def curve(self, figure: str = ACCURACY_PUBLIC) -> tuple[float, ...]:
        """Return a figure of every block that has it, in order."""
        return tuple(float(block.figures[figure]) for block in self.blocks if figure in block.figures)

    def __str__(self) -> str:
        lines = ["height  updates  figures"]
        for block in self.blocks:
            figures = "  ".join(
                f"{name}={value:.4g}"
                for name, value in block.figures.items()
                if not name.startswith(CLASS_PREFIX)  # Ten numbers that only the gate reads.
            )
            lines.append(f"{block.height:>6}  {block.updates:>3}/{block.expected:<3}  {figures}")
        return "\n".join([*lines, *self.violations])


def simulate(
    learner: str | Factory,
    peers: int = 7,
    byzantine: Mapping[str, int] | None = None,
    heights: int = 20,
    *,
    rule: str = "clip_nnm_trimmed_mean",
    outer: tuple[float, float] | None = (0.8, 0.7),
    partition: str = "iid",
    data_dir: str = "",
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    callbacks: Callbacks | None = None,
) -> Simulated:
    """Train `peers` peers together and return what came of it; the same arguments, the same result.

    Every peer is a whole node: it gossips, votes and recomputes each aggregate. It needs no event loop, so it
    works inside one too, as in a notebook. All learners are in this process: an exception of theirs that is
    no LearnerError ends the simulation and shows where.

    Args:
        learner: `digits:mlp`, `my_file.py:learner`, or a function `learner(context)` that returns a Learner
            for the peer `context.index` of `context.peers`.
        peers: How many, 1 to 64.
        byzantine: How many of the last peers lie how: `{"sign_flip": 2}`, `{"alie:z=1.5": 1}`; see
            docs/guide/byzantine.md.
        heights: How many blocks.
        rule: That merges the updates.
        outer: Momentum and rate of the step over heights; None: each step is the aggregate itself.
        partition, data_dir, params: What the learner is told; values of `params` become texts.
        seed: Dice of data split, network and training.
        callbacks: Called with what the first honest peer sees.

    Raises:
        UsageError: A number or name that makes no sense.
        LearnerError: The learner can't be loaded, or its first training fails.
    """
    kinds = _kinds(byzantine or {}, peers)
    scenario = Scenario(peers=peers, heights=heights, byzantine=kinds, seed=seed, is_shared=True)
    if not 1 <= peers <= PEERS_MAX:
        raise UsageError(f"{peers} peers; 1 to {PEERS_MAX} can be simulated here")
    verify_scenario(scenario, "simulate")
    texts = {name: str(value) for name, value in (params or {}).items()}

    def make(index: int, count: int, kind: str) -> Session:
        context = AppContext(index, count, partition, seed, data_dir, texts | poison_of(kind))
        if isinstance(learner, str):
            return Session(load_learner(learner, context), context)
        return Session(made(learner, context, "the learner"), context)

    world = _World(scenario, Learners(make, rule, _outer(outer)), callbacks or Callbacks())
    result = world.run()
    state = world.last
    view = (
        None
        if state is None or state.model is None
        else model_view(state.model, state.genesis.manifest.groups)
    )
    return Simulated(
        blocks=tuple(world.blocks),
        model={} if view is None else named(view, world.genesis.manifest),
        refused=tuple(world.refused),
        violations=result.violations,
    )


class _World(World):
    """A world that shows what its first peer sees."""

    def __init__(self, scenario: Scenario, learners: Learners, callbacks: Callbacks) -> None:
        self.blocks: list[Block] = []
        self.refused: list[UpdateRefused] = []
        self.last: ChainState | None = None
        self._callbacks, self._reader = callbacks, Reader()
        super().__init__(scenario, learners=learners)

    def stored(self, peer: SimPeer, block: blocks.Block, state: ChainState) -> None:
        super().stored(peer, block, state)
        if peer.number == 0:
            self.last = state

    def observed(self, peer: SimPeer, fact: Fact | Boast) -> None:
        super().observed(peer, fact)
        if peer.number != 0 or isinstance(fact, Boast):
            return
        entry = entry_of(fact, START_MS + self.virtual_ms)
        self._tell(entry)
        if entry.event == "block.committed" and self.last is not None:
            figures = self.figures(self.last)
            self._tell(Entry(entry.time_ms, "block.evaluated", {"height": self.last.height, **figures}))

    def _tell(self, entry: Entry) -> None:
        for happening in self._reader.read(entry):
            if isinstance(happening, Block):
                self.blocks.append(happening)
            elif isinstance(happening, UpdateRefused):
                self.refused.append(happening)
            self._callbacks.call(happening)


def _kinds(byzantine: Mapping[str, int], peers: int) -> tuple[str, ...]:
    kinds: list[str] = []
    for kind, number in byzantine.items():
        verify_spec(kind)
        if number < 0:
            raise UsageError(f"{number} peers can't lie; byzantine takes how many do, by kind")
        kinds += [kind] * number
    if len(kinds) >= peers:
        raise UsageError(f"{len(kinds)} of {peers} peers would be Byzantine; somebody must be honest")
    return tuple(kinds)


def _outer(outer: tuple[float, float] | None) -> tuple[int, int]:
    if outer is None:
        return 0, OUTER_ONE
    momentum, rate = (round(part * OUTER_ONE) for part in outer)
    if not (0 <= momentum < OUTER_ONE and 1 <= rate <= OUTER_RATE_MAX):
        raise UsageError(f"outer={outer}: momentum is from 0 to below 1, rate above 0 and at most 16")
    return momentum, rate
