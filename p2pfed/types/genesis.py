"""Genesis: all that a network agrees on before its first block. Its hash is the chain id."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

import msgspec
import numpy as np

from p2pfed.primitives import codec
from p2pfed.primitives.digest import tagged
from p2pfed.types.message import Amount, Digest32, Height, Message, PublicKey, TimeMs
from p2pfed.types.model import Int32Vector, Manifest, ModelState
from p2pfed.types.params import (
    CODEC_ONE_IN_MAX,
    EMISSION_MAX,
    GATE_PATIENCE_MAX,
    HEIGHT_FIRST_MAX,
    OUTER_ONE,
    OUTER_RATE_MAX,
    PARTICIPANTS_MAX,
    UNBONDING_HEIGHTS,
    UNBONDING_MS,
    UPDATE_LAG_MAX,
    UPDATES_MAX,
)
from p2pfed.types.update import CodecName
from p2pfed.types.validators import Power, ValidatorSet, validator_set

TransportName = Literal["tcp", "libp2p", "memory"]
Role = Literal["both", "validator", "trainer"]  # What a bond is for: to vote and train, or one of them.
BOTH: Role = "both"
RuleName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Participant(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An account: it votes and trains with `bond`, or does one of them. `balance` can be moved or bonded.

    In canonical bytes a role of "both" is not spelled: so were networks before there were others.
    """

    key: PublicKey
    bond: Amount
    balance: Amount
    role: Role = BOTH

    @property
    def votes(self) -> bool:
        return self.role != "trainer"

    @property
    def trains(self) -> bool:
        return self.role != "validator"


PARTICIPANT_ALWAYS = 3  # So many fields of a Participant are always spelled.
PARAMS_ALWAYS = 9  # So many fields of Params are always spelled; later ones only up to the last that differs.


