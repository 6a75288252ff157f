"""The worker process: loads one learner and answers its peer over two pipes until the peer is gone.

Run as `python -m p2pfed.learning.worker DESCRIPTOR` by `client.WorkerClient`, with the descriptor of the
memory that both share; a person has no reason to.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import BinaryIO

import numpy as np

from p2pfed.errors import P2PFedError
from p2pfed.learning.apps import load_learner
from p2pfed.learning.learner import AppContext, Learner, LearnerError
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
    decode_request,
    one_line,
)
from p2pfed.learning.session import Session
from p2pfed.learning.shared import SharedVectors, reserve
from p2pfed.primitives import codec
from p2pfed.types.model import Float32Vector

_NO_VECTOR = np.empty(0, np.float32)
_NICENESS = 5  # Peer and worker share cores: a vote is a millisecond's work, a training takes what is left.
_OOM_SCORE = "500"  # When memory runs out the kernel should take this process, not the peer that votes.

Answer = tuple[Reply, Float32Vector]


class Worker:
    """What is asked and answered, without the pipes."""

    def __init__(self, load: Callable[[str, AppContext], Learner] = load_learner) -> None:
        self._load_learner = load
        self._session: Session | None = None
        self._is_limited = False

    def answer(self, request: Request, vector: Float32Vector) -> Answer:
        """Return the reply to `request`; whatever the learner raises becomes a Failure of one line."""
        try:
            return self._answer(request, vector)
        except P2PFedError as error:
            return Failure(one_line(str(error))), _NO_VECTOR
        # A learner may raise anything. Nothing of it is ours to repair, and the peer must hear of it; the
        # traceback goes to stderr for the learner's author.
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(where.filename)}:{where.lineno}"
            reason = one_line(f"the learner raised {type(error).__name__} at {place}: {error}")
            # What filled a limit of ours is a leak as a rule: a new process begins with empty hands.
            return Failure(reason, isinstance(error, MemoryError) and self._is_limited), _NO_VECTOR

    def _answer(self, request: Request, vector: Float32Vector) -> Answer:
        if isinstance(request, Hello):
            return self._load(request)
        session = self._session
        if session is None:
            raise LearnerError("no learner is loaded")
        if vector.shape != session.initial.shape:
            raise LearnerError(f"{vector.size} weights were sent; the model has {session.manifest.size}")
        if isinstance(request, EvaluateRequest):
            return EvaluateReply(session.evaluate(vector, request.height, request.train_index)), _NO_VECTOR
        trained = session.train(vector, request.height, request.train_index)
        return TrainReply(trained.examples, trained.metrics), trained.delta

    def _load(self, hello: Hello) -> Answer:
        app = AppContext(hello.index, hello.peers, hello.partition, hello.seed, hello.data_dir, hello.params)
        if hello.memory_mb:
            _limit_memory(hello.memory_mb << 20)
            self._is_limited = True
        self._session = session = Session(self._load_learner(hello.app, app), app)
        return Ready(session.manifest, session.evaluation_root), session.initial


def read_request(pipe: BinaryIO) -> Request | None:
    """Return the next request, None at the end of the pipe; raises MalformedMessage."""
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (size,) = HEAD.unpack(head)
    assert size <= MESSAGE_BYTES_MAX
    message = pipe.read(size)
    return decode_request(message) if len(message) == size else None


def write_reply(pipe: BinaryIO, reply: Reply) -> None:
    """Write one reply; its vector, if it has one, was handed over before."""
    message = codec.encode(reply)
    pipe.write(HEAD.pack(len(message)) + message)
    pipe.flush()


def _limit_memory(limit: int) -> None:
    """Keep the private memory of this process below `limit` bytes; mapped files and code are free."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def _leave() -> None:
    """End at once, and with us the processes that the learner started where the group is ours alone."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to descriptors of our own, so that a learner's print() lands on stderr."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _read_all(pipe: BinaryIO, requests: Queue[Request], leave: Callable[[], None]) -> None:
    """Feed requests to the main thread; the end of the pipe means the peer is gone, also in mid-training."""
    while (request := read_request(pipe)) is not None:
        requests.put(request)
    leave()


class _Hands:
    """Take the vector of each request from the shared memory and put that of the reply there."""

    def __init__(self, worker: Worker, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # Processes of the learner's have no use for it.
        self._worker = worker
        self._descriptor = descriptor
        self._vectors: SharedVectors | None = None

    def answer(self, request: Request) -> Reply:
        given = _NO_VECTOR if self._vectors is None else self._vectors.view
        reply, vector = self._worker.answer(request, given)
        if vector.size:
            if self._vectors is None:
                try:
                    reserve(self._descriptor, vector.size)
                except MemoryError as error:
                    return Failure(one_line(str(error)), is_spent=True)
                self._vectors = SharedVectors(self._descriptor, vector.size)
                self._vectors.view.flags.writeable = False
            self._vectors.reply[:] = vector
        return reply


def main() -> None:
    """Answer requests until the peer closes its end."""
    pipe, replies = _own_pipes()
    with contextlib.suppress(OSError):  # Not Linux, or not allowed: the kernel chooses as it likes.
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    os.nice(_NICENESS)
    requests: Queue[Request] = Queue(maxsize=1)
    threading.Thread(target=_read_all, args=(pipe, requests, _leave), daemon=True).start()
    hands = _Hands(Worker(), int(sys.argv[1]))
    while True:
        reply = hands.answer(requests.get())
        sys.stdout.flush()
        try:
            write_reply(replies, reply)
        except BrokenPipeError:
            _leave()


if __name__ == "__main__":
    main()
