"""A learner in a file, and the worker process that runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from p2pfed.learning.client import WorkerClient, WorkerFailed, WorkerReady
from p2pfed.learning.learner import AppContext
from p2pfed.learning.session import Trained

LEARNER = """
import os, sys, time
import numpy as np
from p2pfed.learning.learner import TrainResult

class Mine:
    def __init__(self, context):
        self.context = context
    def weights(self):
        return [np.zeros((2, 3), np.float32), np.array([7], np.int64)]
    def train(self, weights, context):
        w, counter = weights
        {train}
        return TrainResult([w + 1, counter + 1], 5, {{"counter": int(counter[0])}})
    def evaluate(self, weights, context):
        return {{"sum": float(weights[0].sum()), "counter": int(weights[1][0])}}

learner = Mine
"""

Write = Callable[..., str]


def edit(app: str, old: str, new: str) -> None:
    """Change the text of a learner's file."""
    path = Path(app.rpartition(":")[0])
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@asynccontextmanager
async def worker(app: str, **options: object) -> AsyncIterator[WorkerClient]:
    client = WorkerClient(app, AppContext(), **options)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


async def ready(client: WorkerClient) -> WorkerReady:
    started = await client.start()
    assert isinstance(started, WorkerReady), started
    return started


async def train(client: WorkerClient, height: int = 1) -> Trained | WorkerFailed:
    return await client.train(np.zeros(6, np.float32), height=height, train_index=height - 1)


async def refusal(client: WorkerClient) -> str:
    failed = await train(client)
    assert isinstance(failed, WorkerFailed), failed
    assert "\n" not in failed.reason
    return failed.reason
