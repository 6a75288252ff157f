"""`p2pfed audit`: this peer's own opinion of what is in final blocks."""

from __future__ import annotations

import asyncio
import json
import os

import click

from p2pfed.cli.options import home_option, json_option
from p2pfed.cli.progress import Progress
from p2pfed.errors import LocalError
from p2pfed.learning.client import WorkerFailed
from p2pfed.learning.learner import Metrics
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.config import load_config
from p2pfed.runtime.contribution_audit import Audit, audit_contribution
from p2pfed.runtime.peer import make_worker, read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.address import peer_id
from p2pfed.types.model import ModelState

ORDERS = 20


@click.group()
def audit() -> None:
    """Judge what is in final blocks with this peer's own learner; nothing is changed."""


@audit.command()
@home_option
@json_option
@click.option("--height", type=click.IntRange(0), default=0, help="Of the block; 0: the newest.")
@click.option(
    "--orders",
    type=click.IntRange(1, 100_000),
    default=ORDERS,
    show_default=True,
    help="Orders of the updates that are tried for the Shapley values.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which orders.")
def contribution(home: Home, as_json: bool, height: int, orders: int, seed: int) -> None:
    """Say what each update of a block was worth: leave one out, and Shapley values.

    Merges and evaluates the model of many sets of updates, as this peer's learner measures it. It needs the
    payloads, so the block must be one of the last 8.
    """
    genesis = read_genesis(home)
    store = Store(home, genesis, read_only=True)
    try:
        chosen = height or store.chain.height
        found = asyncio.run(_audit(home, store, chosen, orders, seed))
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(_row(found)))
        return
    click.echo(
        f"block {found.height}: {found.measure} {found.before:.4f} before, {found.after:.4f} with all updates"
    )
    for worth in found.worth:
        score = "" if worth.score is None else f"  score {worth.score / (1 << 16):.3f}"
        click.echo(
            f"{peer_id(worth.trainer)}  leave one out {worth.leave_one_out:+.4f}  "
            f"shapley {worth.shapley:+.4f}{score}"
        )


async def _audit(home: Home, store: Store, height: int, orders: int, seed: int) -> Audit:
    worker = make_worker(load_config(home.config, os.environ, {}).learner)
    groups = store.genesis.manifest.groups

    async def evaluate(model: ModelState) -> Metrics:
        figures = await worker.evaluate(model_view(model, groups), height=height, train_index=height)
        if isinstance(figures, WorkerFailed):
            raise LocalError(f"the learner can't measure a model: {figures.reason}")
        return figures

    block = store.chain.block(height)
    steps = (orders + 1) * len(block.body.updates) if block is not None else 0
    try:
        with Progress("audit", steps) as progress:
            return await audit_contribution(
                store, height, evaluate, orders=orders, seed=seed, step_to=progress.step_to
            )
    finally:
        await worker.close()


def _row(found: Audit) -> dict[str, object]:
    return {
        "schema": "p2pfed.audit-contribution/1",
        "height": found.height,
        "measure": found.measure,
        "before": found.before,
        "after": found.after,
        "updates": [
            {
                "trainer": worth.trainer.hex(),
                "score": worth.score,
                "leave_one_out": worth.leave_one_out,
                "shapley": worth.shapley,
            }
            for worth in found.worth
        ],
    }
