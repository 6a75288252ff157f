"""The trainer with a fake worker: what it makes of results, failures and outdated trainings."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from support.tiny_chain import KEYS, found, genesis, initial_model

from p2pfed.aggregation.payload import decode_payload
from p2pfed.chain.state import genesis_state
from p2pfed.learning.client import WorkerFailed, WorkerReady
from p2pfed.learning.session import Trained as Result
from p2pfed.node.effects import Train
from p2pfed.node.events import Event, Trained, TrainingFailed
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.runtime.fresh import Fresh
from p2pfed.runtime.trainer import Trainer
from p2pfed.storage.home import Home
from p2pfed.types.model import Manifest

STATE = genesis_state(genesis(), initial_model())


class FakeWorker:
    """Answers with what is put in; hangs while there is nothing."""

    def __init__(self) -> None:
        self.results: asyncio.Queue[Result | WorkerFailed] = asyncio.Queue()
        self.is_closed = False
        self.manifest = genesis().manifest

    async def start(self) -> WorkerReady | WorkerFailed:
        return WorkerReady(self.manifest, np.zeros(8, np.float32), EMPTY_ROOT)

    async def train(self, view: np.ndarray, *, height: int, train_index: int) -> Result | WorkerFailed:
        return await self.results.get()

    async def evaluate(self, view: np.ndarray, *, height: int, train_index: int) -> dict | WorkerFailed:
        result = await self.results.get()
        return result if isinstance(result, WorkerFailed) else {"sum": float(view.sum())}

    async def close(self) -> None:
        self.is_closed = True


async def answers(folder: Path, *results: Result | WorkerFailed, trainings: int = 1) -> list[Event]:
    """Return the events of `trainings` trainings started one after the other, given these results."""
    worker, events, fresh = FakeWorker(), [], Fresh()
    store = found(Home(folder / "home"))
    with ThreadPoolExecutor(1) as disk:
        trainer = Trainer(worker, store, disk, events.append, fresh, KEYS[0].public)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(trainings):
                trainer.train(Train(0, STATE), tasks)
                await asyncio.sleep(0)
            for result in results:
                worker.results.put_nowait(result)
        await trainer.close()
    for event in events:
        if isinstance(event, Trained):
            data = store.blobs.load(event.payload_root)
            assert data is not None
            assert len(data) == event.payload_bytes
            assert fresh.get(event.payload_root) == data
            assert decode_payload(data, genesis().manifest)[0] == 512
    store.close()
    assert worker.is_closed
    return events


def result(first: float) -> Result:
    delta = np.zeros(8, np.float32)
    delta[0] = first
    return Result(delta, 50, {})


async def test_a_training_becomes_a_durable_payload(tmp_path: Path) -> None:
    (event,) = await answers(tmp_path, result(0.5))  # 0.5 * 2^10: genesis' first update exponent.
    assert isinstance(event, Trained)
    assert (event.base_height, event.examples) == (0, 50)


async def test_a_failed_worker_is_one_reason(tmp_path: Path) -> None:
    assert await answers(tmp_path, WorkerFailed("it died")) == [TrainingFailed(0, "it died")]


async def test_a_newer_height_ends_the_training_of_an_older_one(tmp_path: Path) -> None:
    assert len(await answers(tmp_path, result(0.5), trainings=2)) == 1


@pytest.mark.parametrize("failed", [False, True])
async def test_figures_are_shown_where_there_are_any(tmp_path: Path, failed: bool) -> None:
    worker, store = FakeWorker(), found(Home(tmp_path / "home"))
    with ThreadPoolExecutor(1) as disk:
        worker.results.put_nowait(WorkerFailed("no") if failed else result(0.0))
        figures = await Trainer(worker, store, disk, lambda _: None, Fresh(), KEYS[0].public).evaluate(STATE)
    store.close()
    assert figures == ({} if failed else {"sum": 7.0})


async def test_a_model_that_is_not_the_networks_is_told_apart_by_its_arrays(tmp_path: Path) -> None:
    worker, store, events = FakeWorker(), found(Home(tmp_path / "home")), list[Event]()
    agreed = genesis().manifest
    first = agreed.arrays[0]
    turned = replace(first, name="mine", shape=first.shape[::-1])
    worker.manifest = Manifest((turned, *agreed.arrays[1:]))
    with ThreadPoolExecutor(1) as disk:
        trainer = Trainer(worker, store, disk, events.append, Fresh(), KEYS[0].public)
        async with asyncio.TaskGroup() as tasks:
            trainer.train(Train(0, STATE), tasks)
        assert await trainer.evaluate(STATE) == {}
    store.close()
    assert isinstance(events[0], TrainingFailed)
    assert events[0].reason.startswith(
        f"this learner's mine is float32 of shape {turned.shape}, genesis has {first.name}, "
        f"float32 of shape {first.shape}; start this peer with the --app"
    )
    assert events[0].reason in trainer.state
