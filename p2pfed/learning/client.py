"""The peer's side of a worker: ask it to train or evaluate, and outlive whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from typing import IO, Protocol

import numpy as np
from msgspec import Struct

from p2pfed.errors import LocalError, MalformedMessage
from p2pfed.learning.learner import AppContext, Metrics
from p2pfed.learning.pipe import (
    HEAD,
    MESSAGE_BYTES_MAX,
    EvaluateReply,
    EvaluateRequest,
    Failure,
    Hello,
    Ready,
    Reply,
    Request,
    TrainReply,
    TrainRequest,
    decode_reply,
    one_line,
)
from p2pfed.learning.session import Trained
from p2pfed.learning.shared import SharedVectors, nameless_file, seal
from p2pfed.primitives import codec
from p2pfed.types.model import Float32Vector, Manifest

START_TIMEOUT_MS = 120_000  # Importing a large library from a cold disk takes tens of seconds.
TURN_TIMEOUT_MS = 600_000  # An update that is later than this meets no height that waits for it.
RESTART_MS_MAX = 60_000
REQUESTS_WAITING_MAX = 4  # A train and an evaluate of this height and of the next; more means nobody waits.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
               "NUMEXPR_NUM_THREADS")  # fmt: skip
EXIT_WAIT_MS = 1_000  # From the end of its pipe to the end of the process.
KILL_WAIT_MS = 5_000  # A killed process is gone in milliseconds, unless the kernel is stuck in its disk.
_NO_VECTOR = np.empty(0, np.float32)
_CLOSED = Failure("the worker is closed")


class WorkerFailed(Struct, frozen=True):
    """No result this time; `reason` is one line for the log. The peer goes on and may ask again."""

    reason: str


class WorkerReady(Struct, frozen=True, eq=False):
    """What the learner is: its arrays, their initial values (float32, shape `(d,)`), its evaluation set."""

    manifest: Manifest
    initial: Float32Vector
    evaluation_root: bytes


class LearnerWorker(Protocol):
    """What a peer asks of its learner, wherever that runs. No call raises for what the learner did."""

    async def start(self) -> WorkerReady | WorkerFailed: ...

    async def train(
        self, view: Float32Vector, *, height: int, train_index: int
    ) -> Trained | WorkerFailed: ...

    async def evaluate(
        self, view: Float32Vector, *, height: int, train_index: int
    ) -> Metrics | WorkerFailed: ...

    async def close(self) -> None: ...


class _Job(Struct, frozen=True, eq=False):
    """A request that waits for the worker; `result` is set to the reply and its vector."""

    request: Request
    vector: Float32Vector
    timeout_ms: int
    result: asyncio.Future[tuple[Reply, Float32Vector]]


class _Gone(Exception):
    """The worker ended, hung or wrote nonsense; it is dead by the time that this is caught."""


def restart_delay_ms(failures: int) -> int:
    """Return how long a worker stays down after its `failures`-th end in a row: 0, 1, 2, 4 … 60 s."""
    return 0 if failures <= 1 else min(RESTART_MS_MAX, 1000 << min(failures - 2, 16))


class WorkerClient:
    """One worker process, started when it is needed and restarted when it died.

    Every call returns its result or a WorkerFailed, within its deadline, and never raises for what the
    learner did. One task owns the process and serves calls in order, trainings before evaluations; a call
    that was cancelled before its turn is skipped, so an outdated training never holds up a new one.
    """

    def __init__(
        self,
        app: str,
        context: AppContext,
        *,
        start_timeout_ms: int = START_TIMEOUT_MS,
        turn_timeout_ms: int = TURN_TIMEOUT_MS,
        memory_mb: int = 0,
        stderr: IO[bytes] | int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the worker; nothing starts before `start`.

        Args:
            app: The learner, as `apps.load_learner` reads it.
            context: What the learner is told about this peer.
            start_timeout_ms: Deadline of loading the learner.
            turn_timeout_ms: Deadline of one training or evaluation.
            memory_mb: The most memory of the worker's own, in MiB; 0: what the machine has.
            stderr: Where the learner's prints and tracebacks go; None is our own stderr.
            clock: Seconds, monotonic; only the pause between restarts reads it.
        """
        self._hello = Hello(app, context.index, context.peers, context.partition, context.seed,
                            context.data_dir, dict(context.params), memory_mb)  # fmt: skip
        self._start_timeout_ms, self._turn_timeout_ms = start_timeout_ms, turn_timeout_ms
        self._stderr, self._clock = stderr, clock
        self._jobs: deque[_Job] = deque()  # What waits; the oldest first.
        self._woken = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._ready: WorkerReady | None = None
        self._vectors: SharedVectors | None = None  # Of the running process.
        self._shown: Float32Vector | None = None  # What lies in its view: a height shows one model twice.
        self._failures, self._down_until = 0, 0.0

    @property
    def pid(self) -> int | None:
        """The process id of the worker, None while it is down."""
        return None if self._process is None else self._process.pid

    async def start(self) -> WorkerReady | WorkerFailed:
        """Start the worker, load the learner and return what it is; while it runs, the same again at once."""
        reply, initial = await self._ask(self._hello, _NO_VECTOR, self._start_timeout_ms)
        if isinstance(reply, Ready):
            return WorkerReady(reply.manifest, initial, reply.evaluation_root)
        return _failed(reply)

    async def train(
        self, view: Float32Vector, *, height: int, train_index: int, timeout_ms: int | None = None
    ) -> Trained | WorkerFailed:
        """Train from `view`, float32 of shape `(d,)`; the result holds the float32 difference to it."""
        request = TrainRequest(height, train_index)
        reply, delta = await self._ask(request, view, timeout_ms or self._turn_timeout_ms)
        if isinstance(reply, TrainReply):
            return Trained(delta, reply.examples, reply.metrics)
        return _failed(reply)

    async def evaluate(
        self, view: Float32Vector, *, height: int, train_index: int, timeout_ms: int | None = None
    ) -> Metrics | WorkerFailed:
        """Return the learner's figures for `view`, float32 of shape `(d,)`."""
        request = EvaluateRequest(height, train_index)
        reply, _ = await self._ask(request, view, timeout_ms or self._turn_timeout_ms)
        if isinstance(reply, EvaluateReply):
            return reply.metrics
        return _failed(reply)

    async def close(self) -> None:
        """End the worker and answer whoever still waits."""
        if self._owner is not None:
            self._owner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._owner
        await self._kill()
        for job in self._jobs:
            _answer(job, _CLOSED, _NO_VECTOR)

    async def _ask(
        self, request: Request, vector: Float32Vector, timeout_ms: int
    ) -> tuple[Reply, Float32Vector]:
        if self._owner is None:
            self._owner = asyncio.create_task(self._serve(), name="worker owner")
        if self._owner.done():
            return _CLOSED, _NO_VECTOR
        job = _Job(request, vector, timeout_ms, asyncio.get_running_loop().create_future())
        if not self._has_room():
            return Failure(f"the worker is busy and {REQUESTS_WAITING_MAX} requests wait"), _NO_VECTOR
        self._jobs.append(job)
        self._woken.set()
        return await job.result

    def _has_room(self) -> bool:
        """Forget what nobody waits for any more, and where that is not enough the oldest evaluation."""
        for job in [job for job in self._jobs if job.result.done()]:
            self._jobs.remove(job)
        if len(self._jobs) == REQUESTS_WAITING_MAX:
            oldest = next((job for job in self._jobs if isinstance(job.request, EvaluateRequest)), None)
            if oldest is not None:
                self._jobs.remove(oldest)
                _answer(oldest, Failure("the worker is busy and newer requests wait"), _NO_VECTOR)
        return len(self._jobs) < REQUESTS_WAITING_MAX

    async def _next_job(self) -> _Job:
        """Wait for a job; a training goes before evaluations, for the others wait for it."""
        while not self._jobs:
            self._woken.clear()
            await self._woken.wait()
        job = next((job for job in self._jobs if not isinstance(job.request, EvaluateRequest)), self._jobs[0])
        self._jobs.remove(job)
        return job

    async def _serve(self) -> None:
        """Own the process: take one job after the other."""
        while True:
            job = await self._next_job()
            if job.result.done():
                continue
            try:
                _answer(job, *await self._carry_out(job))
            except _Gone as gone:
                self._failures += 1
                self._down_until = self._clock() + restart_delay_ms(self._failures) / 1000
                _answer(job, Failure(one_line(str(gone))), _NO_VECTOR)
            finally:
                _answer(job, _CLOSED, _NO_VECTOR)  # Heard only where this task ends in the middle of a job.

    async def _carry_out(self, job: _Job) -> tuple[Reply, Float32Vector]:
        if self._process is None:
            wait = self._down_until - self._clock()
            if wait > 0:
                return Failure(
                    f"the worker failed {self._failures} times in a row; it restarts in {wait:.0f} s"
                ), _NO_VECTOR
            await self._launch()
        if isinstance(job.request, Hello):
            assert self._ready is not None
            return Ready(self._ready.manifest, self._ready.evaluation_root), self._ready.initial
        vectors = self._vectors
        assert vectors is not None
        if job.vector.shape != vectors.view.shape:
            return Failure(
                f"{job.vector.size} weights were sent; the model has {vectors.view.size}"
            ), _NO_VECTOR
        if job.vector is not self._shown:
            await asyncio.to_thread(np.copyto, vectors.view, job.vector)
            self._shown = job.vector
        reply = await self._exchange(job.request, job.timeout_ms)
        if isinstance(reply, Failure) and reply.is_spent:
            await self._kill()
            raise _Gone(reply.reason)
        if not isinstance(reply, TrainReply):
            return reply, _NO_VECTOR
        delta = await asyncio.to_thread(_finite_copy, vectors.reply)
        if delta is None:
            await self._kill()
            raise _Gone("the worker sent a vector that is no difference of this model")
        self._failures = 0
        return reply, delta

    async def _launch(self) -> None:
        """Start the process and load the learner, or raise _Gone."""
        descriptor = -1
        try:
            descriptor = nameless_file()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "p2pfed.learning.worker", str(descriptor),
                stdin=PIPE, stdout=PIPE, stderr=self._stderr, start_new_session=True,
                env=os.environ | dict.fromkeys(_ONE_THREAD, "1"), pass_fds=(descriptor,),
            )  # fmt: skip
            await self._load(descriptor)
        except OSError as error:
            raise _Gone(f"the worker could not be started: {error}") from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)  # What is mapped stays.

    async def _load(self, descriptor: int) -> None:
        reply = await self._exchange(self._hello, self._start_timeout_ms)
        if isinstance(reply, Ready):
            try:
                seal(descriptor, reply.manifest.size)
                self._vectors = SharedVectors(descriptor, reply.manifest.size)
            except LocalError as error:
                reply = Failure(str(error))
        if isinstance(reply, Ready) and self._vectors is not None:
            if self._ready is None:
                initial = await asyncio.to_thread(self._vectors.reply.copy)
                self._ready = WorkerReady(reply.manifest, initial, reply.evaluation_root)
            if self._ready.manifest == reply.manifest:
                return
            reply = Failure("after its restart the learner has other arrays than before")
        await self._kill()
        raise _Gone(reply.reason if isinstance(reply, Failure) else "the worker did not name its model")

    async def _exchange(self, request: Request, timeout_ms: int) -> Reply:
        """Send one request and return its reply; the worker is dead when this raises."""
        process = self._process
        assert process is not None
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await _write(process, request)
                return await _read(process)
        except TimeoutError:
            await self._kill()
            raise _Gone(f"the worker was killed: no answer within {timeout_ms} ms") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            # It closes its pipes before it is gone; a kill in between would hide what it died of.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), EXIT_WAIT_MS / 1000)
            await self._kill()
            raise _Gone(f"the worker ended by itself ({_cause(process.returncode)})") from None
        except MalformedMessage as error:
            await self._kill()
            raise _Gone(f"the worker wrote what is no reply: {error}") from None
        except asyncio.CancelledError:
            await self._kill()
            raise

    async def _kill(self) -> None:
        """End the worker and the processes that it started; returns when it is gone."""
        process, self._process, self._vectors, self._shown = self._process, None, None, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        # A process that was reaped already may have left its number to a stranger.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_WAIT_MS / 1000)


