"""The verifier that shares no code with p2pfed merges to the same bits, and says which rules it hasn't."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import tiny_chain
from support.chain import World

from p2pfed.aggregation.catalogue import PRE_RULES, named_rule, rule_names
from p2pfed.aggregation.engine import faulty_max, merge
from p2pfed.aggregation.step import OuterStep
from p2pfed.storage.home import Home
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.model import ModelState

PROGRAM = Path(__file__).parents[3] / "p2pfed" / "independent" / "verify.py"
SPEC = importlib.util.spec_from_file_location("stand_alone_merging", PROGRAM)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)
UNKNOWN = {"mda", "caf", "smea", "foolsgold", "cosine_to_previous"}
NAMES = (*VERIFY.MERGES, "clip_nnm_trimmed_mean", "arc+nnm+geometric_median", "clip+krum", "nnm+mean",
         "clip+sign_majority", "arc+centred_clipping", "nnm+bulyan")  # fmt: skip


def test_it_says_which_rules_it_has() -> None:
    assert set(VERIFY.MERGES) == set(rule_names()) - UNKNOWN - {"clip_nnm_trimmed_mean"}
    assert set(VERIFY.PREPARES) == set(PRE_RULES) - {"bucketing"}
    merger = VERIFY.Merger(msgspec.msgpack.decode(encode_genesis(World([10] * 4).genesis)))
    assert "no smea, which rule nnm+smea needs" in merger._obstacle("nnm+smea", 4)
    assert "no bucketing" in merger._obstacle("bucketing+median", 4)
    assert merger._obstacle("arc+nnm+krum", 4) == ""
    assert "long" in merger._obstacle("median", 1 << 20)


@pytest.mark.parametrize("rule", NAMES)
def test_it_merges_to_the_same_bits(rule: str) -> None:
    world = World([10] * 11)
    genesis = world.genesis
    merger = VERIFY.Merger(msgspec.msgpack.decode(encode_genesis(genesis)))
    generator = np.random.default_rng(len(rule))
    size, groups = genesis.manifest.size, len(genesis.manifest.groups)
    older = np.array([[10, 12], [5, 22], [9, 30]], np.int8)
    e, m = np.array([9, 20, -3][:groups], np.int8), np.array([23, 4, 11][:groups], np.int8)
    for n, spread in ((11, 9000), (5, 3), (1, 32767)):
        f = 2 if n == 11 else (n - 1) // 4
        if not named_rule(rule).bound(n, f):
            continue
        rows = list((generator.integers(-spread, spread + 1, (n, size)) // 2).astype(np.int16))
        velocity = generator.integers(-(2**31) + 1, 2**31, size if n == 5 else 0).astype(np.int32)
        merger.momentum, merger.rate = (58982, 19661) if n == 5 else (0, 1 << 16)
        model = ModelState(generator.integers(-(2**29), 2**29, size).astype(np.int32), e, m, older, velocity)
        ages = generator.integers(0, 4, n).tolist()
        claims = generator.integers(1, 500, n).tolist()
        ours = merge(
            genesis.manifest, model, rows, claims, faulty_max=f, rule=rule,
            update_bits=genesis.params.update_bits, examples_cap=genesis.params.examples_cap, ages=ages,
            outer=OuterStep(merger.momentum, merger.rate),
        )  # fmt: skip
        theirs = merger._merge(
            rule,
            [row.tolist() for row in rows],
            claims,
            f,
            [*model.weights.tolist(), *model.velocity.tolist()],
            [*e.tolist(), *m.tolist(), *older.ravel().tolist()],
            ages,
        )
        after = ours.model
        aggregate = ours.aggregate.astype("<i4").tobytes()
        assert theirs == (aggregate, after.weights_bytes(), after.exponents_bytes())


@pytest.mark.parametrize("bonds", [[1] * 4, [1] * 7, [5, 1, 1], [1, 1, 1, 1, 100], [3, 3, 3], [2, 2, 2, 1]])
def test_it_counts_liars_alike(bonds: list[int]) -> None:
    assert VERIFY.lying(bonds) == faulty_max(bonds)


def test_deep_merges_every_height_of_a_small_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    tiny_chain.make_home(home, 6)
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), str(home.path), "--deep", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert (report["merged"], report["not_merged"]) == (5, {})  # One of the six heights is EMPTY.
