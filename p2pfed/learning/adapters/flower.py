"""Run an unmodified Flower ClientApp as a learner: p2pfed takes the place of Flower's server.

The app is asked by the messages that its own ServerApp would send. Where that is known, it is started once on
a grid without nodes, and its first message to train holds the initial model and the settings.
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from p2pfed.learning.extras import missing
from p2pfed.learning.learner import (
    ACCURACY_LOCAL,
    AppContext,
    Array,
    LearnerError,
    Metrics,
    TrainContext,
    TrainResult,
)
from p2pfed.types.model import ArraySpec, Manifest

TESTED = "1.40 to 1.42"
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # A vote is nobody's telemetry.
try:
    import flwr.app as flower
    from flwr.clientapp import ClientApp
    from flwr.common import Code, FitIns, GetParametersIns
    from flwr.common import EvaluateIns as EvaluateInstructions
    from flwr.compat.common import recorddict_compat as compat
    from flwr.server import SimpleClientManager
    from flwr.serverapp import Grid, ServerApp
    from flwr.supercore.task_identity import TaskIdentity
except ImportError as error:
    if isinstance(error, ModuleNotFoundError) and error.name == "flwr":
        raise missing(error) or error from None
    raise LearnerError(f"this release of flwr is not one that the adapter knows, {TESTED}: {error}") from None

NODES = 1024  # What the grid of a ServerApp claims: more than any strategy waits for.
NODE_ID = 1
EXAMPLES = "num-examples"
ROUND = "server-round"
_ACCURACIES = ("accuracy", "acc", "eval_acc", "eval_accuracy", "test_accuracy", "val_accuracy")
_STATISTICS = ("running_mean", "running_var")


class FlowerLearner:
    """A ClientApp with one peer's rows: a Learner.

    Both of Flower's interfaces will do: functions registered for `train` and `evaluate`, and a `client_fn`
    that makes a NumPyClient. The app sees `partition-id`, `num-partitions` and its run config.

    Args:
        app: The ClientApp.
        context: What the factory was given; its params win over `run_config` where they name a key of it.
        server: The app's ServerApp, asked for the initial model and settings; None: the client has
            get_parameters().
        run_config: What stands in `[tool.flwr.app.config]`.

    Raises:
        LearnerError: Nobody names an initial model.
    """

    def __init__(
        self, app: Any, context: AppContext, server: Any = None, run_config: dict[str, Any] | None = None
    ) -> None:
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = NODE_ID  # As its processes do.
        config = _overridden(run_config or {}, context)
        node = {"partition-id": context.index, "num-partitions": context.peers}
        self._app, self._is_legacy = app, app._call is not None
        self._context = flower.Context(0, NODE_ID, node, flower.RecordDict(), config)
        if self._is_legacy:
            self._arrays, self._config = self._legacy_start(server)
        else:
            self._first = _first_message(server, config)
            self._arrays = dict(_only(self._first.array_records, "the ServerApp's first message"))

    def weights(self) -> list[Array]:
        return [array.numpy() for array in self._arrays.values()]

    def manifest(self) -> Manifest:
        """Return the arrays by the app's names; integers stay here, a batch norm's statistics are merged."""
        specs = []
        for name, array in zip(self._arrays, self.weights(), strict=True):
            is_float = array.dtype.kind == "f"
            kind: Literal["trained", "statistic", "local"] = "trained" if is_float else "local"
            if is_float and name.rpartition(".")[2] in _STATISTICS:
                kind = "statistic"
            is_variance = kind == "statistic" and name.endswith("running_var")
            specs.append(ArraySpec(name, array.shape, str(array.dtype), kind, is_variance))  # type: ignore[arg-type]
        return Manifest(tuple(specs))

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        """Send the app a message to train, and read its reply."""
        np.random.seed(context.seed & 0xFFFFFFFF)
        if self._is_legacy:
            config = {**self._config, "server_round": context.height}
            record = compat.fitins_to_recorddict(FitIns(self._parameters(weights), config), False)
            result = compat.recorddict_to_fitres(self._ask(record, "train"), False)
            returned = compat.parameters_to_arrayrecord(result.parameters, False)
            arrays = [array.numpy() for array in returned.values()]
            return TrainResult(arrays, result.num_examples, _numbers(result.metrics))
        reply = self._ask(self._content(weights, context), "train")
        arrays = _only(reply.array_records, "the reply of train")
        metrics = {name: value for record in reply.metric_records.values() for name, value in record.items()}
        if EXAMPLES not in metrics:
            raise LearnerError(f"the reply of train has no {EXAMPLES!r} among its metrics")
        ordered = [arrays[name].numpy() for name in self._arrays] if set(arrays) == set(self._arrays) else []
        return TrainResult(ordered, int(metrics.pop(EXAMPLES)), _numbers(metrics))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        """Send the app a message to evaluate; it has rows of its own: an accuracy is `acc(local)`."""
        if self._is_legacy:
            instructions = EvaluateInstructions(self._parameters(weights), {"server_round": context.height})
            record = compat.evaluateins_to_recorddict(instructions, False)
            result = compat.recorddict_to_evaluateres(self._ask(record, "evaluate"))
            if result.status.code is not Code.OK:
                return {}
            return _figures({"loss": result.loss, **result.metrics})
        if "evaluate.default" not in self._app._registered_funcs:
            return {}
        reply = self._ask(self._content(weights, context), "evaluate")
        return _figures({k: v for record in reply.metric_records.values() for k, v in record.items()})

    def _ask(self, content: Any, kind: str) -> Any:
        message = flower.Message(content=content, dst_node_id=NODE_ID, message_type=kind)
        reply = self._app(message, self._context)
        if reply.has_error():
            raise LearnerError(f"the app refused to {kind}: {reply.error.reason}")
        return reply.content

    def _content(self, weights: list[Array], context: TrainContext) -> Any:
        """Return the first message's content, with the agreed arrays and this height."""
        content = deepcopy(self._first)
        for name in content.array_records:
            content[name] = self._record(weights)
        for config in content.config_records.values():
            config[ROUND] = context.height
        return content

    def _record(self, weights: list[Array]) -> Any:
        named = zip(self._arrays, weights, strict=True)
        return flower.ArrayRecord(array_dict={name: flower.Array(array) for name, array in named})

    def _parameters(self, weights: list[Array]) -> Any:
        return compat.arrayrecord_to_parameters(self._record(weights), keep_input=False)

    def _legacy_start(self, server: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the initial arrays and the settings of a training, by the strategy or by the client."""
        strategy = None
        if server is not None:
            made = None if server._server_fn is None else server._server_fn(self._context)
            strategy = server._strategy if made is None else made.strategy
        parameters, config = None, {}
        if strategy is not None:
            parameters = strategy.initialize_parameters(SimpleClientManager())
            configure = getattr(strategy, "on_fit_config_fn", None)
            config = {} if configure is None else dict(configure(1))
        if parameters is None:
            record = compat.getparametersins_to_recorddict(GetParametersIns({}))
            result = compat.recorddict_to_getparametersres(self._ask(record, "get_parameters"), False)
            parameters = result.parameters if result.status.code is Code.OK else None
        if parameters is None or not parameters.tensors:
            _no_model()
        return dict(compat.parameters_to_arrayrecord(parameters, keep_input=False)), config


class _FirstMessage(BaseException):
    """Carries the first message to train out of a ServerApp, past whatever it catches."""

    def __init__(self, content: Any) -> None:
        self.content = content


class _Grid(Grid):  # type: ignore[misc]
    """A grid of nodes that are not there: the first message to train ends the ServerApp."""

    @property
    def run(self) -> Any:
        return None

    def set_run(self, run: Any) -> None:
        """Take no notice."""

    def create_message(self, content: Any, message_type: str, dst_node_id: int, *_: Any, **__: Any) -> Any:
        return flower.Message(content=content, dst_node_id=dst_node_id, message_type=message_type)

    def get_node_ids(self) -> Iterable[int]:
        return range(1, NODES + 1)

    def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
        for message in messages:
            if message.metadata.message_type.partition(".")[0] == "train":
                raise _FirstMessage(message.content)
        return ()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Any]:  # noqa: ARG002 - Flower's interface
        return ()

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> Iterable[Any]:  # noqa: ARG002
        self.push_messages(messages)
        return ()


def load_flower(module: str, name: str, context: AppContext) -> FlowerLearner:
    """Return the learner of the ClientApp `module:name`; its pyproject.toml names ServerApp and run config.

    The param `server`, `my_app.server:app`, wins over `[tool.flwr.app.components]`.

    Raises:
        LearnerError: No such module or app, or nobody names an initial model. What the app raises passes.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    app = _component(module, name, ClientApp)
    settings = _settings(sys.modules[module])
    named = context.params.get("server") or settings.get("components", {}).get("serverapp", "")
    server = _component(*_split(named), ServerApp) if named else None
    return FlowerLearner(app, context, server, settings.get("config", {}))


def _component(module: str, name: str, kind: type) -> Any:
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise LearnerError(
            f"there is no module {error.name} in {os.getcwd()} or the environment; --flower takes "
            "my_app.client_app:app from the folder where the peer was started"
        ) from None
    if not isinstance(found, kind):
        raise LearnerError(f"{name} in {module} is {type(found).__name__}, not a {kind.__name__}")
    return found


def _split(named: str) -> tuple[str, str]:
    module, _, name = named.partition(":")
    if not name:
        raise LearnerError(f"{named!r} names no ServerApp; write my_app.server_app:app")
    return module, name


def _settings(module: Any) -> dict[str, Any]:
    """Return `[tool.flwr.app]` of the pyproject.toml nearest to a module."""
    for folder in Path(module.__file__).resolve().parents:
        path = folder / "pyproject.toml"
        if path.is_file():
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("flwr", {}).get("app")
            if isinstance(table, dict):
                return table
    return {}


def _overridden(config: dict[str, Any], context: AppContext) -> dict[str, Any]:
    """Return the run config with the app's params over it, each as the kind of value that stands there."""
    flat = _flat(config)
    for name, text in context.params.items():
        if name in ("server", "poison"):
            continue
        kind = type(flat.get(name, ""))
        try:
            flat[name] = text.lower() == "true" if kind is bool else kind(text)
        except ValueError:
            raise LearnerError(
                f"{name}={text[:40]} must be of kind {kind.__name__}, as in pyproject.toml"
            ) from None
    return flat


def _flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def _first_message(server: Any, config: dict[str, Any]) -> Any:
    """Return the content of the first message to train that a ServerApp sends."""
    if server is None:
        _no_model()
    try:
        server(_Grid(), flower.Context(0, 0, {}, flower.RecordDict(), config))
    except _FirstMessage as first:
        return first.content
    raise LearnerError("the ServerApp ended without a message to train, so the initial model is unknown")


def _only(records: Any, where: str) -> Any:
    if len(records) != 1:
        raise LearnerError(f"{where} has {len(records)} array records; the model is one")
    return next(iter(records.values()))


def _no_model() -> NoReturn:
    raise LearnerError(
        "nobody names the initial model: let [tool.flwr.app.components] of pyproject.toml name the serverapp "
        "or --param server=my_app.server_app:app, or let the client have get_parameters()"
    )


def _numbers(metrics: Any) -> Metrics:
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float))}


def _figures(metrics: dict[str, Any]) -> Metrics:
    figures = _numbers(metrics)
    figures.pop(EXAMPLES, None)
    for name in _ACCURACIES:
        if name in figures:
            return {ACCURACY_LOCAL: figures[name], **figures}
    return figures
