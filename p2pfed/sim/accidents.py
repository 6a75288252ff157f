"""What strikes peers rather than messages: pauses, clocks, slow work, kills, disks, evidence handed in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from p2pfed.node import events
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.sim.disk import Disk
from p2pfed.sim.faults import Fault
from p2pfed.sim.handing import double_vote
from p2pfed.sim.scenario import Handed, Scenario

if TYPE_CHECKING:
    from p2pfed.sim.world import World

IMAGE_DOWN_MS = 500  # How long it takes to put an old image back.
HAND_AGAIN_MS = 100  # Evidence waits so long for a peer that is down or has no block, then once more.


class Accidents:
    """What the scenario's faults do to peers; `fired` is the network's count of strikes."""

    def __init__(self, scenario: Scenario, fired: list[int]) -> None:
        self._fired = fired
        self._by_kind: dict[str, list[tuple[int, Fault]]] = {}
        for number, fault in enumerate(scenario.faults):
            self._by_kind.setdefault(fault.kind, []).append((number, fault))
        self._evidence = scenario.evidence
        self._images: dict[tuple[int, int], Disk] = {}
        self.bends_time = not {"pause", "clock"}.isdisjoint(self._by_kind)  # Asked before every step.

    def pause_ms(self, peer: int, at_ms: int) -> int:
        """Return how long a peer stands still from now on, 0 where it runs."""
        if "pause" not in self._by_kind:
            return 0
        return max((fault.until_ms - at_ms for fault in self._striking("pause", peer, at_ms)), default=0)

    def clock_ms(self, peer: int, at_ms: int) -> int:
        """Return how far a peer's clock has jumped."""
        if "clock" not in self._by_kind:
            return 0
        return sum(fault.amount for fault in self._striking("clock", peer, at_ms))

    def work_ms(self, peer: int, at_ms: int) -> int:
        """Return how much longer a peer's work takes."""
        return sum(fault.amount for fault in self._striking("slow", peer, at_ms))

    def schedule(self, world: World) -> None:
        """Enter what happens at a certain time."""
        for kind, at_start, at_end in (
            ("kill", self._kill, None),
            ("full_disk", self._fill, self._clean),
            ("old_image", self._copy, self._put_back),
        ):
            for number, fault in self._by_kind.get(kind, ()):
                world.after(fault.from_ms, partial(at_start, world, number, fault))
                if at_end is not None:
                    world.after(fault.until_ms, partial(at_end, world, number, fault))
        for handed in self._evidence:
            world.after(handed.from_ms, partial(_hand, world, handed))

    def _striking(self, kind: str, peer: int, at_ms: int) -> list[Fault]:
        known = self._by_kind.get(kind)
        if known is None:
            return []
        struck = [(number, fault) for number, fault in known if peer in fault.peers and fault.is_on(at_ms)]
        for number, _ in struck:
            self._fired[number] += 1
        return [fault for _, fault in struck]

    def _kill(self, world: World, number: int, fault: Fault) -> None:
        for peer in fault.peers:
            self._fired[number] += world.peers[peer].kill(fault.until_ms - fault.from_ms)

    def _fill(self, world: World, number: int, fault: Fault) -> None:
        self._fired[number] += 1
        for peer in fault.peers:
            world.peers[peer].disk.full_until_ms = fault.until_ms

    def _clean(self, world: World, _number: int, fault: Fault) -> None:
        for peer in fault.peers:
            if world.peers[peer].disk.full_until_ms == fault.until_ms:
                world.peers[peer].disk.full_until_ms = 0

    def _copy(self, world: World, number: int, fault: Fault) -> None:
        for peer in fault.peers:
            self._images[number, peer] = world.peers[peer].disk.image()

    def _put_back(self, world: World, number: int, fault: Fault) -> None:
        for peer in fault.peers:
            if world.peers[peer].kill(IMAGE_DOWN_MS):
                self._fired[number] += 1
                world.peers[peer].disk = self._images[number, peer]


def _hand(world: World, handed: Handed) -> None:
    """Let a peer hear of a lie at its newest height, as if a neighbour passed the evidence on."""
    peer, culprit = world.peers[handed.to], world.peers[handed.culprit]
    neighbours = world.partners(peer)
    if not peer.is_up or not neighbours or peer.node.state.header is None:
        world.after(HAND_AGAIN_MS, partial(_hand, world, handed))
        return
    state = peer.node.state
    evidence = double_vote(culprit.key, state.last_validators, state.chain_id, state.height)
    if evidence is not None:
        data = codec.encode(evidence)
        peer.handle(events.MessageReceived(neighbours[0], evidence, len(data), sha256(data)))
