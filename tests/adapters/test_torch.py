"""A torch module as a learner: what is shared, what stays, and the algorithms by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`, see CONTRIBUTING.md")

from support.federated import sessions, trained  # noqa: E402

import p2pfed  # noqa: E402
from p2pfed.learning.client import WorkerClient, WorkerReady  # noqa: E402
from p2pfed.learning.learner import AppContext, LearnerError, TrainContext  # noqa: E402
from p2pfed.learning.session import Session  # noqa: E402

EXAMPLE = f"{Path(__file__).parents[2] / 'examples' / 'torch_digits.py'}:learner"
CONTEXT = TrainContext(1, 0, 5)
nn = torch.nn


def rows(count: int = 40) -> tuple[Any, Any]:
    dice = np.random.default_rng(0)
    x = dice.normal(size=(count, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def learner(model: Any, **options: Any) -> p2pfed.TorchLearner:
    params = options.pop("params", {})
    return p2pfed.TorchLearner(
        model, AppContext(params=params), options.pop("train", rows()), rows(), **options
    )


def threads_of(pid: int | None) -> int:
    """Return how many threads a process has; 0 where the system doesn't tell."""
    tasks = Path(f"/proc/{pid}/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


def linear(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Linear(6, 2)


def test_the_example_learns_the_digits() -> None:
    assert trained(sessions(EXAMPLE, 4), 6).metrics[-1]["acc(public)"] > 0.93


async def test_the_example_runs_in_its_worker_in_one_thread() -> None:
    worker = WorkerClient(EXAMPLE, AppContext(0, 4))
    try:
        ready = await worker.start()
        assert isinstance(ready, WorkerReady), ready
        assert [array.name for array in ready.manifest.arrays] == ["0.weight", "0.bias", "2.weight", "2.bias"]
        delta = await worker.train(ready.initial, height=1, train_index=0)
        assert delta.examples == 350
        assert threads_of(worker.pid) <= 4  # Ours, the pipe's, and torch's own.
    finally:
        await worker.close()


def test_only_what_is_trainable_is_shared() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    frozen = model[0].weight.detach().clone()
    mine = learner(model, lr=0.5)
    assert [array.name for array in mine.manifest().arrays] == ["1.weight", "1.bias"]
    result = mine.train(mine.weights(), CONTEXT)
    assert len(result.weights) == 2
    assert torch.equal(model[0].weight, frozen)
    with pytest.raises(LearnerError, match="no parameter with requires_grad"):
        learner(model.requires_grad_(False))


def test_a_batch_norms_statistics_are_shared_and_its_counter_stays() -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))
    session = Session(learner(model), AppContext())
    kinds = {array.name: (array.kind, array.nonnegative) for array in session.manifest.arrays}
    assert kinds["0.running_mean"] == ("statistic", False)
    assert kinds["0.running_var"] == ("statistic", True)
    assert not any("num_batches_tracked" in name for name in kinds)
    first = session.train(session.initial, 1, 0)
    assert int(model[0].num_batches_tracked) == 2
    session.train(session.initial + first.delta, 2, 1)
    assert int(model[0].num_batches_tracked) == 4
    final = trained([Session(learner(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)), lr=0.1), AppContext())
                     for _ in range(3)], 8)  # fmt: skip
    assert final.metrics[-1]["acc(public)"] > 0.9


def test_half_precision_parameters_are_shared_as_floats() -> None:
    mine = learner(
        nn.Linear(6, 2).to(torch.bfloat16), train=(torch.zeros(8, 6).bfloat16(), torch.zeros(8).long())
    )
    assert {array.dtype for array in mine.manifest().arrays} == {"float32"}
    assert Session(learner(nn.Linear(6, 2).double(), train=(np.zeros((8, 6)), np.zeros(8, np.int64))),
                   AppContext()).manifest.arrays[0].dtype == "float64"  # fmt: skip


