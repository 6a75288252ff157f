"""What `/v1/status` and `p2pfed status` say of a running peer, as plain values ready for JSON."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from p2pfed.chain.form import payload_form
from p2pfed.ledger.state import LedgerState
from p2pfed.ledger.summary import account_row, stake_row
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
        "codec": genesis.params.codec,
        "update_bytes": payload_form(genesis).length,
        "updates_counted": len(host.node.state.ledger.training.last_trainers),
        "figures": host.feed.figures.get(view.height, {}),
        "learner": host.learner_state(),
        "account": _account(host),
        "stakes": stake_list(host.node.state.ledger),
        "earnings": earning_list(host.node.state.ledger),
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


def stake_list(ledger: LedgerState) -> list[dict[str, Any]]:
    """Return who has something at stake, ascending by key."""
    staking = ledger.staking
    return [
        {"id": peer_id(stake.key), "role": staking.role_of(stake.key), **stake_row(stake)}
        for stake in staking.stakes
    ]


def earning_list(ledger: LedgerState) -> list[dict[str, Any]]:
    """Return what each key was paid for its work, and what its last update scored in units of 2^-16."""
    return [
        {"id": peer_id(standing.key), "earned": standing.earned, "last_update": standing.score}
        for standing in ledger.contribution.standings
    ]


def own_account(ledger: LedgerState, key: bytes) -> dict[str, Any] | None:
    """Return what `key` owns and has at stake, None without an account."""
    account = ledger.account(key)
    if account is None:
        return None
    return {"role": ledger.staking.role_of(key), **account_row(account, ledger.stake(key))}


def _account(host: Host) -> dict[str, Any] | None:
    """Return the own account, with the nonce that the next transaction needs: some may wait for a block."""
    node = host.node
    row = own_account(node.state.ledger, node.hand.public)
    if row is None:
        return None
    return {**row, "next_nonce": node.transactions.next_nonce(node.hand.public, row["nonce"])}
