"""Label flip: an honest training on false labels."""

from __future__ import annotations

from p2pfed.adversary.attacks.attack import Attack, Sight
from p2pfed.types.model import Int16Vector


class LabelFlip(Attack):
    """Trains with the label `classes - 1 - y` in place of y, and sends what comes out.

    The liar's learner does it: `poison=label_flip` among the settings of its app.

    Source:
        Tolpegin et al. 2020 (arXiv:2007.08432); the flip of all labels as in Allen-Zhu et al. 2021
        (arXiv:2012.14368).
    """

    kind = "label_flip"
    poison = "label_flip"
    boast = "published an update that was trained on false labels"

    def craft(self, sight: Sight) -> Int16Vector:
        return sight.own
