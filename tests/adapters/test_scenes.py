"""The scenes that need a framework keep what their first lines promise, and draw their pictures."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import p2pfed

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawn(scene: str) -> dict[str, float]:
    """Run a scene and return the last figure of each curve of its picture, by its label."""
    runpy.run_path(str(EXAMPLES / f"{scene}.py"), run_name="__main__")
    picture = Path(f"{scene}.svg").read_text(encoding="utf-8")
    return {label: float(value) for label, value in re.findall(r">([a-z ]+): ([0-9.]+)<", picture)}


def test_a_liar_among_clinics_does_no_harm() -> None:
    pytest.importorskip("sklearn", reason="needs `pip install scikit-learn`, see CONTRIBUTING.md")
    last = drawn("clinics")
    assert last["the default rule"] >= 0.92
    assert last["plain averaging"] < 0.5


def test_adapters_of_a_frozen_language_model_learn_code_though_one_of_five_lies(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`, see CONTRIBUTING.md")
    runs: list[p2pfed.Simulated] = []
    simulate = p2pfed.simulate
    frozen: list[list[Any]] = []

    def watched(learner: Any, **network: Any) -> p2pfed.Simulated:
        frozen.append([value.clone() for value in learner.__globals__["base"]().state_dict().values()])
        runs.append(simulate(learner, **network))
        frozen.append([value.clone() for value in learner.__globals__["base"]().state_dict().values()])
        return runs[-1]

    monkeypatch.setattr(p2pfed, "simulate", watched)
    last = drawn("lora_text")
    assert last["the default rule"] <= last["the frozen model alone"] - 0.15
    assert last["plain averaging"] > last["the frozen model alone"]
    assert [*runs[0].model] == ["2.down", "2.up", "4.down", "4.up"]
    assert all((a == b).all() for later in frozen[1:] for a, b in zip(frozen[0], later, strict=True))
    sent, whole = map(
        int,
        re.findall(r"(\d+) bytes; with the frozen layers it would have (\d+)", capsys.readouterr().out)[0],
    )
    assert sent == 2 * sum(array.size for array in runs[0].model.values())
    assert sent * 20 < whole == sent + 2 * sum(value.numel() for value in frozen[0])