def test_a_training_repeats_with_dropout_and_leaves_the_agreed_model_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2))
    mine = learner(model, batch=8, lr=0.5)
    start = mine.weights()
    first, again = (mine.train([array.copy() for array in start], CONTEXT).weights for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert (first[0] != start[0]).any()
    assert mine.evaluate(start, CONTEXT) == mine.evaluate(start, CONTEXT)  # Without dropout.


def test_fedsgd_is_one_step_along_the_gradient_of_all_rows() -> None:
    model = linear()
    x, y = (torch.from_numpy(part) for part in rows())
    nn.functional.cross_entropy(model(x), y).backward()
    expected = (model.weight - 0.3 * model.weight.grad).detach().numpy()
    mine = learner(linear(), lr=0.3, epochs=9, batch=4, params={"algorithm": "fedsgd"})
    np.testing.assert_allclose(mine.train(mine.weights(), CONTEXT).weights[0], expected, rtol=1e-5)


def test_fedprox_pulls_back() -> None:
    def distance(**params: str) -> float:
        mine = learner(linear(), lr=0.3, epochs=9, params=params)
        start = mine.weights()
        return float(np.abs(mine.train([a.copy() for a in start], CONTEXT).weights[0] - start[0]).sum())

    assert distance() > distance(algorithm="fedprox", mu="0.1") > distance(algorithm="fedprox", mu="1")


def test_diloco_keeps_adams_moments_from_height_to_height() -> None:
    mine = learner(linear(), params={"algorithm": "diloco", "lr": "0.01"})
    mine.train(mine.weights(), CONTEXT)
    mine.train(mine.weights(), CONTEXT)
    state = next(iter(mine._optimizer.state.values()))
    assert isinstance(mine._optimizer, torch.optim.AdamW)
    assert int(state["step"]) == 4
    plain = learner(linear())
    plain.train(plain.weights(), CONTEXT)
    first = plain._optimizer
    plain.train(plain.weights(), CONTEXT)
    assert plain._optimizer is not first


def test_an_optimizer_and_a_data_loader_of_ones_own() -> None:
    x, y = (torch.from_numpy(part) for part in rows())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    mine = learner(linear(), train=loader, optimizer=lambda p: torch.optim.Adam(p, lr=0.05), epochs=8)
    result = mine.train(mine.weights(), CONTEXT)
    assert result.examples == 8 * 40
    assert mine.evaluate(result.weights, CONTEXT)["acc(public)"] > 0.9
    with pytest.raises(LearnerError, match="fedsgd takes one step on all rows"):
        learner(linear(), train=loader, params={"algorithm": "fedsgd"}).train(mine.weights(), CONTEXT)


def test_all_test_rows_are_evaluated_however_many_there_are() -> None:
    model, (x, y) = linear(), rows(2_500)
    mine = p2pfed.TorchLearner(model, AppContext(), rows(), (x, y))
    scores = model(torch.from_numpy(x)).detach()
    loss, hits = nn.functional.cross_entropy(scores, torch.from_numpy(y)), scores.argmax(1).numpy() == y
    figures = mine.evaluate(mine.weights(), CONTEXT)
    assert figures["loss"] == pytest.approx(float(loss))
    assert figures["acc(public)"] == pytest.approx(hits.mean())


def test_a_regression_has_a_loss_and_no_accuracy() -> None:
    x, _ = rows()
    target = x[:, :1].copy()
    mine = p2pfed.TorchLearner(nn.Linear(6, 1), AppContext(), (x, target), (x, target),
                               loss=nn.functional.mse_loss, epochs=200, batch=0, lr=0.3)  # fmt: skip
    figures = mine.evaluate(mine.train(mine.weights(), CONTEXT).weights, CONTEXT)
    assert set(figures) == {"loss"}
    assert figures["loss"] < 0.01


def test_lora_adapters_travel_without_the_model_below_them() -> None:
    class Lora(nn.Module):
        """As PEFT does it: a frozen layer, and two small ones beside it."""

        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.lora_a = nn.Linear(6, 2, bias=False)
            self.lora_b = nn.Linear(2, 2, bias=False)
            nn.init.zeros_(self.lora_b.weight)

        def forward(self, x: Any) -> Any:
            return self.base(x) + self.lora_b(self.lora_a(x))

    trainers = []
    for _ in range(4):
        torch.manual_seed(1)
        trainers.append(Session(learner(Lora(linear(3)), lr=0.3, epochs=3), AppContext()))
    run = trained(trainers, 6)
    assert trainers[0].manifest.size == 12 + 4
    assert run.metrics[-1]["acc(public)"] > 0.9 > run.metrics[0]["acc(public)"] - 0.2


def test_nan_costs_the_update_and_says_so() -> None:
    x, y = rows()
    x[3, 2] = np.nan  # A sensor that failed.
    mine = Session(learner(linear(), train=(x, y)), AppContext())
    with pytest.raises(LearnerError, match="weight holds NaN or infinity"):
        mine.train(mine.initial, 1, 0)
