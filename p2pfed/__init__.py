"""p2pfed: coordinator-free federated learning with agreement on every aggregated model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pfed.learning.adapters.sklearn import SklearnLearner
    from p2pfed.learning.adapters.torch import TorchLearner
    from p2pfed.learning.learner import AppContext, Learner, Metrics, TrainContext, TrainResult
    from p2pfed.learning.schedule import Schedule, schedule_of
    from p2pfed.learning.shares import digits, share

__version__ = "0.1.0"

# Loaded when somebody asks: `import p2pfed` takes a millisecond, and no framework comes along unasked.
_PLACES = {
    "AppContext": "learning.learner",
    "Learner": "learning.learner",
    "Metrics": "learning.learner",
    "Schedule": "learning.schedule",
    "SklearnLearner": "learning.adapters.sklearn",
    "TorchLearner": "learning.adapters.torch",
    "TrainContext": "learning.learner",
    "TrainResult": "learning.learner",
    "digits": "learning.shares",
    "schedule_of": "learning.schedule",
    "share": "learning.shares",
}

__all__ = [
    "AppContext",
    "Learner",
    "Metrics",
    "Schedule",
    "SklearnLearner",
    "TorchLearner",
    "TrainContext",
    "TrainResult",
    "__version__",
    "digits",
    "schedule_of",
    "share",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'p2pfed' has no attribute {name!r}")
    value = getattr(import_module(f"p2pfed.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
