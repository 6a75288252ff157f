"""How strong? Try the network's own rule on what could be sent, and keep what harms most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from p2pfed.adversary.attacks.attack import Sight
from p2pfed.types.model import Int16Vector

_SHRINK = 0.8


def most_harmful(sight: Sight, made: Callable[[float], Int16Vector], evals: int) -> Int16Vector:
    """Return `made(s)` for the s >= 0 that takes the aggregate farthest from the honest mean.

    All liars send it. Distances count each group relative to the length of its honest mean, or a group of
    large numbers alone would decide.

    Args:
        sight: Its `merged` is what the network would make of the updates.
        made: The update of strength s.
        evals: How often to try, at least 1.
    """
    honest: Sequence[Int16Vector] = sight.honest or (sight.own,)
    mean = sight.rows().mean(axis=0)
    lengths = [float(np.linalg.norm(mean[group.slice])) or 1.0 for group in sight.groups]

    def harm(strength: float) -> float:
        off = sight.merged([*honest, *[made(strength)] * sight.liars]) - mean
        parts = (
            float(np.linalg.norm(off[group.slice])) / length
            for group, length in zip(sight.groups, lengths, strict=True)
        )
        return sum(part * part for part in parts)

    return made(maximised(harm, evals))


def maximised(function: Callable[[float], float], evals: int) -> float:
    """Return the best found argument s >= 0 of `function`: steps double while they help, then shrink.

    Source:
        Shejwalkar and Houmansadr 2021, Algorithm 1, with the step that ByzFL's line search takes.
    """
    best, step = 0.0, 1.0
    best_value = function(best)
    left = evals - 1
    while left > 0:  # Outwards: twice as far each time.
        left -= 1
        value = function(best + step)
        if value <= best_value:
            break
        best, best_value, step = best + step, value, 2 * step
    side = -1.0
    while left > 0:  # Around the best: to either side in turn, nearer each time.
        left -= 1
        if side < 0:
            step *= _SHRINK
        tried = max(0.0, best + side * step)
        value = function(tried)
        if value > best_value:
            best, best_value = tried, value
        side = -side
    return best
