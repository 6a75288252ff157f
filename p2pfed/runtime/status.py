"""What `/v1/status` and `p2pfed status` say of a running peer, as plain values ready for JSON."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from p2pfed.node.view import view_of
from p2pfed.runtime.host import Host
from p2pfed.types.address import peer_id


def status_of(host: Host) -> dict[str, Any]:
    """Return where the peer stands; keys as in docs/guide/commands.md."""
    view, genesis = view_of(host.node, host.now_ms()), host.node.state.genesis
    return {
        "schema": "p2pfed.status/1",
        "id": peer_id(host.node.hand.public),
        "network": genesis.name,
        "chain": genesis.chain_id.hex(),
        "transport": genesis.transport,
        "height": view.height,
        "hash": view.value_id.hex(),
        "model_root": view.model_root.hex(),
        "train_index": view.train_index,
        "round": view.round,
        "step": view.step,
        "waiting_for": [peer_id(key) for key in view.waiting_for],
        "updates_held": view.updates_held,
        "updates_expected": view.updates_expected,
        "stake_connected": view.connected_power,
        "stake_total": view.total_power,
        "is_halted": not view.is_quorum_connected and not view.is_finished,
        "is_finished": view.is_finished,
        "sync": None if host.state_fetch.progress is None else asdict(host.state_fetch.progress),
        "figures": host.feed.figures.get(view.height, {}),
        "learner": host.learner_state(),
        "peers": [
            {
                "id": peer_id(row.key),
                "is_member": row.is_member,
                "is_connected": row.is_connected,
                "score": row.score,
                "banned_until_ms": row.banned_until_ms,
                "addresses": list(row.addresses),
                "attempts": row.attempts,
            }
            for row in view.peers
        ],
    }
