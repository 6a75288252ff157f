"""What a simulated peer pulls: payloads, bodies, models, the parts of a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from p2pfed.chain.form import payload_form
from p2pfed.chain.snapshot import block_of, model_of, state_after
from p2pfed.errors import BadChunk, PeerFault
from p2pfed.node import effects, events
from p2pfed.primitives import codec
from p2pfed.sim.bulk import Pulls
from p2pfed.types.block import Body
from p2pfed.types.params import BODY_BYTES_MAX, HEIGHT_MAX
from p2pfed.types.snapshot import BODY, EXPONENTS, LEDGER, MODEL, Part

if TYPE_CHECKING:
    from p2pfed.sim.peer import SimPeer
    from p2pfed.sim.world import World

NEVER = HEIGHT_MAX  # The parts of a snapshot are wanted until they are here.


class Fetching:
    """The pulls of one life of a peer."""

    def __init__(self, world: World, peer: SimPeer) -> None:
        self._world = world
        self._peer = peer
        self._pulls = Pulls(self)
        self._form = payload_form(world.genesis)

    def passed(self, height: int) -> None:
        """Give up what only the blocks up to `height` needed."""
        self._pulls.passed(height)

    def payload(self, effect: effects.FetchPayload) -> None:
        header, update_id = effect.header, effect.header.update_id

        def done(data: bytes) -> None:
            is_valid, proof = self._world.judge_payload(header, data, self._form)
            self._peer.handle(events.PayloadFetched(update_id, is_valid, proof))

        last = header.base_height + self._world.genesis.params.update_lag
        self._pulls.want(update_id, header.payload_root, effect.holders, last, done)

    def body(self, effect: effects.FetchBody) -> None:
        header = effect.header

        def done(data: bytes) -> None:
            self._peer.handle(events.BodyFetched(header, codec.decode(data, Body, BODY_BYTES_MAX)))

        self._pulls.want(header.value_id, header.body_hash, effect.holders, header.height, done)

    def model(self, effect: effects.FetchModel) -> None:
        header, height = effect.header, effect.header.height

        def done(_: bytes) -> None:
            model = self._peer.disk.load_model(header.model_root, header.exponents_root)
            assert model is not None
            self._peer.handle(events.ModelFetched(height, model))

        def half_done(_: bytes) -> None:
            self._pulls.want(header.model_root, header.model_root, effect.holders, height + 1, done)

        self._pulls.want(header.exponents_root, header.exponents_root, effect.holders, height + 1, half_done)

    def snapshot(self, effect: effects.FetchSnapshot) -> None:
        self._parts(effect, effect.snapshot.parts)

    def _parts(self, effect: effects.FetchSnapshot, parts: tuple[Part, ...]) -> None:
        """Pull one part after the other, then make the state of them."""
        peer, snapshot = self._peer, effect.snapshot
        if parts:
            root = parts[0].root
            self._pulls.want(root, root, effect.holders, NEVER, lambda _: self._parts(effect, parts[1:]))
            return
        data = {part.kind: peer.disk.blob(part.root) or b"" for part in snapshot.parts}
        block = block_of(snapshot, data[BODY])
        try:
            state = state_after(snapshot, self._world.genesis, data[LEDGER])
        except PeerFault as fault:
            peer.handle(events.SnapshotFetched(snapshot, None, None, fault))
            return
        weights = np.frombuffer(data[MODEL], "<i4").astype(np.int32)
        state = model_of(state, weights, data[EXPONENTS])
        peer.handle(events.SnapshotFetched(snapshot, block, state, None))

    # The line that pulls go over

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._peer.later(delay_ms, action)

    def blob(self, root: bytes) -> bytes | None:
        return self._peer.disk.blob(root)

    def keep(self, root: bytes, data: bytes) -> None:
        self._peer.disk.keep(root, data)

    def is_connected(self, peer: bytes) -> bool:
        return self._world.has_pipe(self._peer, peer)

    def connected(self) -> tuple[bytes, ...]:
        return self._world.partners(self._peer)

    def request_blob(self, peer: bytes, root: bytes, answer: Callable[[bytes | None], None]) -> None:
        take = partial(self._take, peer, root, answer)
        self._world.post.request(self._peer, peer, lambda other: other.serve(root), take, len)

    def _take(
        self, peer: bytes, root: bytes, answer: Callable[[bytes | None], None], data: bytes | None
    ) -> None:
        """Take what a holder answered; other bytes than those asked for are its misdeed."""
        if data is not None and self._world.root_of(data) != root:
            fault = BadChunk(f"other bytes than those of {root.hex()}")
            self._peer.handle(events.PeerMisbehaved(peer, fault))
            data = None
        answer(data)
