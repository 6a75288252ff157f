"""The scenes of examples/ keep what their first lines promise, and it is the rule that keeps it."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from p2pfed import simulate

EXAMPLES = Path(__file__).parents[3] / "examples"
TWO_OF_SEVEN: dict[str, Any] = {"peers": 7, "byzantine": {"sign_flip:scale=4": 2}, "heights": 6}
ONE_OF_FIVE: dict[str, Any] = {"peers": 5, "byzantine": {"sign_flip:scale=6": 1}, "heights": 8}


def learner(scene: str) -> Any:
    spec = spec_from_file_location(scene, EXAMPLES / f"{scene}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.learner


@pytest.mark.parametrize(
    ("scene", "network", "figure", "promised"),
    [
        ("fraud", TWO_OF_SEVEN, "auc", 0.96),
        ("credit_default", ONE_OF_FIVE, "balanced", 0.80),
        ("smart_home", ONE_OF_FIVE, "error", 0.30),
        ("supply_chain", ONE_OF_FIVE, "error", 0.12),
    ],
)
def test_a_scene_keeps_its_figure_under_liars_and_plain_averaging_does_not(
    scene: str, network: dict[str, Any], figure: str, promised: float
) -> None:
    def is_kept(value: float) -> bool:
        return value < promised if figure == "error" else value >= promised

    robust = simulate(learner(scene), **network)
    assert robust.violations == ()
    assert len(robust.blocks) == network["heights"]
    assert is_kept(robust.curve(figure)[-1]), robust
    assert not is_kept(simulate(learner(scene), **network, rule="mean").curve(figure)[-1])


def test_the_forecast_is_better_than_last_week() -> None:
    figures = simulate(learner("supply_chain"), **ONE_OF_FIVE).figures
    assert figures["error"] < 0.65 * figures["last_week"]
    assert 0.19 < figures["last_week"] < 0.21
