"""Where a peer's figures go besides its log: one small interface, and the sinks that [tracking] names."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from p2pfed.errors import LocalError, UsageError
from p2pfed.runtime.feed import Entry

WAITING_MAX = (
    1024  # Heights that a slow sink may be behind; the oldest are dropped then, never a vote delayed.
)
CLOSE_TIMEOUT_S = 10.0

Figures = Mapping[str, float]


class MetricsSink(Protocol):
    """Takes the figures of each height, ascending; called in a thread of its own, so it may wait.

    A program's own sink is handed to `Tracking` likewise.
    """

    def height(self, height: int, time_ms: int, figures: Figures) -> None:
        """Take figures of a final height; raises OSError or LocalError where they can't be kept."""

    def close(self) -> None:
        """Write what is left; nothing comes after it."""


class JsonLines:
    """One JSON object a height, appended to a file."""

    def __init__(self, target: str) -> None:
        self._file = Path(target).open("a", encoding="utf-8")  # noqa: SIM115 - closed by `close`.

    def height(self, height: int, time_ms: int, figures: Figures) -> None:
        row = {"schema": "p2pfed.figures/1", "height": height, "time_ms": time_ms, **figures}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars in an event folder, read by `tensorboard --logdir`; the extra `tensorboard`."""

    def __init__(self, target: str) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise _missing("tensorboard") from None
        self._writer = SummaryWriter(target)

    def height(self, height: int, time_ms: int, figures: Figures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, height, walltime=time_ms / 1000)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """Metrics of one MLflow run; `target` is the URI of a server or a database; the extra `mlflow`."""

    def __init__(self, target: str) -> None:
        try:
            import mlflow
        except ImportError:
            raise _missing("mlflow") from None
        self._client = mlflow.MlflowClient(tracking_uri=target)
        found = self._client.get_experiment_by_name("p2pfed")
        experiment = found.experiment_id if found else self._client.create_experiment("p2pfed")
        self._run = self._client.create_run(experiment).info.run_id

    def height(self, height: int, time_ms: int, figures: Figures) -> None:
        for name, value in figures.items():  # MLflow allows no brackets in names.
            key = name.replace("(", "_").replace(")", "")
            self._client.log_metric(self._run, key, value, timestamp=time_ms, step=height)

    def close(self) -> None:
        self._client.set_terminated(self._run)


SINKS: dict[str, Callable[[str], MetricsSink]] = {
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}


def make_sink(spelled: str) -> MetricsSink:
    """Return the sink that `KIND:TARGET` names, opened.

    Raises:
        UsageError: No such kind, or no target.
        LocalError: Its library is missing (the sentence has the command), or its target can't be used.
    """
    kind, _, target = spelled.partition(":")
    if kind not in SINKS or not target:
        raise UsageError(f"--track takes KIND:TARGET with one of {', '.join(SINKS)}, not {spelled!r}")
    try:
        return SINKS[kind](target)
    except LocalError:
        raise
    except Exception as error:  # Whatever the tracker's library makes of a target.
        raise LocalError(f"--track {spelled} can't be used: {str(error).partition('. ')[0]}") from None


class Tracking:
    """Gives sinks the figures of a feed's heights in a thread; one that fails is reported once and left.

    Args:
        sinks: By name, already open.
        report: Told once, from the thread, why a sink gets nothing any more.
    """

    def __init__(self, sinks: Mapping[str, MetricsSink], report: Callable[[str], None]) -> None:
        self._sinks = dict(sinks)
        self._report = report
        self._block: Entry | None = None
        self._queue: queue.Queue[tuple[int, int, Figures] | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def listen(self, entry: Entry) -> None:
        """Take an entry: a height is handed on once its model was measured."""
        if entry.event == "block.committed":
            self._block = entry
        if entry.event != "block.evaluated":
            return
        figures = {name: float(value) for name, value in entry.data.items() if name != "height"}
        block = self._block
        if block is not None and block.data["height"] == entry.data["height"]:
            for name in ("updates", "expected", "round", "took_ms", "signed_power", "total_power"):
                figures[name] = float(block.data[name])
        try:
            self._queue.put_nowait((entry.data["height"], entry.time_ms, figures))
        except queue.Full:
            self._drop_oldest()
            self._queue.put_nowait((entry.data["height"], entry.time_ms, figures))

    def close(self) -> None:
        """Wait for what is under way, at most CLOSE_TIMEOUT_S, and close the sinks."""
        try:
            self._queue.put(None, timeout=CLOSE_TIMEOUT_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_TIMEOUT_S)

    def _drop_oldest(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return  # The thread took it meanwhile.

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            for name in list(self._sinks):
                self._safely(name, lambda sink, item=item: sink.height(*item))  # type: ignore[misc]
        for name in list(self._sinks):
            self._safely(name, lambda sink: sink.close())

    def _safely(self, name: str, action: Callable[[MetricsSink], None]) -> None:
        """A tracker's library may raise anything; what it raises must not end a peer that votes."""
        try:
            action(self._sinks[name])
        except Exception as error:
            del self._sinks[name]
            self._report(f"{name} gets no figures any more: {type(error).__name__}: {error}")


def _missing(extra: str) -> LocalError:
    return LocalError(f"tracking with {extra} needs its library: pip install 'p2pfed[{extra}]'")
