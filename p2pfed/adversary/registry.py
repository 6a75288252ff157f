"""The liars by name: `sign_flip:scale=4`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from math import isfinite, nan

from msgspec import Struct, field

from p2pfed.adversary.amnesiac import Amnesiac
from p2pfed.adversary.attacks.alie import Alie, OptimalAlie
from p2pfed.adversary.attacks.attack import Attack
from p2pfed.adversary.attacks.backdoor import Backdoor
from p2pfed.adversary.attacks.bounds import BoundHugging, HugeNorm
from p2pfed.adversary.attacks.concentrated import Concentrated
from p2pfed.adversary.attacks.exponent_steering import ExponentSteering
from p2pfed.adversary.attacks.free_rider import FreeNoise, FreeReplay, FreeZero
from p2pfed.adversary.attacks.ipm import Ipm, OptimalIpm
from p2pfed.adversary.attacks.label_flip import LabelFlip
from p2pfed.adversary.attacks.mimic import Mimic
from p2pfed.adversary.attacks.min_max import MinMax, MinSum
from p2pfed.adversary.attacks.noise import Noise
from p2pfed.adversary.attacks.sign_flip import SignFlip
from p2pfed.adversary.attacks.stale_replay import StaleReplay
from p2pfed.adversary.attacks.sybil_clones import SybilClones
from p2pfed.adversary.attacks.tie_crafting import TieCrafting
from p2pfed.adversary.availability_liar import AvailabilityLiar
from p2pfed.adversary.base import Adversary, Means
from p2pfed.adversary.censor import Censor
from p2pfed.adversary.copier import Copier
from p2pfed.adversary.flooder import Flooder
from p2pfed.adversary.forger import Forger
from p2pfed.adversary.late_voter import LateVoter
from p2pfed.adversary.malformed import BadChunks, GarbageBytes, GarbagePayload, WithheldPayload, WrongShape
from p2pfed.adversary.mutator import Mutator
from p2pfed.adversary.nil_voter import NilVoter
from p2pfed.adversary.poisoner import Poisoner, Rusher
from p2pfed.adversary.protocol import DoubleVote, EquivocatingProposer, Silent, WrongAggregate
from p2pfed.adversary.replayer import Replayer
from p2pfed.adversary.twins import Twins
from p2pfed.adversary.withholder import Withholder
from p2pfed.errors import UsageError
from p2pfed.node.node import Node
from p2pfed.primitives.keys import PrivateKey


class Kind(Struct, frozen=True):
    """One way to lie and its settings with their defaults."""

    make: Callable[[Means], Adversary]
    settings: Mapping[str, float] = field(default_factory=dict)


# About values: the laboratory's matrix has these, with every honest update before their eyes.
ATTACKS: dict[str, type[Attack]] = {
    attack.kind: attack
    for attack in (
        SignFlip, Alie, OptimalAlie, Ipm, OptimalIpm, MinMax, MinSum, Mimic, LabelFlip, Backdoor, Noise,
        Concentrated, ExponentSteering, HugeNorm, BoundHugging, TieCrafting, FreeZero, FreeReplay, FreeNoise,
        SybilClones, StaleReplay,
    )
}  # fmt: skip


def _poisoner(attack: type[Attack], means: Means) -> Adversary:
    return (Rusher if attack.waits else Poisoner)(means, attack(means.settings))


KINDS: dict[str, Kind] = {
    **{name: Kind(partial(_poisoner, attack), attack.settings) for name, attack in ATTACKS.items()},
    "garbage_payload": Kind(GarbagePayload),
    "wrong_shape": Kind(WrongShape),
    "withheld_payload": Kind(WithheldPayload),
    "bad_chunks": Kind(BadChunks),
    "garbage_bytes": Kind(GarbageBytes),
    "silent": Kind(Silent),
    "double_vote": Kind(DoubleVote),
    "equivocating_proposer": Kind(EquivocatingProposer),
    "wrong_aggregate": Kind(WrongAggregate),
    "nil_voter": Kind(NilVoter),
    "late_voter": Kind(LateVoter, {"delay_ms": 1_500.0}),
    "amnesiac": Kind(Amnesiac),
    "withholder": Kind(Withholder),
    "availability_liar": Kind(AvailabilityLiar),
    "censor": Kind(Censor),
    "copier": Kind(Copier, {"noise": 0.0}),
    "forger": Kind(Forger),
    "replayer": Kind(Replayer),
    "flooder": Kind(Flooder, {"messages": 2_500.0}),
    "mutator": Kind(Mutator),
    "twins": Kind(Twins),
}


def make_adversary(
    spec: str, node: Node, key: PrivateKey, seed: int, colluders: tuple[bytes, ...]
) -> Adversary:
    """Return the liar that `spec` names around `node`; raises UsageError."""
    name, settings = verify_spec(spec)
    return KINDS[name].make(Means(node, key, seed, colluders, settings))


def make_attack(spec: str) -> Attack:
    """Return a fresh attack on values that `spec` names.

    Raises:
        UsageError: It names none, or one on bytes or the protocol.
    """
    name, settings = verify_spec(spec)
    if name not in ATTACKS:
        raise UsageError(f"{name} is no attack on values; there are {', '.join(ATTACKS)}")
    return ATTACKS[name](settings)


def is_on_values(spec: str) -> bool:
    """Answer whether `spec` names an attack on values."""
    return spec.partition(":")[0] in ATTACKS


def poison_of(spec: str) -> dict[str, str]:
    """Return the settings that tell the learner of a liar to poison its data; none for most kinds."""
    attack = ATTACKS.get(spec.partition(":")[0])
    return {"poison": attack.poison} if attack is not None and attack.poison else {}


def verify_spec(spec: str) -> tuple[str, dict[str, float]]:
    """Return kind and settings of `KIND[:key=value,…]`.

    Raises:
        UsageError: An unknown kind or setting (the nearest is named), or a value that is no number.
    """
    name, _, text = spec.partition(":")
    if name not in KINDS:
        raise UsageError(f"there is no Byzantine kind {name!r}; {_nearest(name, list(KINDS))}")
    settings = dict(KINDS[name].settings)
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in settings:
            known = f"it has {', '.join(settings)}" if settings else "it has none"
            raise UsageError(f"{name} has no setting {key!r}; {known}")
        try:
            settings[key] = float(value)
        except ValueError:
            settings[key] = nan
        if not isfinite(settings[key]):
            raise UsageError(f"{name}:{key} takes a number, not {value!r}")
    return name, settings


def _nearest(name: str, known: list[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
