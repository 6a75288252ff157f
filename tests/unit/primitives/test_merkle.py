"""The trees of RFC 6962: known roots, a proof for each leaf, and none for anything else."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.primitives import merkle

# The test vectors of the certificate-transparency project for RFC 6962 section 2.1.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

leaf_lists = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


@pytest.mark.parametrize("count", range(1, 9))
def test_known_trees_have_their_known_roots(count: int) -> None:
    assert merkle.root(LEAVES[:count]).hex() == ROOTS[count - 1]


def test_an_empty_list_has_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest() == merkle.EMPTY_ROOT == merkle.chunk_root(b"")


@given(leaf_lists)
def test_every_leaf_is_proven_at_its_own_place_only(leaves: list[bytes]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    root, count = merkle.root(leaves), len(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.path_of_hashes(hashes, index)
        assert merkle.has_leaf(root, leaf, index, count, path)
        assert not merkle.has_leaf(root, leaf + b"x", index, count, path)
        assert not merkle.has_leaf(root, leaf, index, count, (*path, bytes(32)))
        assert not merkle.has_leaf(root, leaf, count, count, path)
        assert not path or not merkle.has_leaf(root, leaf, index, count, path[:-1])


@given(leaf_lists)
def test_a_repeated_last_leaf_makes_another_tree(leaves: list[bytes]) -> None:
    assert merkle.root(leaves) != merkle.root([*leaves, leaves[-1]])


def test_an_inner_node_is_no_leaf() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.root([b"a", b"b"]) != merkle.leaf_hash(left + right)


def test_a_path_longer_than_any_tree_is_refused_unread() -> None:
    assert not merkle.has_leaf(bytes(32), b"", 0, 1 << 40, (bytes(32),) * (merkle.PATH_LENGTH_MAX + 1))


LEAF, CHUNK = merkle.LEAF_BYTES, merkle.CHUNK_BYTES


@pytest.mark.parametrize(
    ("length", "chunks", "leaves"),
    [
        (0, 0, 0),
        (1, 1, 1),
        (LEAF + 1, 1, 2),
        (CHUNK, 1, 64),
        (CHUNK + 1, 2, 65),
        (CHUNK + 3 * LEAF, 2, 67),
        (3 * CHUNK, 3, 192),
        (5 * CHUNK + 7 * LEAF + 3, 6, 328),
    ],
)
def test_a_blob_is_one_tree_whose_chunks_are_subtrees(length: int, chunks: int, leaves: int) -> None:
    data = random.Random(length).randbytes(length)
    pieces = [data[start : start + LEAF] for start in range(0, length, LEAF)]
    root = merkle.chunk_root(data)
    assert root == merkle.root(pieces)  # The tree of RFC 6962 over all its leaves, nothing else.
    assert (merkle.chunk_count(length), merkle.leaf_count(length)) == (chunks, leaves)
    hashes, leaf_hashes = merkle.chunk_hashes(data), merkle.blob_leaf_hashes(data)
    assert (len(hashes), len(leaf_hashes)) == (chunks, leaves)
    for index in range(chunks):
        path = merkle.path_of_hashes(hashes, index)
        chunk = data[index * CHUNK : (index + 1) * CHUNK]
        assert merkle.has_chunk(root, chunk, index, chunks, path)
        assert not merkle.has_chunk(root, chunk[:-1] + b"?", index, chunks, path)
        assert not merkle.has_chunk(root, chunk, index + 1, chunks, path)
    for index in {0, leaves // 2, leaves - 1} if leaves else ():
        path = merkle.path_of_hashes(leaf_hashes, index)
        assert merkle.has_leaf(root, pieces[index], index, leaves, path)
        assert len(path) <= 9
