"""A push reaches everybody, whatever the keys are."""

from __future__ import annotations

from p2pfed.gossip.mesh import MESH_DEGREE, mesh


def _keys(count: int) -> list[bytes]:
    return [number.to_bytes(33, "big") for number in range(count)]


def test_few_peers_are_all_pushed_to() -> None:
    keys = _keys(MESH_DEGREE + 1)
    for own in keys:
        assert mesh(own, keys) == tuple(key for key in keys if key != own)


def test_many_peers_are_pushed_to_by_degree_and_never_oneself() -> None:
    for count in range(MESH_DEGREE + 2, 300, 7):
        keys = _keys(count)
        for own in (keys[0], keys[count // 2], keys[-1]):
            chosen = mesh(own, keys)
            assert len(chosen) == len(set(chosen)) == MESH_DEGREE
            assert own not in chosen
            assert list(chosen) == sorted(chosen)


def test_the_choice_depends_on_no_order_of_arrival() -> None:
    keys = _keys(40)
    assert mesh(keys[3], keys) == mesh(keys[3], list(reversed(keys)))


def test_a_push_reaches_every_peer_of_a_full_network() -> None:
    for count, hops_max in ((2, 1), (9, 1), (10, 2), (40, 4), (256, 8), (300, 9)):
        keys = _keys(count)
        reached, wave, hops = {keys[0]}, {keys[0]}, 0
        while wave:
            wave = {target for own in wave for target in mesh(own, keys)} - reached
            reached |= wave
            hops += bool(wave)
        assert len(reached) == count
        assert hops <= hops_max


def test_the_next_on_the_ring_is_always_chosen() -> None:
    keys = _keys(64)
    for place, own in enumerate(keys):
        assert keys[(place + 1) % 64] in mesh(own, keys)


def test_the_peers_at_each_power_of_two_after_us_are_chosen_up_to_the_last() -> None:
    for count in (17, 33, 34, 129, 257, 300):
        keys = _keys(count)
        fingers = [1 << power for power in range(MESH_DEGREE) if 1 << power < count]
        for own in (0, count // 2, count - 1):
            assert {keys[(own + finger) % count] for finger in fingers} <= set(mesh(keys[own], keys))


def test_a_peer_alone_pushes_to_nobody() -> None:
    assert mesh(b"own", []) == ()
    assert mesh(b"own", [b"own"]) == ()
