"""Read a home: from its running peer where there is one, else from what is on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any

from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.ledger.state import LedgerState, decode_ledger, genesis_ledger
from p2pfed.primitives import codec
from p2pfed.runtime.peer import read_genesis
from p2pfed.runtime.status import earning_list, own_account, stake_list
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.types.address import peer_id
from p2pfed.types.genesis import Genesis

TIMEOUT_S = 5


def tip_of(home: Home) -> tuple[int, str]:
    """Return height and hash of the newest block on disk; (0, "") where there is none."""
    if not home.chain_db.exists():
        return 0, ""
    with open_chain(home) as chain:
        height = chain.height
        header = chain.header(height)
    return height, header.value_id.hex() if header is not None else ""


@contextmanager
def open_chain(home: Home) -> Iterator[BlockStore]:
    """Open the chain of a home read only, beside a running peer if there is one.

    Raises:
        LocalError: The home holds no chain.
    """
    if not home.chain_db.exists():
        raise LocalError(
            f"there is no chain in {home.path}; name the folder of a peer with --home, or found a network"
        )
    chain = BlockStore(home.chain_db, None)
    try:
        yield chain
    finally:
        chain.close()


def api_address(home: Home) -> tuple[str, int] | None:
    """Return where the running peer of a home answers; None where none runs or it offers no API."""
    if not home.is_locked():
        return None
    try:
        host, _, port = (home.run / "http").read_text().strip().rpartition(":")
        return host, int(port)
    except (OSError, ValueError):
        return None


def answers(home: Home, path: str) -> bool:
    """Answer whether the running peer of a home says yes (200) to `path`, `/livez` or `/readyz`."""
    address = api_address(home)
    return address is not None and _get(address, path) is not None


def ask_status(home: Home) -> dict[str, Any] | None:
    """Return `/v1/status` of the running peer; None where no peer answers."""
    return ask(home, "/v1/status")


def ask(home: Home, path: str) -> dict[str, Any] | None:
    """Return the object that the running peer has at `path`; None where no peer answers."""
    address = api_address(home)
    return None if address is None else ask_at(address, path)


def ask_at(address: tuple[str, int], path: str) -> dict[str, Any] | None:
    """Return the object that the API at `address` has at `path`; None where none answers."""
    data = _get(address, path)
    try:
        found = None if data is None else json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _get(address: tuple[str, int], path: str) -> bytes | None:
    connection = HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def stored_status(home: Home) -> dict[str, Any]:
    """Return what `status` can say of a peer that does not run."""
    genesis = read_genesis(home)
    height, block_hash = tip_of(home)
    ledger = stored_ledger(home, genesis, height)
    validators = ledger.staking.validators_at(max(height + 1, genesis.params.height_first))
    assert validators is not None
    public = load_key(home.key).public if home.key.exists() else b""
    return {
        "schema": "p2pfed.status/1",
        "id": peer_id(public) if public else "",
        "network": genesis.name,
        "chain": genesis.chain_id.hex(),
        "transport": genesis.transport,
        "height": height,
        "hash": block_hash,
        "step": "stopped",
        "waiting_for": [],
        "is_finished": 0 < genesis.params.height_final <= height,
        "stake_total": validators.total_power,
        "account": own_account(ledger, public),
        "stakes": stake_list(ledger),
        "earnings": earning_list(ledger),
    }


def stored_ledger(home: Home, genesis: Genesis, height: int) -> LedgerState:
    """Return the ledger after the newest block on disk, that of genesis where there is none.

    Raises:
        StorageFault: It is missing or damaged.
    """
    if not height:
        return genesis_ledger(genesis)
    with open_chain(home) as chain:
        data = chain.ledger(height)
    try:
        return decode_ledger(data or b"")
    except MalformedMessage as error:
        raise StorageFault(
            f"the ledger of height {height} can't be read: {error}; run `p2pfed verify`"
        ) from None


def block_rows(chain: BlockStore, heights: range) -> Iterator[dict[str, Any]]:
    """Yield the rows of `blocks` for those of `heights` that exist."""
    for height in heights:
        block = chain.block(height)
        if block is None:
            continue
        header = block.header
        yield {
            "schema": "p2pfed.block/1",
            "height": height,
            "hash": header.value_id.hex(),
            "round": block.commit.round,
            "time_ms": header.time_ms,
            "rule": header.rule,
            "updates": len(block.body.updates),
            "is_empty": header.is_empty,
            "model_root": header.model_root.hex(),
            "proposer": header.proposer.hex(),
            "signatures": len(block.commit.signatures),
            "evidence": len(block.body.evidence),
            "transactions": len(block.body.signed_transactions),
            "bytes": len(codec.encode(block)),
        }
