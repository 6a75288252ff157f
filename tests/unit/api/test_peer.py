"""A peer inside a program: real transport and disk, one member so that nobody is waited for."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import p2pfed
from p2pfed.api.chain import _plain
from p2pfed.errors import LocalError
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.learner import AppContext
from p2pfed.runtime import testnet
from p2pfed.runtime.config import LearnerConfig
from p2pfed.types.genesis import Params

SETTINGS = {"network.port": 0, "http.enabled": False, "run.linger_s": 30}
HEIGHTS = 4


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a network of one that ends after HEIGHTS blocks; it is copied, never run."""
    folder = tmp_path_factory.mktemp("net") / "net"
    learner = LearnerConfig(app="digits:softmax", params={"epochs": "1"})
    params = Params("local", ("mean",), 1, 12, 4, HEIGHTS)
    testnet.create_testnet(folder, testnet.TestnetPlan(1, (10,), (), learner, params, "tcp"))
    return folder / "peer0"


@pytest.fixture
def home(founded: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(founded, tmp_path / "home"))


def digits(context: AppContext) -> Any:
    return builtin_learner("digits", "softmax", context)


async def test_a_program_follows_its_peer_to_the_end(home: Path) -> None:
    told: list[object] = []
    before = signal.getsignal(signal.SIGINT)

    async def later(block: p2pfed.Block) -> None:
        await asyncio.sleep(0)
        told.append(block)

    callbacks = p2pfed.Callbacks(block=later, update_made=told.append)
    async with p2pfed.Peer(home, digits, callbacks=callbacks, settings=SETTINGS) as peer:
        assert signal.getsignal(signal.SIGINT) is before
        assert peer.status()["id"] == peer.id
        blocks = [block async for block in peer.blocks()]
        again = [block async for block in peer.blocks()]  # An iterator that comes late misses nothing.
    assert [block.height for block in blocks] == [1, 2, 3, 4]
    assert again == blocks == [one for one in told if isinstance(one, p2pfed.Block)]
    assert blocks[-1].figures["acc(public)"] > 0.5
    assert blocks[0].trainers == (peer.id,)
    assert [one.height for one in told if isinstance(one, p2pfed.UpdateMade)] == [1, 2, 3, 4]
    assert peer.ending is not None
    assert peer.ending.exit_code == 0
    chain = p2pfed.open(home)
    assert chain.height == 4
    assert [(block.height, block.hash, block.trainers) for block in chain.blocks(3)] == [
        (block.height, block.hash, block.trainers) for block in blocks[2:]
    ]
    with chain._store() as store:
        held = store.chain.block(4)
    assert held is not None
    empty = replace(held, header=replace(held.header, flags=1, rule=""))
    assert (_plain(held, 1).updates, _plain(empty, 1).updates, _plain(empty, 1).trainers) == (1, 0, ())
    model = chain.model()
    assert model["weight"].shape == (64, 10)
    assert not np.array_equal(chain.model(height=3)["weight"], model["weight"])
    with pytest.raises(LocalError, match="there is no height 5 yet; the last final one is 4"):
        chain.model(height=5)
    with pytest.raises(LocalError, match="there is no block 9"):
        list(chain.blocks(9))


async def test_leaving_stops_the_peer_and_the_home_is_free_again(home: Path) -> None:
    for expected in (1, 2):
        async with p2pfed.Peer(home, "digits:softmax", settings=SETTINGS) as peer:
            async for block in peer.blocks():
                assert block.height >= expected
                assert peer.model().keys() == {"weight", "bias"}
                break
    assert peer.ending is not None
    assert peer.ending.reason == "stopped by its program"


