"""The learner's place in a peer: train from the newest model, quantise, keep the payload, tell the node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from p2pfed.chain.form import payload_form
from p2pfed.chain.gate import is_gated, watches_classes, watches_pace
from p2pfed.chain.state import ChainState
from p2pfed.errors import LocalError
from p2pfed.learning.client import LearnerWorker, WorkerFailed
from p2pfed.learning.delta import misfit
from p2pfed.learning.feedback import Feedback, payload_of
from p2pfed.learning.learner import Metrics
from p2pfed.learning.pace import Pace, step_length
from p2pfed.learning.quality import quality_of
from p2pfed.node.effects import Train
from p2pfed.node.events import Event, Trained, TrainingFailed
from p2pfed.primitives.merkle import chunk_hashes, root_of_hashes
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.fresh import Fresh
from p2pfed.storage.files import read_small, replace_file
from p2pfed.storage.store import Store
from p2pfed.types.model import Float32Vector, ModelState
from p2pfed.types.quality import CLASS_UNKNOWN


class Trainer:
    """Trains one height at a time; a newer height cancels an older one that nobody waits for any more."""

    def __init__(
        self,
        worker: LearnerWorker,
        store: Store,
        bulk: Executor,
        put: Callable[[Event], None],
        fresh: Fresh,
        public: bytes,
    ) -> None:
        """Begin with what earlier lives left in the home of `public`, this peer's key."""
        self._form, self._public = payload_form(store.genesis), public
        size = store.genesis.manifest.size if self._form.has_feedback else 0
        data = read_small(store.home.feedback, Feedback.file_bytes(size)) if size else None
        self._feedback = Feedback.from_bytes(data or b"", size)
        self._worker = worker
        self._is_fit = False  # Once its arrays were found to be those of genesis.
        self._store = store
        self._bulk = bulk
        self._put = put
        self._fresh = fresh
        self._training: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._seen: tuple[ModelState, asyncio.Future[Float32Vector]] | None = None
        self.last_ms = 0  # How long the last training took.
        self.state = "starting"  # One clause for `status`.

    def train(self, effect: Train, tasks: asyncio.TaskGroup) -> None:
        """Start to train; the answer is an event."""
        if self._training is not None:
            self._training.cancel()
        self._training = tasks.create_task(self._train(effect), name=f"train-{effect.base_height}")

    async def _train(self, effect: Train) -> None:
        state, loop = effect.state, asyncio.get_running_loop()
        assert state.model is not None
        model = state.model
        if watches_classes(state):
            self._pace.see(state.height, model)
        started = loop.time()
        self.state = f"training for height {state.next_height}"
        refusal = await self._refusal()
        if refusal:
            self._fail(effect, refusal)
            return
        view = await self._view(state)
        trained = await self._worker.train(view, height=state.next_height, train_index=state.train_index)
        self.last_ms = int((loop.time() - started) * 1000)
        if isinstance(trained, WorkerFailed):
            self._fail(effect, trained.reason)
            return
        try:
            payload, feedback = await asyncio.to_thread(
                payload_of,
                trained.delta,
                self._form,
                model.update_exponents,
                state.seed,
                self._feedback,
                base_height=state.height,
                last_base=state.ledger.training.last_base(self._public),
            )
        except LocalError as error:
            self._fail(effect, str(error))
            return

        def keep() -> bytes:
            """Make durable what is left before what is sent: the other way round it could be lost."""
            if feedback is not self._feedback:
                replace_file(self._store.home.feedback, feedback.to_bytes())
            hashes = chunk_hashes(payload)
            root = root_of_hashes(hashes)
            is_held = self._fresh.holds(len(payload), len(self._store.genesis.participants))
            self._store.blobs.put_as(root, payload, hashes, is_read_soon=not is_held)
            self._fresh.keep(root, payload, hashes)
            return root

        root = await loop.run_in_executor(self._bulk, keep)
        self._feedback = feedback
        self.state = f"trained for height {state.next_height} in {self.last_ms} ms"
        self._put(Trained(effect.base_height, root, len(payload), trained.examples))

    def _fail(self, effect: Train, reason: str) -> None:
        self.state = f"no update for height {effect.state.next_height}: {reason}"
        self._put(TrainingFailed(effect.base_height, reason))

    async def _refusal(self) -> str:
        """Return why this learner can't train the network's model, "" where it can."""
        if self._is_fit:
            return ""
        ready = await self._worker.start()
        if isinstance(ready, WorkerFailed):
            return ready.reason
        difference = misfit(ready.manifest, self._store.genesis.manifest)
        if difference:
            return f"{difference}; start this peer with the --app that the network was founded with"
        self._is_fit = True
        return ""

    async def evaluate(self, state: ChainState) -> Metrics:
        """Return the learner's figures of the model of `state`; none where it failed."""
        assert state.model is not None
        if await self._refusal():
            return {}
        view = await self._view(state)
        figures = await self._worker.evaluate(view, height=state.height, train_index=state.train_index)
        return {} if isinstance(figures, WorkerFailed) else figures

    async def word(self, state: ChainState, figures: Metrics) -> tuple[int, bytes] | None:
        """Return this peer's word on the new model of `state`; None where nobody asks or it has no figure."""
        if not is_gated(state):
            return None
        calm = CLASS_UNKNOWN
        if watches_pace(state):
            header, model, groups = state.header, state.model, state.genesis.manifest.groups
            assert header is not None
            assert model is not None
            self._pace.see(state.height, model)
            before = self._pace.model_of(header.model_parent)
            length = None if before is None else await asyncio.to_thread(step_length, before, model, groups)
            calm = self._pace.calm(length, state.train_index)
        return quality_of(figures, calm)

    async def _view(self, state: ChainState) -> Float32Vector:
        """Return what the learner sees of the model of `state`: made once for both turns."""
        model = state.model
        assert model is not None
        if self._seen is None or self._seen[0] is not model:
            making = asyncio.to_thread(model_view, model, state.genesis.manifest.groups)
            self._seen = model, asyncio.ensure_future(making)
        return await asyncio.shield(self._seen[1])  # One of both may be cancelled.

    async def close(self) -> None:
        await self._worker.close()
