"""COLLECT of one height: wait for updates while its clock runs, then sign the availability vote (C1)."""

from __future__ import annotations

from collections.abc import Callable

from p2pfed.chain.state import ChainState
from p2pfed.consensus.signer import SignAvail
from p2pfed.node.collect import Collect
from p2pfed.node.effects import Observe, ScheduleTimeout
from p2pfed.node.events import Timer
from p2pfed.node.facts import CollectEnded, LeaveReason
from p2pfed.node.shared import Shared
from p2pfed.node.update_pool import UpdatePool
from p2pfed.types.availability import AvailMessage


class Collecting:
    """Says when the waiting is over. `proposer` answers who proposes soon, as a validator's index."""

    def __init__(
        self,
        state: ChainState,
        pool: UpdatePool,
        shared: Shared,
        own_index: int | None,
        proposer: Callable[[], int],
        *,
        is_open: bool,
    ) -> None:
        self.is_open = is_open
        self.clock = Collect(shared.preset, frozenset(state.expected_trainers), shared.collect_ms)
        self._state = state
        self._pool = pool
        self._shared = shared
        self._outbox = shared.outbox
        self._own_index = own_index
        self._proposer = proposer
        self._wake_ms: int | None = None

    def check(self, now_ms: int) -> LeaveReason | None:
        """Return why COLLECT is over; None while it is not, with a timer for when to look again."""
        validators, neighbours = self._state.validators, self._shared.neighbours
        if 3 * neighbours.connected_power > 2 * validators.total_power or self._own_index is None:
            self.clock.run(now_ms)
        else:
            self.clock.pause()
        if self._pool.has_avail_quorum():
            return "quorum"
        settled = self._pool.settled_trainers()
        reason = self.clock.check(now_ms, settled, has_header=bool(self._pool.known))
        if reason is None:
            self._wake_in(self.clock.wait_ms(now_ms), now_ms)
        return reason

    def woke(self) -> None:
        """Note that the timer fired."""
        self._wake_ms = None

    def sign_avail(self, reason: LeaveReason, now_ms: int) -> None:
        """Sign the availability vote over what is held, whatever the way out of COLLECT."""
        self.is_open = False
        height, clock = self._state.next_height, self.clock
        held, expected = len(self._pool.held), len(clock.expected)
        self._outbox.append(Observe(CollectEnded(height, held, expected, reason)))
        if clock.started_ms is not None and reason in ("all", "grace", "deadline"):
            self._shared.collect_times_ms.append(now_ms - clock.started_ms)
        if self._own_index is not None:
            time_ms = max(now_ms, self._state.time_ms + 1)
            request = SignAvail(height, 0, self._own_index, self._pool.held_ids(), time_ms)
            message = self._shared.hand.sign(request)
            if isinstance(message, AvailMessage):
                self._pool.add_avail(message)
                self._shared.neighbours.push(message)
        for _, other in sorted(self._pool.avails.items()):
            self.share_headers(other)

    def share_headers(self, message: AvailMessage) -> None:
        """Tell who proposes soon, as everybody does, the headers it lacks of what we voted to hold."""
        index = message.avail.validator_index
        is_soon = index == self._proposer()
        for header in self._pool.held_but_not_listed(message) if is_soon else ():  # Digests tell others.
            self._shared.neighbours.tell(self._state.validators.validators[index].key, header)

    def _wake_in(self, wait_ms: int | None, now_ms: int) -> None:
        if wait_ms is not None and (self._wake_ms is None or now_ms + wait_ms < self._wake_ms):
            self._wake_ms = now_ms + wait_ms
            self._outbox.append(ScheduleTimeout(Timer("collect", self._state.next_height, 0), wait_ms))
