"""How a network is born: the learner names its model, genesis binds all, a home is written for each peer."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from p2pfed.chain.genesis import dump_genesis, verify_genesis
from p2pfed.consensus.signer import initial_record
from p2pfed.learning.founding import found_model
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.config import Config, LearnerConfig, dump_config
from p2pfed.runtime.peer import make_worker
from p2pfed.storage.api_token import ready_token
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import save_key
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.genesis import Genesis, Params, Participant, TransportName, first_model
from p2pfed.types.model import ModelState


def share_of(participants: Sequence[Participant], own: bytes) -> tuple[int, int]:
    """Return the place of a member among those who train, by the order of keys, and how many they are.

    That is its share of data that ships. Who only votes looks at the public part, and is given the first.
    """
    trainers = sorted(participant.key for participant in participants if participant.trains)
    return trainers.index(own) if own in trainers else 0, max(1, len(trainers))


async def found_network(
    learner: LearnerConfig,
    participants: Sequence[Participant],
    *,
    name: str,
    time_ms: int,
    transport: TransportName,
    params: Params,
) -> tuple[Genesis, ModelState]:
    """Return genesis and the initial model, from one call of the learner's `weights()` and one training.

    Raises:
        LearnerError: The learner can't be loaded or trained.
        LocalError: No network can start from this; names the two values that disagree.
    """
    worker = make_worker(learner)
    try:
        founded = await found_model(worker, params.update_bits)
    finally:
        await worker.close()
    model = founded.model
    genesis = Genesis(
        version=1,
        name=name,
        time_ms=time_ms,
        transport=transport,
        params=params,
        participants=tuple(sorted(participants, key=lambda participant: participant.key)),
        manifest=founded.manifest,
        model_root=model.root,
        update_exponents=tuple(model.update_exponents.tolist()),
        model_exponents=tuple(model.model_exponents.tolist()),
        evaluation_root=founded.evaluation_root,
    )
    first = first_model(genesis, model.weights)
    genesis = replace(genesis, model_root=first.root)
    verify_genesis(genesis)
    return genesis, first


def write_home(
    home: Home, genesis: Genesis, model: ModelState | None, config: Config, key: PrivateKey | None
) -> None:
    """Write all that a peer needs to start; the genesis last, so that a half-written home is none.

    Args:
        home: Where; its key.json stays where `key` is None.
        genesis: The network.
        model: Its initial model; None: the peer fetches that, or a later state, when it starts.
        config: The peer's settings.
        key: The peer's key, None where `keys new` made one before.

    Raises:
        LocalError: There is another key.
        StorageFault: The disk refuses.
    """
    home.create()
    if key is not None:
        save_key(home.key, key)
    replace_file(home.config, dump_config(config).encode())
    vote_state = VoteStateFile(home.vote_state)
    if vote_state.load() is None:  # What a key has signed is never forgotten, also where all else was lost.
        vote_state.save(codec.encode(initial_record()))
    ready_token(home.api_token)
    if model is not None:
        store = Store(home, genesis)
        try:
            store.save_genesis(model, None)
        finally:
            store.close()
    replace_file(home.genesis, dump_genesis(genesis).encode(), "genesis")