class Params(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a network chooses once. Rules are tried in order; the first whose bound holds is used.

    From field PARAMS_ALWAYS on, a field that stands for how networks were before it existed is not spelled
    at the end of the array (`spelled_params`): so a new choice changes no other network's chain id.
    """

    preset: Literal["local", "lan", "wan"]
    rules: Annotated[tuple[RuleName, ...], msgspec.Meta(min_length=1, max_length=8)]
    updates_min: Annotated[int, msgspec.Meta(ge=1, le=UPDATES_MAX)]  # Fewer: the height carries no new model.
    update_bits: Annotated[int, msgspec.Meta(ge=10, le=14)]  # T of numerics section 1.
    examples_cap: Annotated[int, msgspec.Meta(ge=0, le=1024)]  # n_k at most this times the median; 0: no cap.
    height_final: Height  # The network ends here; 0: never.
    # Who takes stake home can lose it for so long after its last vote: until both are over.
    unbonding_ms: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = UNBONDING_MS
    unbonding_heights: Annotated[int, msgspec.Meta(ge=4, le=1 << 32)] = UNBONDING_HEIGHTS
    bond_min: Power = 1  # Less than this neither votes nor trains.
    update_lag: Annotated[int, msgspec.Meta(ge=1, le=UPDATE_LAG_MAX)] = 1  # tau of numerics section 6.
    outer_momentum: Annotated[int, msgspec.Meta(ge=0, lt=OUTER_ONE)] = 0  # Nesterov's, in units of 2^-16.
    outer_rate: Annotated[int, msgspec.Meta(ge=1, le=OUTER_RATE_MAX)] = OUTER_ONE
    emission: Annotated[int, msgspec.Meta(ge=0, le=EMISSION_MAX)] = 0  # The most that a block pays for work.
    codec: CodecName = "int16"  # How updates are spelled …
    codec_one_in: Annotated[int, msgspec.Meta(ge=1, le=CODEC_ONE_IN_MAX)] = 1  # … and how sparse they are.
    height_first: Annotated[int, msgspec.Meta(ge=1, le=HEIGHT_FIRST_MAX)] = 1  # Of the first block.
    # The quality gate, in units of 2^-16: what a model may lose of the best score, and of one class; 0: none.
    gate_drop: Annotated[int, msgspec.Meta(ge=0, lt=OUTER_ONE)] = 0
    gate_class_drop: Annotated[int, msgspec.Meta(ge=0, lt=OUTER_ONE)] = 0
    gate_patience: Annotated[int, msgspec.Meta(ge=1, le=GATE_PATIENCE_MAX)] = 1  # So many in a row.


def spelled_params(params: Params) -> tuple[object, ...]:
    """Return the fields of `params` without the last ones that have their defaults."""
    values, fields = msgspec.structs.astuple(params), msgspec.structs.fields(params)
    count = len(values)
    while count > PARAMS_ALWAYS and values[count - 1] == fields[count - 1].default:
        count -= 1
    return values[:count]


class Genesis(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """The founding record. `chain.genesis` checks it and reads and writes genesis.json."""

    version: Literal[1]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    time_ms: TimeMs
    transport: TransportName
    params: Params
    participants: Annotated[tuple[Participant, ...], msgspec.Meta(min_length=1, max_length=PARTICIPANTS_MAX)]
    manifest: Manifest
    model_root: Digest32
    update_exponents: tuple[Annotated[int, msgspec.Meta(ge=-8, le=30)], ...]
    model_exponents: tuple[Annotated[int, msgspec.Meta(ge=0, le=30)], ...]
    evaluation_root: Digest32  # Chunk root of the public evaluation set, EMPTY_ROOT for none.

    @cached_property
    def chain_id(self) -> bytes:
        return tagged("genesis", encode_genesis(self))

    @cached_property
    def params_hash(self) -> bytes:
        return tagged("params", codec.encode(spelled_params(self.params)))

    @property
    def height(self) -> int:
        """The height that the network is born at: its first block has the next one."""
        return self.params.height_first - 1

    @cached_property
    def validators(self) -> ValidatorSet:
        """Who votes on the first blocks; `verify_genesis` has made sure that somebody does."""
        return validator_set((one.key, one.bond) for one in self.participants if one.bond and one.votes)

    @property
    def trainer_bonds(self) -> tuple[int, ...]:
        """The bond of each who may train for the first block, in ascending order of key."""
        return tuple(one.bond for one in self.participants if one.bond and one.trains)


def encode_genesis(genesis: Genesis) -> bytes:
    """Return the canonical bytes of a genesis."""
    values = dict(zip(genesis.__struct_fields__, msgspec.structs.astuple(genesis), strict=True))
    values["params"] = spelled_params(genesis.params)
    values["participants"] = [_spelled_participant(one) for one in genesis.participants]
    return codec.encode(list(values.values()))


def _spelled_participant(participant: Participant) -> tuple[object, ...]:
    values = msgspec.structs.astuple(participant)
    return values[:-1] if participant.role == BOTH else values


def exponent_bytes(genesis: Genesis) -> int:
    """Return how many bytes the exponents of a height have: e, m and the older e of each group."""
    return (1 + genesis.params.update_lag) * len(genesis.manifest.groups)


def model_bytes(genesis: Genesis) -> int:
    """Return how many bytes the model of a height has: its weights, and with momentum its velocity."""
    return 4 * genesis.manifest.size * (2 if genesis.params.outer_momentum else 1)


def genesis_exponents_root(genesis: Genesis) -> bytes:
    """Return the root of the exponents that genesis starts with."""
    return first_model(genesis, np.zeros(0, np.int32)).exponents_root


def first_model(genesis: Genesis, weights: Int32Vector) -> ModelState:
    """Return the model before the first block: its exponents are those of genesis, it stands still."""
    update = np.array(genesis.update_exponents, np.int8)
    past = np.tile(update, (genesis.params.update_lag - 1, 1))
    velocity = np.zeros(weights.size if genesis.params.outer_momentum else 0, np.int32)
    return ModelState(weights, update, np.array(genesis.model_exponents, np.int8), past, velocity)
