"""Train a torch model: its trainable parameters and its float buffers are shared, the rest stays here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from p2pfed.learning.extras import missing
from p2pfed.learning.learner import (
    ACCURACY_PUBLIC,
    LOSS_PUBLIC,
    AppContext,
    Array,
    LearnerError,
    Metrics,
    TrainContext,
    TrainResult,
    generator,
)
from p2pfed.learning.schedule import schedule_of
from p2pfed.learning.shares import evaluation_root_of
from p2pfed.types.model import ArraySpec, Manifest

try:
    import torch
    from torch import nn
except ModuleNotFoundError as error:
    raise missing(error) or error from None

Rows = Any  # A pair (x, y) of arrays or tensors, or batches (x, y) that can be run through again and again.
EVALUATION_ROWS = 1024


class TorchLearner:
    """A torch module with one peer's rows: a Learner.

    Shared are the parameters with `requires_grad` (so LoRA adapters travel without the model that they sit
    on, which every peer must have the same) and the float buffers, such as a batch norm's mean and variance.
    Integer buffers, such as its counter, stay in this process.

    Args:
        model: Any module; its values at the founder's become the network's first.
        context: What the factory was given; its params `algorithm`, `epochs`, `batch`, `lr`, `steps` and
            `mu` win over the arguments here.
        train: This peer's rows `(x, y)`, each of shape `(rows, …)`; or batches, say a DataLoader.
        test: Rows that every peer has, for `acc(public)` and `loss`; None: no figures.
        loss: `loss(model(x), y)`, a mean over the rows.
        optimizer: Makes an optimizer of the parameters; None: SGD at `lr`, AdamW where the algorithm is
            `diloco`. It begins anew at each height, except in `diloco`.
        epochs: Passes over the rows between two heights.
        batch: Rows of a step, 0 for all at once; a DataLoader has its own.
        lr: The rate of SGD or AdamW; for an `optimizer` of yours it says nothing.
        device: Where the model is, as torch names it.
        threads: Of this process. One: several peers may share a machine, and the vote comes first.

    Raises:
        LearnerError: The model has nothing to train, or a setting is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        context: AppContext,
        train: Rows,
        test: Rows = None,
        *,
        loss: Callable[[Any, Any], Any] = nn.functional.cross_entropy,
        optimizer: Callable[[Iterable[Any]], Any] | None = None,
        epochs: int = 1,
        batch: int = 32,
        lr: float = 0.01,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        self._schedule = schedule_of(context.params, epochs=epochs, batch=batch, lr=lr)
        self._model, self._loss, self._device = model.to(device), loss, device
        self._make_optimizer, self._optimizer = optimizer, None
        self._train, self._test = _tensors(train), None if test is None else _tensors(test)
        self.evaluation_root = evaluation_root_of(_arrays(test))
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise LearnerError("the model has no parameter with requires_grad, so nothing can be trained")
        kept = model.state_dict().keys()  # Without buffers that a module makes again from nothing.
        self._buffers = {
            name: value for name, value in model.named_buffers() if value.is_floating_point() and name in kept
        }

    def weights(self) -> list[Array]:
        shared = (*self._parameters.values(), *self._buffers.values())
        return [_array(tensor) for tensor in shared]

    def manifest(self) -> Manifest:
        """Return the arrays by torch's own names; buffers are statistics: merged, not trained."""
        names = (*self._parameters, *self._buffers)
        return Manifest(
            tuple(
                ArraySpec(
                    name,
                    array.shape,
                    str(array.dtype),  # type: ignore[arg-type]
                    "trained" if name in self._parameters else "statistic",
                    name.endswith("running_var"),
                )
                for name, array in zip(names, self.weights(), strict=True)
            )
        )

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        """Train; dropout, augmentation and the order of rows draw from the context's seed."""
        self._load(weights)
        torch.manual_seed(context.seed)
        self._model.train()
        optimizer, agreed = self._fresh_optimizer(), self._agreed()
        loss_sum, rows, steps = 0.0, 0, 0
        for x, y in self._batches(generator(context.seed)):
            optimizer.zero_grad()
            loss = self._loss(self._model(x), y)
            loss.backward()
            for parameter, start in agreed:  # FedProx: a pull back to where all began.
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - start, alpha=self._schedule.proximal)
            optimizer.step()
            loss_sum, rows, steps = loss_sum + float(loss.detach()), rows + len(y), steps + 1
        if not steps:
            raise LearnerError("this peer has no rows to train on")
        examples = len(self._train[1]) if isinstance(self._train, tuple) else rows
        return TrainResult(self.weights(), examples, {"train_loss": loss_sum / steps})

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:  # noqa: ARG002 - no dice here
        """Return `loss` on the test rows, and `acc(public)` where the model scores classes."""
        if self._test is None:
            return {}
        self._load(weights)
        self._model.eval()
        loss_sum, hits, rows, is_classes = 0.0, 0, 0, True
        with torch.no_grad():
            for x, y in self._in_order(self._test):
                scores = self._model(x)
                loss_sum, rows = loss_sum + float(self._loss(scores, y)) * len(y), rows + len(y)
                is_classes = is_classes and scores.ndim == 2 and y.ndim == 1 and not y.is_floating_point()
                hits += int((scores.argmax(1) == y).sum()) if is_classes else 0
        metrics: Metrics = {LOSS_PUBLIC: loss_sum / rows} if rows else {}
        return metrics | ({ACCURACY_PUBLIC: hits / rows} if is_classes and rows else {})

    def _load(self, weights: list[Array]) -> None:
        with torch.no_grad():
            for tensor, array in zip(
                (*self._parameters.values(), *self._buffers.values()), weights, strict=True
            ):
                tensor.copy_(torch.from_numpy(array))

    def _agreed(self) -> list[tuple[Any, Any]]:
        if not self._schedule.proximal:
            return []
        return [(parameter, parameter.detach().clone()) for parameter in self._parameters.values()]

    def _fresh_optimizer(self) -> Any:
        keeps = self._schedule.algorithm == "diloco"
        if self._optimizer is None or not keeps:
            parameters = list(self._parameters.values())
            rate = self._schedule.learning_rate
            if self._make_optimizer is not None:
                self._optimizer = self._make_optimizer(parameters)
            elif keeps:
                self._optimizer = torch.optim.AdamW(parameters, lr=rate)
            else:
                self._optimizer = torch.optim.SGD(parameters, lr=rate)
        return self._optimizer

    def _batches(self, dice: np.random.Generator) -> Iterator[tuple[Any, Any]]:
        if isinstance(self._train, tuple):
            x, y = self._train
            for chosen in self._schedule.batches(len(y), dice):
                picked = torch.from_numpy(chosen)
                yield x[picked].to(self._device), y[picked].to(self._device)
            return
        if self._schedule.algorithm == "fedsgd":
            raise LearnerError("fedsgd takes one step on all rows; give them as (x, y), not as batches")
        passes = (
            batch for _ in range(self._schedule.steps or self._schedule.epochs) for batch in self._train
        )
        for x, y in islice(passes, self._schedule.steps or None):
            yield x.to(self._device), y.to(self._device)

    def _in_order(self, rows: Rows) -> Iterator[tuple[Any, Any]]:
        if isinstance(rows, tuple):
            pieces = (torch.split(part, EVALUATION_ROWS) for part in rows)
            rows = zip(*pieces, strict=True)
        for x, y in rows:
            yield x.to(self._device), y.to(self._device)


def _tensors(rows: Rows) -> Rows:
    """Return a pair as tensors; batches as they are."""
    if not (isinstance(rows, tuple) and len(rows) == 2):
        return rows
    return tuple(
        part if isinstance(part, torch.Tensor) else torch.from_numpy(np.asarray(part)) for part in rows
    )


def _arrays(rows: Rows) -> Rows:
    if not (isinstance(rows, tuple) and len(rows) == 2):
        return None
    return tuple(part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part) for part in rows)


def _array(tensor: Any) -> Array:
    """Return a tensor as an array; numpy has no bfloat16, and float32 holds all of its values."""
    plain = tensor.detach().cpu()
    if plain.dtype is torch.bfloat16:
        plain = plain.float()
    array: Array = plain.numpy().copy()
    return array
