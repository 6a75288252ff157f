"""COLLECT of one height: wait for updates while its clock runs, then sign the availability vote (C1).

Where work is paid it has two parts: first everybody pledges an update, then all are shown. Whoever waits to
see another's before it makes its own has pledged nothing by then (docs/spec/contribution.md).
"""

from __future__ import annotations

from collections.abc import Callable

from p2pfed.chain.state import ChainState
from p2pfed.consensus.quorum import has_quorum
from p2pfed.consensus.signer import SignAvail
from p2pfed.node.collect import Collect
from p2pfed.node.effects import FetchPayload, Observe, ScheduleTimeout
from p2pfed.node.events import Timer
from p2pfed.node.facts import CollectEnded, LeaveReason, PledgesEnded
from p2pfed.node.shared import Shared
from p2pfed.node.update_pool import UpdatePool
from p2pfed.types.availability import AvailMessage
from p2pfed.types.update import UpdateHeader

OF_ITSELF = ("all", "grace", "deadline")  # Reasons that tell how long the waiting takes, for later heights.


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
        expected = frozenset(state.expected_trainers)
        self.is_open = is_open
        self.clock = Collect(shared.preset, expected, shared.collect_ms)
        self.own: UpdateHeader | None = None  # Our update, while it is pledged and not shown.
        self._pledging = Collect(shared.preset, expected, shared.pledge_ms)
        self._show_ms = 0  # When the second part begins.
        self._state = state
        self._pool = pool
        self._shared = shared
        self._outbox = shared.outbox
        self._own_index = own_index
        self._proposer = proposer
        self._wake_ms: int | None = None

    def check(self, now_ms: int) -> LeaveReason | None:
        """Return why COLLECT is over; None while it is not, with a timer for when to look again."""
        if self._pool.has_avail_quorum():
            return "quorum"
        if not self._is_showing(now_ms):
            return None
        self._run(self.clock, now_ms)
        settled = self._pool.settled_trainers()
        is_any = bool(self._pool.known) or self._pool.pledges is not None
        reason = self.clock.check(now_ms, settled, self._shared.idle, has_header=is_any)
        if reason is None:
            self._wake_in(self.clock.wait_ms(now_ms), now_ms)
        return reason

    def awaited(self) -> frozenset[bytes]:
        """Return the trainers whose pledge or payload is waited for now."""
        pledges = self._pool.pledges
        if pledges is not None and pledges.is_open:
            return self._pledging.awaited(self._shared.idle) - pledges.trainers
        return self.clock.awaited(self._shared.idle) - self._pool.settled_trainers()

    def woke(self) -> None:
        """Note that the timer fired."""
        self._wake_ms = None

    def show(self, now_ms: int) -> None:
        """Begin the second part: our own update is shown, if its pledge was in time."""
        pledges, header, self.own = self._pool.pledges, self.own, None
        if pledges is None:
            return
        pledges.close()
        self._show_ms = min(self._show_ms, now_ms)
        self.clock.expected = pledges.due_trainers()
        if header is not None and self._pool.is_due(header):
            self._shared.neighbours.push(header)
            if self._pool.add_header(header):
                self.fetch(header, now_ms)

    def fetch(self, header: UpdateHeader, now_ms: int) -> None:
        self._shared.rate.asked(header.update_id, now_ms)
        self._outbox.append(FetchPayload(header, self._pool.holders_of(header)))

    def sign_avail(self, reason: LeaveReason, now_ms: int) -> None:
        """Sign the availability vote over what is held, whatever the way out of COLLECT."""
        self._end_pledges(reason, now_ms)
        self.show(now_ms)
        self.is_open = False
        height, clock = self._state.next_height, self.clock
        held, expected = len(self._pool.held), len(clock.expected)
        self._outbox.append(Observe(CollectEnded(height, held, expected, reason)))
        if clock.started_ms is not None and reason in OF_ITSELF:
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

    def _is_showing(self, now_ms: int) -> bool:
        """Answer whether updates are shown now, as they are from the first where nothing is pledged."""
        pledges = self._pool.pledges
        if pledges is None:
            return True
        if pledges.is_open:
            self._run(self._pledging, now_ms)
            reason = self._pledging.check(
                now_ms, pledges.trainers, self._shared.idle, has_header=bool(pledges.first)
            )
            if reason is None:
                self._wake_in(self._pledging.wait_ms(now_ms), now_ms)
                return False
            self._end_pledges(reason, now_ms)
        if now_ms < self._show_ms:
            self._wake_in(self._show_ms - now_ms, now_ms)
            return False
        self.show(now_ms)
        return True

    def _end_pledges(self, reason: LeaveReason, now_ms: int) -> None:
        """Take no more pledges. While anybody could still make one, others are given a flight to end theirs.

        What is shown here is copied elsewhere no sooner than it comes there; by then their clocks have ended
        the first part too. Where every trainer has pledged there is nothing to copy it into.
        """
        pledges, clock = self._pool.pledges, self._pledging
        if pledges is None or not pledges.is_open:
            return
        pledges.close()
        pledged, expected = len(pledges.trainers), len(clock.expected)
        self._outbox.append(Observe(PledgesEnded(self._state.next_height, pledged, expected, reason)))
        if clock.started_ms is not None and reason in OF_ITSELF:
            self._shared.pledge_times_ms.append(now_ms - clock.started_ms)
        is_everybody = pledges.trainers >= {*self._state.trainers}
        self._show_ms = now_ms if is_everybody else now_ms + self._shared.preset.flight_ms

    def _run(self, clock: Collect, now_ms: int) -> None:
        """Let a clock run while a quorum is within reach: peers connected, or heard of over others."""
        validators, neighbours = self._state.validators, self._shared.neighbours
        is_near = has_quorum(neighbours.connected_power, validators.total_power)
        if is_near or self._own_index is None or self._hears_quorum():
            clock.run(now_ms)
        else:
            clock.pause()

    def _hears_quorum(self) -> bool:
        """Answer whether those connected and those whose word of this height is here are a quorum."""
        validators, pool = self._state.validators, self._pool
        heard = {*self._shared.neighbours.table.connected_members()}
        heard |= {header.trainer for header in pool.known.values()}
        if pool.pledges is not None:
            heard |= pool.pledges.trainers
        indices = [
            index
            for index, validator in enumerate(validators.validators)
            if index == self._own_index or index in pool.avails or validator.key in heard
        ]
        return has_quorum(validators.power_of(indices), validators.total_power)

    def _wake_in(self, wait_ms: int | None, now_ms: int) -> None:
        if wait_ms is not None and (self._wake_ms is None or now_ms + wait_ms < self._wake_ms):
            self._wake_ms = now_ms + wait_ms
            self._outbox.append(ScheduleTimeout(Timer("collect", self._state.next_height, 0), wait_ms))
