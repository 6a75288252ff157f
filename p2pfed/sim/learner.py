"""A tiny real learner for each peer: softmax regression on the digits, in the network's integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from msgspec.structs import replace

from p2pfed.adversary.registry import poison_of
from p2pfed.chain.form import parse_codec, payload_form
from p2pfed.chain.gate import watches_pace
from p2pfed.chain.genesis import verify_genesis
from p2pfed.chain.state import ChainState
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.feedback import Feedback, payload_of
from p2pfed.learning.founding import found_in_process
from p2pfed.learning.learner import AppContext, Metrics
from p2pfed.learning.pace import Pace, step_length
from p2pfed.learning.quality import quality_of
from p2pfed.learning.session import Session
from p2pfed.primitives.keys import PrivateKey
from p2pfed.privacy.mechanism import model_view
from p2pfed.sim.scenario import Scenario
from p2pfed.types.genesis import Genesis, Params, Participant, first_model
from p2pfed.types.model import ModelState
from p2pfed.types.params import OUTER_ONE
from p2pfed.types.quality import CLASS_UNKNOWN

GENESIS_TIME_MS = 1_700_000_000_000
UPDATE_BITS = 12
BALANCE = 1_000
# One pass over the data in large steps: about a millisecond, and the model is useful after ten heights.
_PARAMS = {"epochs": "1", "batch": "64", "lr": "0.5", "holdout": "0"}
DATA_SEED = 7  # Not the run's: five hundred schedules share one split and load it once.


class Learners:
    """The learner of each peer, and the network that they found.

    Args:
        make: Returns the learner of a peer: its number, how many there are, how it lies ("": not at all).
        rule, outer: As genesis names them; `outer` is momentum and rate in units of 2^-16.
    """

    def __init__(
        self,
        make: Callable[[int, int, str], Session],
        rule: str = "clip_nnm_trimmed_mean",
        outer: tuple[int, int] = (0, OUTER_ONE),
    ) -> None:
        self.session = lru_cache(maxsize=64)(make)
        self._rule, self._outer = rule, outer
        self._found = lru_cache(maxsize=8)(self._make_model)

    def found(self, keys: tuple[PrivateKey, ...], scenario: Scenario) -> tuple[Genesis, ModelState]:
        """Return the genesis of `keys`, the members' in ascending order, and the first model."""
        founder, model = self._found(sum(place is not None for place in scenario.trainer_places))
        codec_name, one_in = parse_codec(scenario.codec)
        own = (scenario.outer_momentum, scenario.outer_rate)
        outer = self._outer if own == (0, OUTER_ONE) else own
        dealt = zip(keys, scenario.bonds, scenario.member_roles, strict=True)
        genesis = Genesis(
            version=1,
            name="simulation",
            time_ms=GENESIS_TIME_MS,
            transport="memory",
            params=Params(
                scenario.preset,
                scenario.rules or (self._rule,),
                1,
                UPDATE_BITS,
                4,
                scenario.height_first - 1 + scenario.heights,
                update_lag=scenario.update_lag,
                outer_momentum=outer[0],
                outer_rate=outer[1],
                emission=scenario.emission,
                gate_drop=scenario.gate_drop,
                gate_class_drop=scenario.gate_class_drop,
                gate_patience=scenario.gate_patience,
                codec=codec_name,
                codec_one_in=one_in,
                height_first=scenario.height_first,
            ),
            participants=tuple(Participant(key.public, bond, BALANCE, role) for key, bond, role in dealt),
            manifest=founder.manifest,
            model_root=model.root,
            update_exponents=tuple(model.update_exponents.tolist()),
            model_exponents=tuple(model.model_exponents.tolist()),
            evaluation_root=founder.evaluation_root,
        )
        first = first_model(genesis, model.weights)
        genesis = replace(genesis, model_root=first.root)
        verify_genesis(genesis)
        return genesis, first

    def figures(self, peers: int, state: ChainState) -> Metrics:
        """Return what the first peer's learner measures of the model of `state`; nothing without one."""
        if state.model is None:
            return {}
        view = model_view(state.model, state.genesis.manifest.groups)
        return self.session(0, peers, "").evaluate(view, state.height, state.train_index)

    def _make_model(self, peers: int) -> tuple[Session, ModelState]:
        founder = self.session(0, peers, "")
        return founder, found_in_process(founder, UPDATE_BITS).model


def _digits(index: int, peers: int, byzantine: str) -> Session:
    """Return the learner of a peer; it keeps nothing from call to call, so runs may share it.

    That of a liar, as `adversary.registry` spells it, may poison its data.
    """
    context = AppContext(index, peers, "dirichlet:1.0", DATA_SEED, "", _PARAMS | poison_of(byzantine))
    return Session(builtin_learner("digits", "softmax", context), context)


DIGITS = Learners(_digits)


def no_feedback(genesis: Genesis) -> Feedback:
    """Return the feedback of a peer that has sent nothing in this life; production keeps it on disk."""
    form = payload_form(genesis)
    return Feedback.none(genesis.manifest.size if form.has_feedback else 0)


def train(
    learner: Session, state: ChainState, feedback: Feedback, public: bytes
) -> tuple[bytes, int, Feedback]:
    """Return the payload of an honest update from the model of `state`, its examples, and what is left."""
    assert state.model is not None
    groups = state.genesis.manifest.groups
    trained = learner.train(model_view(state.model, groups), state.next_height, state.train_index)
    payload, left = payload_of(
        trained.delta, payload_form(state.genesis), state.model.update_exponents, state.seed, feedback,
        base_height=state.height, last_base=state.ledger.training.last_base(public),
    )  # fmt: skip
    return payload, trained.examples, left


def quality(learner: Session, state: ChainState, pace: Pace) -> tuple[int, bytes] | None:
    """Return what a peer says of the model of `state`: it holds nothing out, so all say the same."""
    assert state.model is not None
    groups, calm = state.genesis.manifest.groups, CLASS_UNKNOWN
    if watches_pace(state) and state.header is not None:
        pace.see(state.height, state.model)
        before = pace.model_of(state.header.model_parent)
        length = None if before is None else step_length(before, state.model, groups)
        calm = pace.calm(length, state.train_index)
    view = model_view(state.model, groups)
    return quality_of(learner.evaluate(view, state.height, state.train_index), calm)
