"""Flower's apps as they are, by both of Flower's interfaces: nothing in them knows p2pfed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs `pip install 'flwr>=1.40,<2' scikit-learn`, see CONTRIBUTING.md")

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from support.federated import sessions, trained

import p2pfed
from p2pfed.learning.adapters.flower import FlowerLearner
from p2pfed.learning.client import WorkerClient, WorkerReady
from p2pfed.learning.learner import AppContext, LearnerError, TrainContext
from p2pfed.learning.session import Session

FOLDER = Path(__file__).parents[2] / "examples" / "flower_digits"
APPS = ("flower:digits_app.client_app:app", "flower:digits_app.numpy_client_app:app")
CONTEXT = TrainContext(1, 0, 5)


@pytest.fixture(autouse=True)
def _in_the_apps_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def test_the_app_knows_nothing_of_p2pfed() -> None:
    for path in FOLDER.rglob("*.py"):
        assert "import p2pfed" not in path.read_text()
        assert "from p2pfed" not in path.read_text()


@pytest.mark.parametrize("app", APPS)
def test_an_unmodified_app_learns_the_digits(app: str) -> None:
    run = trained(sessions(app, 4), 5)
    assert run.metrics[-1]["acc(local)"] == run.metrics[-1]["accuracy"] > 0.93


@pytest.mark.parametrize("app", APPS)
async def test_it_runs_in_its_worker(app: str) -> None:
    worker = WorkerClient(app, AppContext(1, 4, params={"local-epochs": "1"}))
    try:
        ready = await worker.start()
        assert isinstance(ready, WorkerReady), ready
        assert [array.shape for array in ready.manifest.arrays] == [(64, 10), (10,)]
        result = await worker.train(ready.initial, height=1, train_index=0)
        assert result.examples == 359
        assert np.abs(result.delta).max() > 0.01
    finally:
        await worker.close()


def test_run_config_comes_from_pyproject_and_params_win_over_it() -> None:
    def distance(**params: str) -> float:
        session = sessions(APPS[0], 4, params=params)[0]
        return float(np.abs(session.train(session.initial, 1, 0).delta).sum())

    assert distance(**{"local-epochs": "5"}) == distance() > distance(**{"local-epochs": "1"})
    assert distance() > 2 * distance(
        **{"learning-rate": "0.02"}
    )  # By the settings of the ServerApp's message.
    with pytest.raises(LearnerError, match="local-epochs=many must be of kind int"):
        sessions(APPS[0], 4, params={"local-epochs": "many"})


def test_flower_runs_under_a_liar_and_the_default_rule_holds() -> None:
    run = p2pfed.simulate(APPS[0], 5, {"sign_flip": 1}, 5)
    assert run.violations == ()
    assert run.blocks[-1].figures["accuracy"] > 0.9


def app_of(train: Any, initial: list[Any]) -> tuple[ClientApp, ServerApp]:
    client, server = ClientApp(), ServerApp()
    client.train()(train)

    @server.main()
    def main(grid: Any, context: Context) -> None:
        try:
            FedAvg(min_available_nodes=100).start(
                grid=grid, initial_arrays=ArrayRecord(initial), num_rounds=1
            )
        except Exception:
            raise AssertionError("the first message was caught") from None

    return client, server


def reply(message: Message, arrays: Any, **metrics: float) -> Message:
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)


def test_the_height_is_the_round_and_the_apps_state_lives_on() -> None:
    seen: list[tuple[Any, int]] = []

    def train(message: Message, context: Context) -> Message:
        record = context.state.setdefault("turns", MetricRecord({"count": 0}))
        record["count"] += 1
        seen.append((message.content["config"]["server-round"], record["count"]))
        return reply(message, message.content["arrays"].to_numpy_ndarrays(), **{"num-examples": 3})

    client, server = app_of(train, [np.zeros(2, np.float32)])
    mine = FlowerLearner(client, AppContext(), server)
    for height in (4, 9):
        mine.train(mine.weights(), TrainContext(height, 0, 0))
    assert seen == [(4, 1), (9, 2)]
    assert mine.evaluate(mine.weights(), CONTEXT) == {}  # The app registered no function for it.


def test_integers_stay_and_a_batch_norms_statistics_are_merged() -> None:
    def train(message: Message, context: Context) -> Message:
        arrays = message.content["arrays"]
        return Message(
            RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 3})}), reply_to=message
        )

    client, server = app_of(train, [np.zeros(2, np.float32)])
    mine = FlowerLearner(client, AppContext(), server)
    from flwr.app import Array

    mine._arrays = {
        "bn.weight": Array(np.ones(2, np.float32)),
        "bn.running_mean": Array(np.ones(2, np.float32)),
        "bn.running_var": Array(np.ones(2, np.float32)),
        "bn.num_batches_tracked": Array(np.array(3)),
    }
    kinds = [(spec.kind, spec.nonnegative) for spec in Session(mine, AppContext()).manifest.arrays]
    assert kinds == [("trained", False), ("statistic", False), ("statistic", True), ("local", False)]


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (lambda m, _: reply(m, [np.zeros(2, np.float32)]), "no 'num-examples' among its metrics"),
        (
            lambda m, _: reply(m, [np.zeros(2)] * 2, **{"num-examples": 1}),
            "0 arrays came back; the model has 1",
        ),
        (lambda m, _: Message(RecordDict({}), reply_to=m), "the reply of train has 0 array records"),
    ],
)
def test_a_reply_that_is_no_training_is_one_sentence(train: Any, sentence: str) -> None:
    client, server = app_of(train, [np.zeros(2, np.float32)])
    session = Session(FlowerLearner(client, AppContext(), server), AppContext())
    with pytest.raises(LearnerError, match=sentence):
        session.train(session.initial, 1, 0)


def test_nobody_who_names_the_initial_model_is_one_sentence() -> None:
    with pytest.raises(LearnerError, match="nobody names the initial model"):
        FlowerLearner(ClientApp(), AppContext())
    server = ServerApp()
    server.main()(lambda grid, context: None)
    with pytest.raises(LearnerError, match="ended without a message to train"):
        FlowerLearner(ClientApp(), AppContext(), server)


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("flower:nowhere.client_app:app", "there is no module nowhere in"),
        ("flower:digits_app.task:CLASSES", "CLASSES in digits_app.task is int, not a ClientApp"),
        (
            "flower:digits_app.client_app:nothing",
            "nothing in digits_app.client_app is NoneType, not a ClientApp",
        ),
    ],
)
def test_what_is_no_client_app_is_one_sentence(app: str, sentence: str) -> None:
    with pytest.raises(LearnerError, match=sentence):
        sessions(app, 1)


def test_a_network_is_founded_from_the_command_line(tmp_path: Path) -> None:
    net = str(tmp_path / "net")
    command = [sys.executable, "-m", "p2pfed", "testnet", "create", "--peers", "1", "-o", net,
               "--flower", "digits_app.client_app:app"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        'app = "flower:digits_app.client_app:app"' in (tmp_path / "net" / "peer0" / "config.toml").read_text()
    )
