"""The scenes of examples/ that draw their own picture keep what their first lines promise."""

from __future__ import annotations

import gzip
import re
import runpy
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pages import ROOT, guide

import p2pfed
from p2pfed.learning.datasets import load_digits

EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(scene: str, *arguments: object) -> None:
    """Run a scene as `python examples/SCENE.py ARGUMENTS` would."""
    path = str(EXAMPLES / f"{scene}.py")
    argv, sys.argv = sys.argv, [path, *map(str, arguments)]
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = argv


def drawn(picture: str) -> dict[str, float]:
    """Return the last figure of each curve of a picture, by its label."""
    text = Path(picture).read_text(encoding="utf-8")
    return {label: float(value) for label, value in re.findall(r">([^<>:]+): (-?[0-9.]+)<", text)}


def test_every_scene_has_its_place_and_its_picture_in_the_guide() -> None:
    page = guide("scenes.md").read_text(encoding="utf-8")
    for name in re.findall(r"`python examples/(\w+)\.py", page):
        assert (EXAMPLES / f"{name}.py").is_file()
        assert f"(../images/{name}." in page, name
    for picture in re.findall(r"\(\.\./images/([\w.-]+)\)", page):
        assert (ROOT / "docs" / "images" / picture).is_file(), picture


def test_digits_are_read_though_two_of_seven_lie() -> None:
    run("digits")
    last = drawn("digits.svg")
    assert last["the default rule"] >= 0.9
    assert last["plain averaging"] < 0.5


def test_digits_in_the_format_of_mnist_are_taken_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, simulate = load_digits(), p2pfed.simulate
    for part, x, y in (("train", data.x_train, data.y_train), ("t10k", data.x_test, data.y_test)):
        images = np.zeros((len(x), 28, 28), np.uint8)
        images[:, 2:26, 2:26] = (x.reshape(-1, 8, 8) * 15).repeat(3, 1).repeat(3, 2)
        for kind, array in (("images-idx3", images), ("labels-idx1", y.astype(np.uint8))):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))

    def in_short(app: str, **network: Any) -> p2pfed.Simulated:
        return simulate(app, **network | {"peers": 4, "byzantine": {}, "heights": 1, "params": {"steps": 20}})

    monkeypatch.setattr(p2pfed, "simulate", in_short)
    run("digits", tmp_path)
    assert drawn("mnist.svg")["the default rule"] > 0.5


def test_a_folder_without_mnist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as no_folder:
        run("digits", tmp_path / "nowhere")
    assert re.match(r"digits\.py: there is no folder \S+nowhere; [^\n]+$", str(no_folder.value))
    with pytest.raises(
        SystemExit, match=r"has no train-images-idx3-ubyte or [^\n]+; get the four files from"
    ):
        run("digits", tmp_path)
