"""Listen before speaking where this key may run in another place (R6 of docs/spec/consensus.md)."""

from __future__ import annotations

from p2pfed.chain.state import ChainState
from p2pfed.consensus.quorum import has_quorum
from p2pfed.consensus.timeouts import Preset
from p2pfed.errors import LocalError
from p2pfed.node.effects import Effect, Halt, Observe, ScheduleTimeout
from p2pfed.node.events import Timer
from p2pfed.node.facts import Listening
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.signing import SigningHand
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

LISTEN_MS_MAX = 10_000
_STEPS = ("nothing", "proposal", "prevote", "precommit")


class Doppelganger:
    """Decides whether a start must listen first, for how long, and what it must hear to stop.

    Blocks above the record mean that this key did not vote on them here. Whoever voted on them with it goes
    on to vote: some seconds of listening hear that. The wait is counted in time with a peer connected, never
    in heights, and nobody else waits for it: peers that all start together all go on when it is over.
    """

    def __init__(self, hand: SigningHand, state: ChainState, preset: Preset, outbox: list[Effect]) -> None:
        record, validators = hand.record, state.validators
        index = validators.index_of(hand.public)
        needs_others = index is not None and not has_quorum(
            validators.validators[index].power, validators.total_power
        )
        is_behind = state.header is not None and record.height < state.height and needs_others
        self._public = hand.public
        self._place = (record.height, record.round, record.step)
        self._left_ms = min(LISTEN_MS_MAX, 2 * preset.propose_ms(0)) if is_behind else 0
        self._heard_from_ms: int | None = None  # Since when a peer has been connected, if one is.
        self._outbox = outbox
        self._news: list[Effect] = [Observe(Listening(state.height, record.height, self._left_ms))]

    @property
    def is_listening(self) -> bool:
        """Answer whether nothing may be signed yet."""
        return self._left_ms > 0

    def listen(self, neighbours: Neighbours, now_ms: int) -> None:
        """Count the time with a peer connected; called whenever a pipe opens or closes, and by its timer."""
        if not self.is_listening:
            return
        if self._heard_from_ms is not None:
            self._left_ms = max(0, self._left_ms - (now_ms - self._heard_from_ms))
        is_connected = bool(neighbours.table.connected_peers())
        self._heard_from_ms = now_ms if is_connected else None
        if is_connected and self.is_listening:
            self._outbox.extend(self._news)
            self._news.clear()
            self._outbox.append(ScheduleTimeout(Timer("listen", 0, 0), self._left_ms))

    def hear(self, state: ChainState, message: ControlMessage) -> None:
        """Stop this peer where `message` was signed by its key above its record."""
        if not isinstance(message, ProposalMessage | Prevote | Precommit):
            return
        signed = message.proposal if isinstance(message, ProposalMessage) else message
        step = 1 if isinstance(message, ProposalMessage) else 2 if isinstance(message, Prevote) else 3
        place = (signed.height, signed.round, step)
        if place <= self._place or signed.height > state.height + 2:
            return
        validators = state.validators_at(signed.height)
        if validators is None or validators.index_of(self._public) != signed.validator_index:
            return
        if signed.is_signed_by(self._public, state.chain_id):
            reason = (
                f"this key runs in another place: the network has its {_named(place)}, vote_state.json ends "
                f"at the {_named(self._place)}; stop the other one, or keep this one stopped"
            )
            self._outbox.append(Halt(reason, LocalError.exit_code))


def _named(place: tuple[int, int, int]) -> str:
    return f"{_STEPS[place[2]]} of height {place[0]}, round {place[1]}"