async def test_a_home_runs_once_and_a_folder_that_is_none_is_told(home: Path, tmp_path: Path) -> None:
    async with p2pfed.Peer(home, digits, settings=SETTINGS):
        with pytest.raises(LocalError, match="already runs the peer of"):
            async with p2pfed.Peer(home, digits, settings=SETTINGS):
                pass
    with pytest.raises(LocalError, match=r"there is no .*genesis\.json; found a network with"):
        await p2pfed.Peer(tmp_path / "empty").__aenter__()
    with pytest.raises(LocalError, match="did you mean 'port'"):
        await p2pfed.Peer(home, settings={"network.prot": 1}).__aenter__()
    with pytest.raises(LocalError, match="use it inside `async with`"):
        _ = p2pfed.Peer(home).id


async def test_an_exception_of_a_callback_ends_the_peer_and_comes_out(home: Path) -> None:
    def stop(block: p2pfed.Block) -> None:
        raise KeyError("my own bug")

    with pytest.raises(KeyError, match="my own bug"):
        async with p2pfed.Peer(
            home, digits, callbacks=p2pfed.Callbacks(block=stop), settings=SETTINGS
        ) as peer:
            assert len([block async for block in peer.blocks()]) == 1
    async with p2pfed.Peer(home, digits, settings=SETTINGS):
        pass  # The lock is gone.


async def test_a_learner_that_fails_costs_updates_and_never_a_vote(home: Path) -> None:
    def broken(context: AppContext) -> Any:
        made = digits(context)
        made.train = lambda *_: 1 / 0
        return made

    skipped = asyncio.get_running_loop().create_future()
    callbacks = p2pfed.Callbacks(update_skipped=skipped.set_result)
    async with p2pfed.Peer(home, broken, callbacks=callbacks, settings=SETTINGS) as peer:
        told = await asyncio.wait_for(skipped, 60)
        assert told.height == 1
        assert "the learner raised ZeroDivisionError at test_peer.py" in told.reason
        assert told.reason in peer.status()["learner"]
        assert peer.status()["step"] == "collect"  # It waits for others, as long as anybody may train.


SINS = """
import os, time
import numpy as np
from p2pfed.learning.learner import TrainResult

class Mine:
    def __init__(self, context): pass
    def weights(self): return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]
    def train(self, weights, context):
        {sin}
        return TrainResult(weights, 5)
    def evaluate(self, weights, context): return {{}}
"""


@pytest.mark.parametrize(
    ("sin", "reason"),
    [
        ("os._exit(3)", "the worker ended by itself (exit code 3)"),
        ("time.sleep(600)", "the worker was killed: no answer within 1000 ms"),
        ("weights[0][0, 0] = np.nan", "array0 holds NaN or infinity"),
        ("keep = [np.ones(1 << 27, np.uint8) for _ in range(9)]", "the learner raised MemoryError at"),
    ],
)
async def test_the_status_names_what_a_learner_did(home: Path, tmp_path: Path, sin: str, reason: str) -> None:
    (tmp_path / "mine.py").write_text(SINS.format(sin=sin))
    skipped = asyncio.get_running_loop().create_future()
    callbacks = p2pfed.Callbacks(update_skipped=skipped.set_result)
    deadline_s = 1 if "sleep" in sin else 600
    settings = {**SETTINGS, "learner.timeout_s": deadline_s, "learner.memory_mb": 512}
    async with p2pfed.Peer(home, f"{tmp_path}/mine.py:Mine", callbacks=callbacks, settings=settings) as peer:
        told = await asyncio.wait_for(skipped, 60)
        assert reason in told.reason
        assert told.reason in peer.status()["learner"]
        assert peer.status()["step"] == "collect"


async def test_a_model_that_is_not_the_networks_is_told_apart(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SINS.format(sin="pass").replace("(64, 10)", "(10, 64)"))
    skipped = asyncio.get_running_loop().create_future()
    callbacks = p2pfed.Callbacks(update_skipped=skipped.set_result)
    async with p2pfed.Peer(home, f"{tmp_path}/mine.py:Mine", callbacks=callbacks, settings=SETTINGS):
        told = await asyncio.wait_for(skipped, 60)
    assert "array0 is float32 of shape (10, 64), genesis has weight, float32 of shape (64, 10)" in told.reason
