"""Choose the few peers that a new message is pushed to; digests repair whatever a push misses."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping

MESH_DEGREE = 8  # Fingers 1, 2, 4 … 128 on a ring: 256 peers are at most eight pushes apart.


def mesh(own: bytes, connected: Iterable[bytes], degree: int = MESH_DEGREE) -> tuple[bytes, ...]:
    """Return the peers that `own` pushes to, in ascending order: all of them where they are few.

    The keys form a ring; a peer pushes to those at the distances 1, 2, 4 … after it. The next on the ring is
    always among them, so with every pipe open a push reaches everybody, whatever the keys are.
    """
    assert degree > 0
    others = sorted({key for key in connected if key != own})
    if len(others) <= degree:
        return tuple(others)
    start = bisect(others, own)
    distances = [1 << power for power in range(degree) if 1 << power <= len(others)]
    # A ring shorter than 2^degree leaves fingers over: the nearest peers not chosen yet take them.
    distances += [step for step in range(3, len(others) + 1) if step & (step - 1)][: degree - len(distances)]
    return tuple(sorted(others[(start + distance - 1) % len(others)] for distance in distances))


class Pipes:
    """Who has an open pipe to `own`, and the meshes among the members. A pipe more or less makes a new one.

    Args:
        own: Our own key.
        is_member: Whether each peer with a pipe is a member.
    """

    def __init__(self, own: bytes, is_member: Mapping[bytes, bool]) -> None:
        self.members = tuple(sorted(key for key in is_member if is_member[key]))
        self.observers = tuple(sorted(key for key in is_member if not is_member[key]))
        self._own = own
        self._meshes: dict[int, tuple[bytes, ...]] = {}

    def mesh(self, degree: int) -> tuple[bytes, ...]:
        """Return the mesh of this degree, ascending."""
        if degree not in self._meshes:
            self._meshes[degree] = mesh(self._own, self.members, degree)
        return self._meshes[degree]
