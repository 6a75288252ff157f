"""Spread cells over processes of this machine; a cell that fails or kills its process costs itself alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end

from p2pfed.errors import P2PFedError
from p2pfed.sim.matrix.cell import Row, failed_row, run_cell
from p2pfed.sim.matrix.plan import Cell, Plan

Done = Callable[[Row], None]


def run_cells(
    plan: Plan, cells: Iterable[Cell], workers: int, done: Done, stopping: Callable[[], None]
) -> bool:
    """Run cells and hand over the row of each as it is done; return whether none is left.

    An interrupt lets the running cells finish and leaves the others; `stopping` is told. A second one ends
    those too.
    """
    left = deque(cells)
    try:
        while left:
            suspects = _run(plan, left, workers, done, stopping)
            for cell in suspects:  # One of them ended its process: alone, only the guilty one fails.
                alone = deque([cell])
                if _run(plan, alone, 1, done, stopping):
                    done(failed_row(plan, cell, "its process died; out of memory?"))
    except _Interrupted:
        return False
    return True


class _Interrupted(Exception):
    """The first interrupt was heard and the running cells are done."""


def _run(
    plan: Plan, left: deque[Cell], workers: int, done: Done, stopping: Callable[[], None]
) -> Sequence[Cell]:
    """Run `left` until it is empty or a process dies; return the cells that ran then."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, min(workers, len(left))), spawn, _begin_worker)
    running: dict[Future[Row], Cell] = {}
    is_stopping = False
    try:
        while running or (left and not is_stopping):
            try:
                while left and len(running) < workers and not is_stopping:
                    running[pool.submit(run_cell, plan, left[0])] = left[0]
                    left.popleft()
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                if is_stopping:
                    raise
                is_stopping = True
                stopping()
                continue
            if any(isinstance(future.exception(), BrokenProcessPool) for future in finished):
                return list(running.values())
            for future in finished:
                done(_row_of(plan, running.pop(future), future))
    finally:
        if is_stopping and running:
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)
    if is_stopping:
        raise _Interrupted
    return ()


def _row_of(plan: Plan, cell: Cell, future: Future[Row]) -> Row:
    error = future.exception()
    if error is None:
        return future.result()
    text = str(error) if isinstance(error, P2PFedError) else f"{type(error).__name__}: {error}"
    return failed_row(plan, cell, text)


def _begin_worker() -> None:
    """Leave interrupts to the parent, keep a learner's prints off the results, end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for_end([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
