"""p2pfed: coordinator-free federated learning with agreement on every aggregated model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pfed.api.chain import Chain, open  # noqa: A004 - p2pfed.open
    from p2pfed.api.chart import chart
    from p2pfed.api.estimator import FederatedClassifier
    from p2pfed.api.happenings import (
        Block,
        Callbacks,
        PeerJoined,
        PeerSuspected,
        UpdateMade,
        UpdateRefused,
        UpdateSkipped,
    )
    from p2pfed.api.peer import Peer
    from p2pfed.api.simulation import Simulated, simulate
    from p2pfed.errors import P2PFedError
    from p2pfed.learning.adapters.flower import FlowerLearner
    from p2pfed.learning.adapters.jax import JaxLearner
    from p2pfed.learning.adapters.sklearn import SklearnLearner
    from p2pfed.learning.adapters.torch import TorchLearner
    from p2pfed.learning.learner import (
        AppContext,
        Learner,
        LearnerError,
        Metrics,
        TrainContext,
        TrainResult,
    )
    from p2pfed.learning.schedule import Schedule, schedule_of
    from p2pfed.learning.shares import digits, share

__version__ = "0.1.0"

# Loaded when somebody asks: `import p2pfed` takes a millisecond, and no framework comes along unasked.
_PLACES = {
    "AppContext": "learning.learner",
    "Block": "api.happenings",
    "Callbacks": "api.happenings",
    "Chain": "api.chain",
    "FederatedClassifier": "api.estimator",
    "FlowerLearner": "learning.adapters.flower",
    "JaxLearner": "learning.adapters.jax",
    "Learner": "learning.learner",
    "LearnerError": "learning.learner",
    "Metrics": "learning.learner",
    "P2PFedError": "errors",
    "Peer": "api.peer",
    "PeerJoined": "api.happenings",
    "PeerSuspected": "api.happenings",
    "Schedule": "learning.schedule",
    "Simulated": "api.simulation",
    "SklearnLearner": "learning.adapters.sklearn",
    "TorchLearner": "learning.adapters.torch",
    "TrainContext": "learning.learner",
    "TrainResult": "learning.learner",
    "UpdateMade": "api.happenings",
    "UpdateRefused": "api.happenings",
    "UpdateSkipped": "api.happenings",
    "chart": "api.chart",
    "digits": "learning.shares",
    "open": "api.chain",
    "schedule_of": "learning.schedule",
    "share": "learning.shares",
    "simulate": "api.simulation",
}

__all__ = [
    "AppContext",
    "Block",
    "Callbacks",
    "Chain",
    "FederatedClassifier",
    "FlowerLearner",
    "JaxLearner",
    "Learner",
    "LearnerError",
    "Metrics",
    "P2PFedError",
    "Peer",
    "PeerJoined",
    "PeerSuspected",
    "Schedule",
    "Simulated",
    "SklearnLearner",
    "TorchLearner",
    "TrainContext",
    "TrainResult",
    "UpdateMade",
    "UpdateRefused",
    "UpdateSkipped",
    "__version__",
    "chart",
    "digits",
    "open",
    "schedule_of",
    "share",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'p2pfed' has no attribute {name!r}")
    value = getattr(import_module(f"p2pfed.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