def _answer(job: _Job, reply: Reply, vector: Float32Vector) -> None:
    if not job.result.done():
        job.result.set_result((reply, vector))


def _failed(reply: Reply) -> WorkerFailed:
    return WorkerFailed(reply.reason if isinstance(reply, Failure) else "the worker gave another answer")


def _cause(returncode: int | None) -> str:
    if returncode is None:
        return "it closed its pipe"
    if returncode == -signal.SIGKILL:
        return "killed; out of memory is the usual reason"
    if returncode < 0:
        return f"signal {-returncode}"
    return f"exit code {returncode}"


def _finite_copy(shared: Float32Vector) -> Float32Vector | None:
    """Return a copy of `shared`; None where that, which nobody else can change, holds NaN or infinity."""
    copy = shared.copy()
    return copy if np.isfinite(copy).all() else None


async def _write(process: Process, request: Request) -> None:
    assert process.stdin is not None
    message = codec.encode(request)
    process.stdin.write(HEAD.pack(len(message)) + message)
    await process.stdin.drain()


async def _read(process: Process) -> Reply:
    pipe = process.stdout
    assert pipe is not None
    (size,) = HEAD.unpack(await pipe.readexactly(HEAD.size))
    if size > MESSAGE_BYTES_MAX:
        raise MalformedMessage(f"a reply of {size} bytes")
    return decode_reply(await pipe.readexactly(size))
