"""The memory that peer and worker share: the peer looks at a copy, whatever a learner does to it."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from support.workers import Write, edit, refusal, train, worker

from p2pfed.learning.client import WorkerFailed
from p2pfed.learning.pipe import HEAD, Reply, TrainReply
from p2pfed.learning.session import Trained
from p2pfed.primitives.codec import encode


def frame(reply: Reply) -> bytes:
    """Spell a reply as a worker does."""
    message = encode(reply)
    return HEAD.pack(len(message)) + message


@pytest.mark.parametrize(
    ("reply", "values", "reason"),
    [
        (HEAD.pack(1 << 30), "[]", "no reply"),
        (HEAD.pack(3) + b"abc", "[]", "no reply"),
        (frame(TrainReply(0, {})), "[0] * 6", "no reply"),
        (frame(TrainReply(5, {})), "[0] * 5 + [float('nan')]", "no difference of this model"),
        (frame(TrainReply(5, {})), "[0] * 5 + [float('-inf')]", "no difference of this model"),
    ],
)
async def test_bytes_that_are_no_reply_end_the_worker(
    app: Write, reply: bytes, values: str, reason: str
) -> None:
    # Descriptor 4 is the worker's own end of the reply pipe: the learner would have to look for it.
    shown = f"os.pwrite(int(sys.argv[1]), np.array({values}, np.float32).tobytes(), 24)"
    line = f"{shown}, os.write(4, {reply!r}), time.sleep(600)"
    async with worker(app(line), stderr=subprocess.DEVNULL, turn_timeout_ms=20_000) as client:
        assert reason in await refusal(client)
        assert client.pid is None


async def test_each_turn_sees_the_vector_that_it_was_given(app: Write) -> None:
    async with worker(app("w *= 2")) as client:  # 2w + 1 - w; the learner changes a copy.
        for value in (1, 3, 3, 2):
            view = np.full(6, value, np.float32)
            for _ in range(2):
                trained = await client.train(view, height=1, train_index=0)
                assert isinstance(trained, Trained)
                assert trained.delta.tolist() == [value + 1] * 6
            assert view.tolist() == [value] * 6


async def test_a_difference_stays_when_the_next_one_comes(app: Write) -> None:
    async with worker(app("w += context.height")) as client:
        first, second = await train(client, 1), await train(client, 2)
        assert isinstance(first, Trained)
        assert isinstance(second, Trained)
        assert (first.delta[0], second.delta[0]) == (2, 3)


async def test_a_restarted_worker_is_handed_the_same_vector_again(app: Write) -> None:
    async with worker(app("context.height == 2 and os._exit(3)"), stderr=subprocess.DEVNULL) as client:
        view = np.full(6, 4, np.float32)
        assert isinstance(await client.train(view, height=1, train_index=0), Trained)
        assert isinstance(await client.train(view, height=2, train_index=1), WorkerFailed)
        assert await client.evaluate(view, height=3, train_index=2) == {"sum": 24.0, "counter": 7}


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux can seal a file's length")
@pytest.mark.parametrize("length", [0, 1 << 20])
async def test_a_learner_can_not_take_the_memory_away(app: Write, length: int) -> None:
    """Reading what was cut off would kill the peer with a bus error."""
    line = f"os.ftruncate(int(sys.argv[1]), {length})"
    async with worker(app(line), stderr=subprocess.DEVNULL) as client:
        assert "the learner raised PermissionError" in await refusal(client)
        assert await client.evaluate(np.ones(6, np.float32), height=1, train_index=0) == {
            "sum": 6.0,
            "counter": 7,
        }


async def test_no_room_for_the_vectors_is_one_sentence(app: Write) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))\n"
    spec = app()
    edit(spec, "import os, sys, time\n", f"import os, sys, time\n{limit}")
    async with worker(spec, stderr=subprocess.DEVNULL) as client:
        failed = await client.start()
        assert failed == WorkerFailed("no room to hand 6 weights over: File too large")
