"""Prove that a leaf stands in a sorted list under a header's root, or that none does; and check such proofs.

RFC 6962 does not bind the length of a list, and it need not: a path is a row of turns that only one leaf of
the real tree has. Two leaves whose turns are those of neighbours in a tree of some length are neighbours in
the real one: the last leaf of one subtree and the first of the next. Turns to the left (right) alone lead to
the first (last) leaf.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from p2pfed.chain.update_set import ROUND_WITHOUT_UPDATES
from p2pfed.errors import InvalidLightBlock
from p2pfed.ledger.modules.accounts import Account
from p2pfed.ledger.modules.accounts import name as accounts_name
from p2pfed.ledger.modules.staking import name as staking_name
from p2pfed.ledger.stake import Stake
from p2pfed.ledger.state import LedgerState
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT, has_leaf, leaf_hash, path_of_hashes
from p2pfed.types.block import Header
from p2pfed.types.light import ListProof
from p2pfed.types.params import PROOF_LEAF_BYTES_MAX
from p2pfed.types.update import UpdateHeader


def account_key(public: bytes) -> bytes:
    """Return the key of an account's leaf in the state."""
    return accounts_name.encode() + b"/" + public


def stake_key(public: bytes) -> bytes:
    """Return the key of the leaf of what an account has at stake."""
    return staking_name.encode() + b"/" + public


def prove_leaf(ledger: LedgerState, key: bytes) -> ListProof:
    """Return the proof of `key` under the state root."""
    leaves = ledger.leaves()
    return prove([leaf for leaf, _ in leaves], [codec.encode(leaf) for leaf in leaves], key)


def prove_update(updates: Sequence[UpdateHeader], update_id: bytes) -> ListProof:
    """Return the proof of an update under the updates root of the block that lists `updates`."""
    ids = [update.update_id for update in updates]
    return prove(ids, [codec.encode(update) for update in updates], update_id)


def prove(keys: Sequence[bytes], leaves: Sequence[bytes], key: bytes) -> ListProof:
    """Return the leaf of `key`, or its neighbours where there is none; `keys` of `leaves` ascend."""
    place = bisect_left(keys, key)
    is_there = place < len(keys) and keys[place] == key
    first, last = (place, place) if is_there else (max(place - 1, 0), min(place, len(keys) - 1))
    hashes = [leaf_hash(leaf) for leaf in leaves]
    shown = range(first, last + 1)
    return ListProof(
        first,
        len(leaves),
        tuple(leaves[index] for index in shown),
        tuple(path_of_hashes(hashes, index) for index in shown),
    )


def find_account(proof: ListProof, header: Header, public: bytes) -> Account | None:
    """Return the account of `public` after the block of `header`, None where it has none.

    Raises:
        InvalidLightBlock, MalformedMessage: The proof does not lead to `header.state_root`.
    """
    leaf = find(proof, header.state_root, account_key(public), lambda leaf: _state_leaf(leaf)[0])
    return None if leaf is None else codec.decode(_state_leaf(leaf)[1], Account, PROOF_LEAF_BYTES_MAX)


def find_stake(proof: ListProof, header: Header, public: bytes) -> Stake | None:
    """Return what `public` has at stake after the block of `header`, None for nothing; raises the same."""
    leaf = find(proof, header.state_root, stake_key(public), lambda leaf: _state_leaf(leaf)[0])
    return None if leaf is None else codec.decode(_state_leaf(leaf)[1], Stake, PROOF_LEAF_BYTES_MAX)


def find_update(proof: ListProof, header: Header, update_id: bytes) -> UpdateHeader | None:
    """Return the update of that id if the block of `header` lists it, else None; raises as `find_account`."""
    leaf = find(proof, header.updates_root, update_id, lambda leaf: _update(leaf).update_id)
    return None if leaf is None else _update(leaf)


def why_not_counted(header: Header, update: UpdateHeader | None) -> str:
    """Return why an update that `find_update` returned was not merged by the block, "" where it was.

    A trainer that signed two updates of one height loses both; who signed only one need not think of it.
    """
    if update is None:
        return f"block {header.height} does not list it"
    if header.round0 >= ROUND_WITHOUT_UPDATES:
        return f"block {header.height} was proposed in round {header.round0}, too late to merge anything"
    if header.is_empty:
        return f"block {header.height} is EMPTY: too few updates came for any rule"
    return ""


def find(proof: ListProof, root: bytes, key: bytes, key_of: Callable[[bytes], bytes]) -> bytes | None:
    """Return the leaf of `key` in the sorted list under `root`, None where it is proven missing.

    Raises:
        InvalidLightBlock: It shows neither.
    """
    if len(proof.leaves) != len(proof.paths):
        raise InvalidLightBlock(f"{len(proof.paths)} paths of {len(proof.leaves)} leaves")
    if not proof.leaves:
        if root != EMPTY_ROOT:
            raise InvalidLightBlock(f"an empty list has root {EMPTY_ROOT.hex()}, the header {root.hex()}")
        return None
    for offset, (leaf, path) in enumerate(zip(proof.leaves, proof.paths, strict=True)):
        if not has_leaf(root, leaf, proof.index + offset, proof.count, path):
            raise InvalidLightBlock(f"leaf {proof.index + offset} is not under {root.hex()}")
    match [key_of(leaf) for leaf in proof.leaves]:
        case [only] if only == key:
            return proof.leaves[0]
        case [only]:
            is_first, is_last = proof.index == 0, proof.index == proof.count - 1
            is_missing = (is_first and key < only) or (is_last and only < key)
        case [before, after]:
            is_missing = before < key < after
        case _:
            is_missing = False
    if not is_missing:
        raise InvalidLightBlock(f"the leaves shown are not the neighbours of {key.hex()}")
    return None


def _state_leaf(leaf: bytes) -> tuple[bytes, bytes]:
    return codec.decode(leaf, tuple[bytes, bytes], PROOF_LEAF_BYTES_MAX)


def _update(leaf: bytes) -> UpdateHeader:
    return codec.decode(leaf, UpdateHeader, PROOF_LEAF_BYTES_MAX)
