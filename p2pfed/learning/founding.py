"""Found a network's model: the learner's first weights, and one training that sets the units of updates."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.learning.client import WorkerClient, WorkerFailed
from p2pfed.learning.learner import LearnerError
from p2pfed.learning.session import Session
from p2pfed.privacy.mechanism import encode_model, initial_exponents
from p2pfed.types.model import Float32Vector, Manifest, ModelState

FOUNDING_HEIGHT = 0  # The seed of the founder's one training; block 1 trains with another.


class Founded(Struct, frozen=True, eq=False):
    """What genesis says of the model: arrays, first state, digest of the public evaluation set."""

    manifest: Manifest
    model: ModelState
    evaluation_root: bytes


async def found_model(worker: WorkerClient, update_bits: int) -> Founded:
    """Return the model that the worker's learner starts from; `update_bits` is `T` of genesis.

    Raises:
        LearnerError: The learner can't be loaded or trained; the worker's one line says why.
    """
    ready = await worker.start()
    if isinstance(ready, WorkerFailed):
        raise LearnerError(ready.reason)
    trained = await worker.train(ready.initial, height=FOUNDING_HEIGHT, train_index=0)
    if isinstance(trained, WorkerFailed):
        raise LearnerError(
            f"the first training failed, so the units of the updates are unknown: {trained.reason}"
        )
    model = first_state(ready.manifest, ready.initial, trained.delta, update_bits)
    return Founded(ready.manifest, model, ready.evaluation_root)


def found_in_process(session: Session, update_bits: int) -> Founded:
    """Return what `found_model` would, of a learner in this process; raises LearnerError."""
    delta = session.train(session.initial, FOUNDING_HEIGHT, 0).delta
    model = first_state(session.manifest, session.initial, delta, update_bits)
    return Founded(session.manifest, model, session.evaluation_root)


def first_state(
    manifest: Manifest, weights: Float32Vector, delta: Float32Vector, update_bits: int
) -> ModelState:
    """Return the model of genesis from the first weights and update, float32 of shape `(d,)` each."""
    update_exponents, model_exponents = initial_exponents(manifest, weights, delta, update_bits)
    model = ModelState(
        encode_model(weights, manifest.groups, model_exponents), update_exponents, model_exponents
    )
    for array in (model.weights, model.update_exponents, model.model_exponents):
        array.setflags(write=False)
    return model
