"""The same learners, seeds and kernels in one process, merged by the plain mean: what a network without
robust aggregation would have got.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.adversary.attacks.attack import Attack
from p2pfed.adversary.attacks.crew import Crew
from p2pfed.adversary.attacks.foresight import Foresight
from p2pfed.adversary.registry import is_on_values, make_attack, poison_of
from p2pfed.aggregation.step import OuterStep
from p2pfed.learning.apps import load_learner
from p2pfed.learning.inprocess import InProcessRun, Turn, train_in_process
from p2pfed.learning.learner import AppContext
from p2pfed.learning.session import Session
from p2pfed.runtime.config import LearnerConfig
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Int16Vector, ModelState

LEFT_OUT = ("garbage_payload", "wrong_shape", "withheld_payload", "bad_chunks", "silent")


def train_with_mean(
    genesis: Genesis, model: ModelState, learner: LearnerConfig, byzantine: Sequence[str], heights: int
) -> InProcessRun:
    """Train all peers of a network in this process with the rule `mean`.

    Args:
        genesis: Of the real network: its numbers are used.
        model: Its initial model.
        learner: The learner; each peer gets its own share of the data.
        byzantine: One kind for each of the last peers; "" lets it train honestly. A liar that a real peer
            would refuse by form (wrong shape, withheld) is left out, as the mean never saw it.
        heights: How many turns.
    """
    honest = learner.peers - len(byzantine)
    sending = [(honest + place, kind) for place, kind in enumerate(byzantine) if not _is_left_out(kind)]
    lying = [(index, kind) for index, kind in sending if is_on_values(kind)]
    indices = [*range(honest), *(index for index, _ in sending)]
    poisons = {index: poison_of(kind) for index, kind in lying}
    sessions = [_session(learner, index, poisons.get(index, {})) for index in indices]
    attacks = [make_attack(kind) for _, kind in lying]
    return train_in_process(
        sessions,
        model,
        heights=heights,
        rule="mean",
        faulty_max=0,
        update_bits=genesis.params.update_bits,
        examples_cap=genesis.params.examples_cap,
        outer=OuterStep(genesis.params.outer_momentum, genesis.params.outer_rate),
        liars=[indices.index(index) for index, _ in lying],
        lie=_Lies(genesis, attacks, learner.seed) if attacks else None,
    )


class _Lies:
    """What the liars send, each by its own attack; those of one kind make theirs together."""

    def __init__(self, genesis: Genesis, attacks: Sequence[Attack], seed: int) -> None:
        self._genesis = genesis
        kinds = dict.fromkeys(attack.kind for attack in attacks)
        self._places = [[place for place, one in enumerate(attacks) if one.kind == kind] for kind in kinds]
        self._crews = [Crew([attacks[place] for place in places], seed) for places in self._places]

    def __call__(self, turn: Turn) -> Sequence[Int16Vector]:
        params = self._genesis.params
        foresight = Foresight(self._genesis.manifest, turn.model, ("mean",), 0, params.update_bits)
        said = list(turn.own)
        for places, crew in zip(self._places, self._crews, strict=True):
            own = [turn.own[place] for place in places]
            made = crew.crafted(turn.height, own, turn.honest, foresight, turn.before)
            for place, update in zip(places, made, strict=True):
                said[place] = update
        return said


def _session(learner: LearnerConfig, index: int, poison: dict[str, str]) -> Session:
    context = AppContext(
        index, learner.peers, learner.partition, learner.seed, learner.data_dir, learner.params | poison
    )
    return Session(load_learner(learner.app, context), context)


def _is_left_out(kind: str) -> bool:
    return kind.partition(":")[0] in LEFT_OUT
