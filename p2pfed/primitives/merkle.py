"""RFC 6962 Merkle trees: one root over many leaves, and a short proof for each.

The odd node is lifted, never duplicated, so no two lists share a root. An empty list has SHA-256("").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from p2pfed.primitives.digest import sha256

EMPTY_ROOT = sha256(b"")
LEAF_BYTES = 1 << 14  # Of a blob: small enough that the opening of one fits into a block as evidence.
CHUNK_BYTES = 1 << 20  # One request of the bulk plane: 64 leaves, an aligned subtree.
PATH_LENGTH_MAX = 32


_LEAF = hashlib.sha256(b"\x00")


def leaf_hash(leaf: bytes | memoryview) -> bytes:
    """Return the hash of one leaf; the 0x00 prefix keeps leaves apart from nodes."""
    digest = _LEAF.copy()
    digest.update(leaf)
    return digest.digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaves that are hashed already."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        paired = [_node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1 :]
    return level[0]


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over `leaves`."""
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def path_of_hashes(hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path of leaf `index`, from its sibling up to the root's child."""
    return path_of_levels(levels_of_hashes(hashes), index)


def levels_of_hashes(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Return every level of the tree over `hashes`, the leaves first, the root last: for many paths."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        paired = [_node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        levels.append(paired + level[len(level) & ~1 :])
    return levels


def path_of_levels(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """Return the audit path of leaf `index` in a tree whose levels are known."""
    assert 0 <= index < len(levels[0])
    siblings = [level[(index >> up) ^ 1] for up, level in enumerate(levels) if (index >> up) ^ 1 < len(level)]
    return tuple(siblings)


def has_leaf(
    expected_root: bytes, leaf: bytes | memoryview, index: int, count: int, path: Sequence[bytes]
) -> bool:
    """Answer whether `leaf` stands at `index` of the tree of `count` leaves under `expected_root`."""
    return _has_node(expected_root, leaf_hash(leaf), index, count, path)


def has_chunk(
    expected_root: bytes, chunk: bytes | memoryview, index: int, count: int, path: Sequence[bytes]
) -> bool:
    """Answer whether `chunk` is number `index` of the `count` chunks of the blob `expected_root`."""
    return has_chunk_hash(expected_root, chunk_hash(chunk), index, count, path)


def has_chunk_hash(
    expected_root: bytes, digest: bytes, index: int, count: int, path: Sequence[bytes]
) -> bool:
    """Answer as `has_chunk` for a chunk whose `chunk_hash` is known."""
    return _has_node(expected_root, digest, index, count, path)


def _has_node(expected_root: bytes, digest: bytes, index: int, count: int, path: Sequence[bytes]) -> bool:
    if not 0 <= index < count or len(path) > PATH_LENGTH_MAX:
        return False
    position, last, used = index, count - 1, 0
    while last > 0:
        if position & 1 or position < last:
            if used == len(path):
                return False
            sibling = path[used]
            used += 1
            digest = _node_hash(sibling, digest) if position & 1 else _node_hash(digest, sibling)
        position >>= 1
        last >>= 1
    return used == len(path) and digest == expected_root


def chunk_count(length: int) -> int:
    """Return how many 1 MiB chunks `length` bytes make; zero bytes make none."""
    return -(-length // CHUNK_BYTES)


def leaf_count(length: int) -> int:
    """Return how many 16 KiB leaves `length` bytes make; zero bytes make none."""
    return -(-length // LEAF_BYTES)


def blob_leaf_hashes(data: bytes | memoryview) -> list[bytes]:
    """Return the hash of each 16 KiB leaf of `data`, in order."""
    view = memoryview(data).cast("B")
    return [leaf_hash(view[start : start + LEAF_BYTES]) for start in range(0, len(view), LEAF_BYTES)]


def chunk_hash(chunk: bytes | memoryview) -> bytes:
    """Return the node over the leaves of one chunk of a blob, at most 1 MiB."""
    return root_of_hashes(blob_leaf_hashes(chunk))


def chunk_hashes(data: bytes | memoryview) -> list[bytes]:
    """Return the node over each 1 MiB chunk of `data`, in order."""
    view = memoryview(data).cast("B")
    return [chunk_hash(view[start : start + CHUNK_BYTES]) for start in range(0, len(view), CHUNK_BYTES)]


def chunk_root(data: bytes | memoryview) -> bytes:
    """Return the root over the 16 KiB leaves of `data`: the name of a payload, a model or a body."""
    return root_of_hashes(chunk_hashes(data))
