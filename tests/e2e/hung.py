"""A learner for tests: at the last peer it never comes back from training."""

from __future__ import annotations

import signal
from typing import Any

from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.learner import AppContext


def learner(context: AppContext) -> Any:
    made = builtin_learner("digits", "mlp", context)
    if context.index == 3:
        made.train = lambda *_: signal.pause()
    return made
