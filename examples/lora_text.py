"""For teams that share a language model but not their code: low-rank adapters (LoRA), and one team that lies.

A small model of characters learns English first, from the help texts that ship with Python, and is frozen;
every peer has the same one. Five peers adapt it to code, each with a module of the standard library that only
it has. Only adapters travel, a twentieth of the model. Expect them to take at least 0.15 nats off the loss of
the frozen model on a module that no peer has. Writes lora_text.svg.

pip install 'p2pfed[torch]' && python examples/lora_text.py
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import nn

import p2pfed

OWN, PUBLIC = ("argparse", "tarfile", "shutil", "inspect", "typing"), "subprocess"
WINDOW, WIDTH, CHARACTERS, RANK = 12, 192, 96, 4


def windows(text: str, every: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return WINDOW characters and the one after them, from every so manieth place; a line's end is 0."""
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).clip(31, 126) - 31
    cut = torch.from_numpy(codes.astype(np.int64)).unfold(0, WINDOW + 1, every)
    return cut[:, :-1], cut[:, -1]


class Adapted(nn.Module):
    """A frozen layer and what is learned beside it: `up @ down`, a matrix of rank RANK, zero at first."""

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(RANK, frozen.in_features) / frozen.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(frozen.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(x) + x @ self.down.T @ self.up.T


@lru_cache(maxsize=1)
def base() -> nn.Sequential:
    """Train the model on English. Peers on different machines load one file instead: floats differ there."""
    torch.manual_seed(0)
    hidden, out = nn.Linear(16 * WINDOW, WIDTH), nn.Linear(WIDTH, CHARACTERS)
    model = nn.Sequential(nn.Embedding(CHARACTERS, 16), nn.Flatten(), hidden, nn.ReLU(), out)
    x, y = windows("".join(topics[name] for name in sorted(topics)), 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(150):
        rows = torch.randint(len(y), (256,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.requires_grad_(False)


def learner(context: p2pfed.AppContext) -> p2pfed.TorchLearner:
    """Build a peer's learner: the frozen model, adapters beside its two large layers, a module of its own."""
    letters, flat, hidden, relu, out = base()
    torch.manual_seed(context.seed)
    model = nn.Sequential(letters, flat, Adapted(hidden), relu, Adapted(out))
    own, public = (
        windows(inspect.getsource(import_module(name)), 5) for name in (OWN[context.index], PUBLIC)
    )
    return p2pfed.TorchLearner(
        model, context, own, public, optimizer=lambda adapters: torch.optim.Adam(adapters, lr=0.01), batch=128
    )


def main() -> None:
    """Train under both rules, say what travels, and draw."""
    network = {"peers": 5, "byzantine": {"sign_flip:scale=6": 1}, "heights": 4, "params": {"steps": 15}}
    robust = p2pfed.simulate(learner, **network, outer=None)
    mean = p2pfed.simulate(learner, **network, outer=None, rule="mean")
    print(robust)
    sent = 2 * sum(array.size for array in robust.model.values())  # int16, see docs/guide/rules.md.
    whole = sent + 2 * sum(parameter.numel() for parameter in base().parameters())
    print(f"an update has {sent} bytes; with the frozen layers it would have {whole}")
    first = learner(p2pfed.AppContext(peers=5))
    alone = first.evaluate(first.weights(), p2pfed.TrainContext(0, 0, 0))["loss"]
    curves = {"the default rule": robust.curve("loss"), "plain averaging": mean.curve("loss")}
    curves["the frozen model alone"] = [alone] * len(robust.blocks)
    title = "Adapters of a language model, one liar among five peers"
    picture = p2pfed.chart(curves, title, axis="loss on a module that no peer has, nats a character", top=4)
    Path("lora_text.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
