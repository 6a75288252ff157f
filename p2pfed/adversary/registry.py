"""The liars by name: `sign_flip:scale=4`."""

from __future__ import annotations

from difflib import get_close_matches
from math import isfinite, nan

from msgspec import Struct, field

from p2pfed.adversary.alie import Alie
from p2pfed.adversary.amnesiac import Amnesiac
from p2pfed.adversary.availability_liar import AvailabilityLiar
from p2pfed.adversary.base import Adversary, Means
from p2pfed.adversary.censor import Censor
from p2pfed.adversary.flooder import Flooder
from p2pfed.adversary.forger import Forger
from p2pfed.adversary.late_voter import LateVoter
from p2pfed.adversary.malformed import BadChunks, GarbageBytes, GarbagePayload, WithheldPayload, WrongShape
from p2pfed.adversary.mutator import Mutator
from p2pfed.adversary.nil_voter import NilVoter
from p2pfed.adversary.poisoners import HugeNorm, Noise, SignFlip
from p2pfed.adversary.protocol import DoubleVote, EquivocatingProposer, Silent, WrongAggregate
from p2pfed.adversary.replayer import Replayer
from p2pfed.adversary.twins import Twins
from p2pfed.adversary.withholder import Withholder
from p2pfed.errors import UsageError
from p2pfed.node.node import Node
from p2pfed.primitives.keys import PrivateKey


class Kind(Struct, frozen=True):
    """One way to lie and its settings with their defaults."""

    make: type[Adversary]
    settings: dict[str, float] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "sign_flip": Kind(SignFlip, {"scale": 4.0}),
    "alie": Kind(Alie, {"z": 1.5}),
    "noise": Kind(Noise, {"scale": 10.0}),
    "huge_norm": Kind(HugeNorm),
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
