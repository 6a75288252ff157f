"""Stale replay: an update that was honest some heights ago, signed anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import ClassVar

from p2pfed.adversary.attacks.attack import Attack, Sight
from p2pfed.types.model import Int16Vector

AGE_MAX = 64


class StaleReplay(Attack):
    """Sends what it trained `age` heights ago, or the oldest it has, as if it were new.

    It trained from a model that is gone, in units that may be gone: an element counts as it stands.
    """

    kind = "stale_replay"
    settings: ClassVar[Mapping[str, float]] = {"age": 5.0}
    boast = "published an old update again"

    def __init__(self, settings: Mapping[str, float]) -> None:
        super().__init__(settings)
        age = max(0, min(AGE_MAX, int(settings["age"])))
        self._trained: deque[Int16Vector] = deque(maxlen=age + 1)

    def craft(self, sight: Sight) -> Int16Vector:
        self._trained.append(sight.own.copy())
        return self._trained[0]
