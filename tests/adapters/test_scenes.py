"""The scene of the clinics keeps what its first lines promise, and draws its picture."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs `pip install scikit-learn`, see CONTRIBUTING.md")

SCENE = Path(__file__).parents[2] / "examples" / "clinics.py"


def test_a_liar_among_clinics_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SCENE), run_name="__main__")
    picture = (tmp_path / "clinics.svg").read_text(encoding="utf-8")
    last = {label: float(value) for label, value in re.findall(r">([a-z ]+): ([0-9.]+)<", picture)}
    assert last["the default rule"] >= 0.92
    assert last["plain averaging"] < 0.5
