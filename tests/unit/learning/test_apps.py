"""A spec finds its learner, shipped or in a file, and what is wrong with it is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pfed.learning.apps import load_learner, split_spec
from p2pfed.learning.client import WorkerClient, WorkerReady
from p2pfed.learning.founding import found_in_process, found_model
from p2pfed.learning.inprocess import train_in_process
from p2pfed.learning.learner import AppContext, LearnerError
from p2pfed.learning.session import Session

ROOT = Path(__file__).parents[3]
EXAMPLE = f"{ROOT / 'examples' / 'own_model.py'}:learner"


def sessions(spec: str, peers: int) -> list[Session]:
    apps = [AppContext(index, peers, seed=1) for index in range(peers)]
    return [Session(load_learner(spec, app), app) for app in apps]


def last_figures(spec: str, peers: int, heights: int) -> dict[str, float]:
    trainers = sessions(spec, peers)
    founded = found_in_process(trainers[0], 12)
    run = train_in_process(
        trainers, founded.model, heights=heights, rule="clip_nnm_trimmed_mean", faulty_max=1,
        update_bits=12, examples_cap=0,
    )  # fmt: skip
    return run.metrics[-1]


def test_the_last_colon_divides_a_spec() -> None:
    assert split_spec("digits:mlp") == ("digits", "mlp")
    assert split_spec("/a:b/my.py:learner") == ("/a:b/my.py", "learner")
    for spec in ("", "digits", ":mlp", "digits:"):
        with pytest.raises(LearnerError, match="names no learner"):
            split_spec(spec)


def test_the_shipped_digits_give_each_peer_its_rows() -> None:
    examples = [session.train(session.initial, 1, 0).examples for session in sessions("digits:softmax", 7)]
    # 200 rows each, every tenth kept for the figure acc(local).
    assert examples == [180] * 7
    every = AppContext(0, 1, params={"holdout": "0"})
    session = Session(load_learner("digits:mlp", every), every)
    assert session.train(session.initial, 1, 0).examples == 1400
    assert session.manifest.size == 64 * 32 + 32 + 32 * 10 + 10
    assert set(session.evaluate(session.initial, 1, 0)) == {"acc(public)", "loss"}


def test_params_reach_the_shipped_learner() -> None:
    app = AppContext(params={"hidden": "8", "epochs": "1", "batch": "0", "lr": "0.05"})
    assert Session(load_learner("digits:mlp", app), app).manifest.arrays[0].shape == (64, 8)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (
            {"rate": "1"},
            "unknown app setting 'rate'; there are algorithm, batch, epochs, hidden, holdout, lr",
        ),
        ({"epochs": "0"}, "epochs=0 must be a whole number from 1"),
        ({"batch": "-1"}, "batch=-1"),
        ({"hidden": "9" * 99}, "hidden=99"),
        ({"holdout": "²"}, "holdout=²"),
        ({"lr": "nan"}, "lr=nan must be a number above 0"),
        ({"lr": "0"}, "lr=0 must be"),
        ({"lr": "fast"}, "lr=fast must be"),
        ({"steps": "-1"}, "steps=-1 must be"),
        (
            {"algorithm": "fedmagic"},
            "algorithm=fedmagic is unknown; there are fedavg, fedprox, fedsgd, diloco",
        ),
        ({"algorithm": "fedprox", "mu": "-1"}, "mu=-1 must be a number of 0 or more"),
        ({"mu": "1"}, "mu belongs to algorithm=fedprox, not to fedavg"),
        ({"algorithm": "diloco"}, "the shipped numpy models know no AdamW"),
        ({"poison": "arsenic"}, "poison=arsenic is unknown; there are label_flip, backdoor"),
    ],
)
def test_a_wrong_param_is_one_sentence(params: dict[str, str], reason: str) -> None:
    with pytest.raises(LearnerError, match=re.escape(reason)):
        load_learner("digits:mlp", AppContext(params=params))


@pytest.mark.parametrize("index", [-1, 7])
def test_a_peer_outside_the_split_has_no_share(index: int) -> None:
    with pytest.raises(LearnerError, match="of 7 has no share"):
        load_learner("digits:mlp", AppContext(index, 7))


@pytest.mark.parametrize(
    "line", ["learner = Mine()", "learner = Mine", "def learner(context): return Mine()"]
)
def test_a_file_offers_a_learner_a_class_or_a_function(tmp_path: Path, line: str) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 4\n")
    (tmp_path / "shapes.py").write_text(
        "import numpy as np, neighbour\n"
        "class Mine:\n"
        "    def __init__(self, context=None): pass\n"
        "    def weights(self): return [np.full(1, neighbour.VALUE, np.float32)]\n"
        "    def train(self, weights, context): return None\n"
        "    def evaluate(self, weights, context): return {}\n" + line
    )
    learner = load_learner(f"{tmp_path}/shapes.py:learner", AppContext())
    assert learner.weights()[0].tolist() == [4]


def test_a_thing_without_the_methods_is_told_which_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(
        "class learner:\n    def __init__(self, c): pass\n    def weights(self): pass\n"
    )
    with pytest.raises(LearnerError, match=r"gave learner without train, evaluate\(\)"):
        load_learner(f"{tmp_path}/half.py:learner", AppContext())


def test_the_example_learns_its_line() -> None:
    assert last_figures(EXAMPLE, peers=4, heights=5)["error"] < 0.15


async def test_the_example_founds_a_network_from_its_worker() -> None:
    worker = WorkerClient(EXAMPLE, AppContext(0, 4))
    try:
        founded = await found_model(worker, 12)
        assert [array.shape for array in founded.manifest.arrays] == [(3,), (1,)]
        assert isinstance(await worker.start(), WorkerReady)
    finally:
        await worker.close()


def test_the_guides_snippet_is_a_learner_that_learns(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guide" / "your-model.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (own,) = (snippet for snippet in snippets if "class Average" in snippet)  # Others are run as examples.
    (tmp_path / "my_model.py").write_text(own, encoding="utf-8")
    # Four peers know 4.5, 5.5, 6.5 and 7.5 on average; the robust mean of all lies 1.5 from the first.
    assert last_figures(f"{tmp_path}/my_model.py:learner", 4, 12)["distance"] == pytest.approx(1.5, abs=0.6)
