"""A read-only picture of a node for people: where it stands and whom it waits for."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.consensus.machine import Step
from p2pfed.gossip.peers import PeerRow
from p2pfed.node.height import HeightWork
from p2pfed.node.node import Node
from p2pfed.types.bitmap import indices_of


class View(Struct, frozen=True):
    """`height` is the last final one; the rest is about the next. Keys are public keys."""

    height: int
    value_id: bytes
    model_root: bytes
    train_index: int
    round: int
    step: str
    waiting_for: tuple[bytes, ...]
    updates_held: int
    updates_expected: int
    connected_power: int
    total_power: int
    is_quorum_connected: bool
    is_finished: bool
    peers: tuple[PeerRow, ...]


def view_of(node: Node, now_ms: int) -> View:
    """Return the picture of `node` at `now_ms`."""
    state, work = node.state, node.work
    power, total = node.neighbours.connected_power, state.validators.total_power
    return View(
        height=state.height,
        value_id=state.header_hash,
        model_root=state.model_root,
        train_index=state.train_index,
        round=max(work.engine.round, 0) if work else 0,
        step=_step(node),
        waiting_for=waiting_for(work) if work else (),
        updates_held=len(work.pool.held) if work else 0,
        updates_expected=len(work.collecting.clock.expected) if work else 0,
        connected_power=power,
        total_power=total,
        is_quorum_connected=3 * power > 2 * total,
        is_finished=node.is_finished,
        peers=node.neighbours.table.rows(now_ms),
    )


def kept(node: Node) -> tuple[int, int, int]:
    """Return how many messages of the next height, proofs and transactions wait; each has its limit."""
    shared = node._shared
    return len(node._early.messages), len(shared.evidence), len(shared.transactions)


def waiting_for(work: HeightWork) -> tuple[bytes, ...]:
    """Return the keys whose message this peer waits for at its step, ascending."""
    engine, validators = work.engine, work.state.validators.validators
    match engine.current_step:
        case Step.COLLECT:
            return tuple(sorted(work.collecting.awaited()))
        case Step.PROPOSE:
            return (validators[engine.proposer(engine.round)].key,)
        case step:
            votes = next((entry for entry in engine.digest_rounds() if entry.round == engine.round), None)
            if votes is None:
                return ()
            bitmap = votes.prevotes if step is Step.PREVOTE else votes.precommits
            heard = indices_of(bitmap, len(validators))
            return tuple(entry.key for index, entry in enumerate(validators) if index not in heard)


def _step(node: Node) -> str:
    if node.is_finished:
        return "finished"
    if node.sync is not None:
        return "state_sync"
    if node.twin.is_listening:
        return "listening"
    if node.is_cut_off:
        return "cut_off"
    return node.work.engine.current_step.name.lower() if node.work else "catching_up"
