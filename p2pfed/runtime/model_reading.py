"""The agreed model of a height from a store."""

from __future__ import annotations

from p2pfed.errors import LocalError
from p2pfed.storage import retention
from p2pfed.storage.store import Store
from p2pfed.types.model import ModelState


def stored_model(store: Store, height: int | None) -> tuple[int, ModelState]:
    """Return a height, None for the newest, and the model that was agreed there.

    Raises:
        LocalError: There is no such height, or its model is pruned; names the nearest kept one.
    """
    tip = store.chain.height
    wanted = tip if height is None else height
    if not 0 <= wanted <= tip:
        raise LocalError(f"there is no height {wanted} yet; the last final one is {tip}")
    model = store.load_model(wanted)
    if model is None:
        raise LocalError(f"the model of height {wanted} is pruned; {_nearest(store, wanted, tip)}")
    return wanted, model


def _nearest(store: Store, wanted: int, tip: int) -> str:
    kept = [h for h in range(tip + 1) if retention.keeps_model(h, tip) and store.load_model(h) is not None]
    if not kept:
        return "no model is kept here"
    nearest = min(kept, key=lambda height: abs(height - wanted))
    return f"the nearest one kept is {nearest}"
