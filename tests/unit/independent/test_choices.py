"""The verifier that shares no code with p2pfed agrees about networks that chose otherwise at genesis."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.chain import World
from support.kept_chain import keep_chain

from p2pfed.runtime.deep_check import deep_check
from p2pfed.storage.home import Home
from p2pfed.types.update import UpdateHeader

PROGRAM = Path(__file__).parents[3] / "p2pfed" / "independent" / "verify.py"
SPEC = importlib.util.spec_from_file_location("stand_alone_choices", PROGRAM)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)


def assert_sound(home: Home, heights: int) -> None:
    report = VERIFY.verify(home.path, deep=True)
    assert report.problems == []
    assert report.merged == heights
    assert not report.not_merged


def test_blocks_with_older_updates_are_recomputed_by_both_programs(tmp_path: Path) -> None:
    world, home = World([10] * 5, update_lag=4), Home(tmp_path / "home")
    states = [world.state]

    def headers(height: int) -> tuple[UpdateHeader, ...]:
        states.append(world.state)
        prompt = [world.update(place) for place in range(3)]
        oldest = states[max(1, height - 3)]
        late = [world.update(3, base=oldest)] if height % 4 == 0 else []
        twice = [world.update(4, base=states[max(1, height - 1)])] if height % 2 == 0 else []
        return (*prompt, *late, *twice)

    store = keep_chain(home, world, 6, headers)
    results = list(deep_check(store))
    store.close()
    assert [result.problem for result in results] == [""] * 6
    ages = {update.base_height - height for height in (2, 4, 6) for update in store_updates(home, height)}
    assert ages == {-1, -2, -4}
    assert_sound(home, 6)


def test_blocks_with_momentum_are_recomputed_by_both_programs(tmp_path: Path) -> None:
    world = World([10] * 4, outer_momentum=58982, outer_rate=19661, updates_min=4)
    home = Home(tmp_path / "home")
    first = world.state

    def headers(height: int) -> tuple[UpdateHeader, ...]:
        return world.updates() if height != 3 else world.updates()[1:]

    store = keep_chain(home, world, 5, headers)
    results = list(deep_check(store))
    again = store.load_model(5)
    store.close()
    assert [result.problem for result in results] == [""] * 4  # The third block is EMPTY.
    assert again is not None
    assert first.model is not None
    assert again.velocity.tolist() != first.model.velocity.tolist()
    assert again.root == world.state.model_root
    assert_sound(home, 4)


@pytest.mark.parametrize(
    ("codec", "one_in", "rule"),
    [
        ("int8", 1, "clip_nnm_trimmed_mean"), ("int4", 1, "median"), ("rand_k", 3, "trimmed_mean"),
        ("top_k", 3, "clip+nnm+geometric_median"), ("sign", 1, "multi_krum"),
    ],
)  # fmt: skip
def test_blocks_of_compressed_updates_are_recomputed_by_both_programs(
    tmp_path: Path, codec: str, one_in: int, rule: str
) -> None:
    home = Home(tmp_path / "home")
    world = World([10] * 4, codec=codec, codec_one_in=one_in, rules=(rule,))
    store = keep_chain(home, world, 3, lambda _height: world.updates())
    assert [result.problem for result in deep_check(store)] == [""] * 3
    store.close()
    assert_sound(home, 3)


def test_blocks_of_a_network_with_roles_are_recomputed_by_both_programs(tmp_path: Path) -> None:
    world, home = World([10] * 8, roles=["3:validator", "4:trainer"], emission=500), Home(tmp_path / "home")

    def headers(height: int) -> tuple[UpdateHeader, ...]:
        twice = [world.update(4, examples=7)] if height == 2 else []  # Convicted of E6 by this very block.
        return (*world.updates(), *twice)

    store = keep_chain(home, world, 4, headers)
    assert [result.problem for result in deep_check(store)] == [""] * 4
    store.close()
    assert [entry.key for entry in world.state.ledger.slashing.convictions] == [world.publics[4]]
    assert_sound(home, 4)


def store_updates(home: Home, height: int) -> tuple[UpdateHeader, ...]:
    from p2pfed.storage.block_store import BlockStore

    chain = BlockStore(home.chain_db, None)
    block = chain.block(height)
    chain.close()
    assert block is not None
    return block.body.updates
