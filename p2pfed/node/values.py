"""The proposed blocks of one height: fetch the body, then its payloads, then have it checked once."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.chain.check import CheckedBody, Known, check_body
from p2pfed.chain.state import ChainState
from p2pfed.errors import InvalidBlock
from p2pfed.node.checks import BodyCheck
from p2pfed.node.effects import CheckProposal, Effect, FetchBody, FetchPayload
from p2pfed.node.update_pool import UpdatePool
from p2pfed.types.block import Body, Header
from p2pfed.types.certificate import CommitCert

# A proposer signs one value a round and rounds are slow; more is noise that would only fill memory.
VALUES_MAX = 64


class Value(Struct):
    """One proposed block and how far its check is."""

    header: Header
    body: Body | None = None
    checked: CheckedBody | None = None  # Once the body is verified: then it is known what is merged.
    is_checking: bool = False
    state: ChainState | None = None  # After the block, once it is valid.
    refusal: str | None = None


class Values:
    """Blocks by value id. Missing data is no verdict: a block stays open until all of it is here."""

    def __init__(
        self,
        state: ChainState,
        pool: UpdatePool,
        outbox: list[Effect],
        check_body: BodyCheck = check_body,
    ) -> None:
        self._check_body = check_body
        self._state = state
        self._pool = pool
        self._outbox = outbox
        self._values: dict[bytes, Value] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, value_id: bytes) -> Value | None:
        return self._values.get(value_id)

    def bodies(self) -> tuple[Body, ...]:
        """Return the verified bodies that are here."""
        verified = (v for v in self._values.values() if v.checked is not None or v.state is not None)
        return tuple(value.body for value in verified if value.body is not None)

    def want(self, value_id: bytes, header: Header, holders: tuple[bytes, ...]) -> None:
        """Start to fetch and check a block; `holders` are asked for its body one after the other."""
        if value_id not in self._values and len(self._values) >= VALUES_MAX:
            return
        value = self._values.setdefault(value_id, Value(header))
        if value.body is None:
            # Who built it is asked first: the others have it a way later at best.
            ordered = sorted(holders, key=lambda peer: (peer != header.proposer, peer))
            self._outbox.append(FetchBody(header, tuple(ordered)))

    def add_body(self, header: Header, body: Body, last_commit: CommitCert | None = None) -> str | None:
        """Take in a body that matches its header; return why the block is invalid, or None.

        An invalid one is invalid for every honest peer: the check reads the block and the state alone.
        """
        value = self._values.setdefault(header.value_id, Value(header))
        if value.body is not None:
            return None
        value.body = body
        known = Known(self._pool.known, self._pool.avails, last_commit)
        try:
            value.checked = self._check_body(self._state, header, body, known)
        except InvalidBlock as refusal:
            value.refusal = str(refusal)
            return value.refusal
        for update in value.checked.needed:
            self._pool.add_header(update, is_in_block=True)
            if not self._pool.is_settled(update.update_id):
                self._outbox.append(FetchPayload(update, self._pool.holders_of(update)))
        self.progress()
        return None

    def add_own(self, header: Header, body: Body, state: ChainState) -> None:
        """Take in a block that this peer built; it needs no check."""
        self._values[header.value_id] = Value(header, body, state=state)

    def progress(self) -> None:
        """Send every block to the check whose last payload has come."""
        for value in self._values.values():
            if value.body is None or value.checked is None or value.is_checking or value.state is not None:
                continue
            if all(update.update_id in self._pool.held for update in value.checked.needed):
                value.is_checking = True
                self._outbox.append(CheckProposal(self._state, value.header, value.body, value.checked))

    def missing_bytes(self, value_id: bytes) -> int:
        """Return how many bytes of payloads a block still waits for.

        While its body is not here nobody knows what it calls for: then all that is known and not here counts.
        """
        value = self._values.get(value_id)
        checked = None if value is None else value.checked
        wanted = self._pool.unserved() if checked is None else checked.needed
        return sum(update.payload_bytes for update in wanted if update.update_id not in self._pool.held)

    def settle(self, value_id: bytes, state: ChainState | None, refusal: str) -> bool:
        """Note what the check found; answer whether that is the first verdict of this block."""
        value = self._values.get(value_id)
        if value is None or value.state is not None or value.refusal is not None:
            return False
        value.state = state
        value.refusal = None if state is not None else refusal
        return True
