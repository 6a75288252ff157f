"""Run the scenes of examples/ and keep the pictures that they draw: `python benchmarks/scenes.py [NAME …]`.

Those of docs/guide/scenes.md, into docs/images. MNIST is drawn where the variable MNIST names its folder;
clinics.py needs scikit-learn, lora_text.py torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import p2pfed

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
TWO_OF_SEVEN: dict[str, Any] = {"peers": 7, "byzantine": {"sign_flip:scale=4": 2}, "heights": 6}
ONE_OF_FIVE: dict[str, Any] = {"peers": 5, "byzantine": {"sign_flip:scale=6": 1}, "heights": 8}
# Scenes that print figures and draw nothing themselves: network, figure, what it is, upper edge.
DRAWN_HERE: dict[str, tuple[dict[str, Any], str, str, float]] = {
    "fraud": (TWO_OF_SEVEN, "auc", "AUC", 1.0),
    "credit_default": (ONE_OF_FIVE, "balanced", "balanced accuracy", 1.0),
    "smart_home": (ONE_OF_FIVE, "error", "error in degrees", 3.0),
    "supply_chain": (ONE_OF_FIVE, "error", "error of a forecast", 0.3),
}
DRAWS_ITSELF = ("clinics", "digits", "own_rule", "own_data", "lora_text", "processes")


def learner(scene: str) -> Any:
    spec = spec_from_file_location(scene, ROOT / "examples" / f"{scene}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.learner


def draw(scene: str) -> None:
    network, figure, axis, top = DRAWN_HERE[scene]
    robust = p2pfed.simulate(learner(scene), **network)
    mean = p2pfed.simulate(learner(scene), **network, rule="mean")
    curves = {"the default rule": robust.curve(figure), "plain averaging": mean.curve(figure)}
    picture = p2pfed.chart(curves, f"{scene}: {axis} by height, with liars", axis=axis, top=top)
    (IMAGES / f"{scene}.svg").write_text(picture, encoding="utf-8")


def run(*programs: list[str]) -> None:
    """Run scenes with their arguments in a folder of their own and take the pictures that they left there."""
    with tempfile.TemporaryDirectory() as folder:
        for scene, *arguments in programs:
            program = [sys.executable, str(ROOT / "examples" / f"{scene}.py"), *arguments]
            subprocess.run(program, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for picture in Path(folder).glob("*.svg"):
            (IMAGES / picture.name).write_bytes(picture.read_bytes())


def main(names: list[str]) -> None:
    for scene in names or [*DRAWN_HERE, *DRAWS_ITSELF]:
        print(scene)
        if scene in DRAWN_HERE:
            draw(scene)
        elif scene == "processes":
            run(["processes"], ["replay"])
        else:
            run([scene])
        if scene == "digits" and os.environ.get("MNIST"):
            run(["digits", os.environ["MNIST"]])


if __name__ == "__main__":
    main(sys.argv[1:])
