"""What a transport does when one of its own tasks fails: that is our bug, and the host must hear of it."""

from __future__ import annotations

import asyncio


def raise_in_loop(task: asyncio.Task[None]) -> None:
    """Hand an unexpected error of a finished task to the loop's exception handler, where the host halts."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "a transport failed by our own bug", "exception": error, "task": task}
        )
