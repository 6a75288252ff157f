"""A learner in a thread of this process, for programs and notebooks that hold its objects in their hands.

A learner in a process of its own (`client.WorkerClient`) is safer: what hangs there is killed, what leaks is
its own memory. Here nothing can be killed, so a learner that hangs is waited for no longer and left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from p2pfed.learning.apps import made
from p2pfed.learning.client import TURN_TIMEOUT_MS, WorkerFailed, WorkerReady
from p2pfed.learning.learner import AppContext, Learner, Metrics
from p2pfed.learning.pipe import (
    EvaluateReply,
    EvaluateRequest,
    Failure,
    Hello,
    Ready,
    Reply,
    Request,
    TrainReply,
    TrainRequest,
)
from p2pfed.learning.session import Trained
from p2pfed.learning.worker import Worker
from p2pfed.types.model import Float32Vector

_NO_VECTOR = np.empty(0, np.float32)


class ThreadWorker:
    """Answers as a WorkerClient does: with a result or a WorkerFailed, never an exception of the learner's.

    Args:
        learner: A Learner, or a function of the context that returns one.
        context: What the function is told.
        turn_timeout_ms: So long one call is waited for.
    """

    def __init__(
        self,
        learner: Learner | Callable[[AppContext], Learner],
        context: AppContext,
        *,
        turn_timeout_ms: int = TURN_TIMEOUT_MS,
    ) -> None:
        self._worker = Worker(lambda _, app: made(learner, app, "the learner"))
        self._hello = Hello("program", context.index, context.peers, context.partition, context.seed,
                            context.data_dir, dict(context.params), 0)  # fmt: skip
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="learner")
        self._timeout_ms = turn_timeout_ms
        self._ready: WorkerReady | None = None
        self._running: asyncio.Future[tuple[Reply, Float32Vector]] | None = None

    async def start(self) -> WorkerReady | WorkerFailed:
        """Load the learner, once, and return what it is."""
        if self._ready is None:
            reply, initial = await self._ask(self._hello, _NO_VECTOR)
            if not isinstance(reply, Ready):
                return _failed(reply)
            self._ready = WorkerReady(reply.manifest, initial, reply.evaluation_root)
        return self._ready

    async def train(self, view: Float32Vector, *, height: int, train_index: int) -> Trained | WorkerFailed:
        """Train from `view`, float32 of shape `(d,)`; the result holds the float32 difference to it."""
        reply, delta = await self._ask(TrainRequest(height, train_index), view)
        return (
            Trained(delta, reply.examples, reply.metrics) if isinstance(reply, TrainReply) else _failed(reply)
        )

    async def evaluate(self, view: Float32Vector, *, height: int, train_index: int) -> Metrics | WorkerFailed:
        """Return the learner's figures for `view`, float32 of shape `(d,)`."""
        reply, _ = await self._ask(EvaluateRequest(height, train_index), view)
        return reply.metrics if isinstance(reply, EvaluateReply) else _failed(reply)

    async def close(self) -> None:
        """Wait for no call any more; one that still runs ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, request: Request, vector: Float32Vector) -> tuple[Reply, Float32Vector]:
        """Wait for our turn and for the answer, one deadline for both."""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                while self._running is not None and not self._running.done():
                    await asyncio.wait((self._running,))
                call = asyncio.get_running_loop().run_in_executor(
                    self._thread, self._worker.answer, request, vector
                )
                self._running = call
                return await asyncio.shield(call)
        except TimeoutError:
            waited_ms = int((asyncio.get_running_loop().time() - started) * 1000)
            reason = (
                f"no answer within {waited_ms} ms; a thread can't be killed, so end the program if it hangs"
            )
            return Failure(reason), _NO_VECTOR


def _failed(reply: Reply) -> WorkerFailed:
    return WorkerFailed(reply.reason if isinstance(reply, Failure) else "the learner gave another answer")
