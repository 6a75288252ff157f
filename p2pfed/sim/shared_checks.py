"""A memory of pure checks: what one simulated peer found, the next need not compute."""

from __future__ import annotations

from p2pfed.aggregation.payload import PayloadForm
from p2pfed.chain.check import CheckedBody, Known, check_body
from p2pfed.chain.invalid_update import judge_payload
from p2pfed.chain.state import ChainState
from p2pfed.errors import InvalidBlock
from p2pfed.node.checks import Checks
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.block import Body, Header
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.message import SignedMessage
from p2pfed.types.update import UpdateHeader

BLOBS_MAX = 1 << 12
SIGNATURES_MAX = 1 << 16  # A few heights of a large network; what is forgotten is checked again.
BODIES_MAX = 64


class SharedChecks:
    """The checks of one network, each made once: functions of their arguments, so all find the same."""

    def __init__(self) -> None:
        self._signed: dict[tuple[SignedMessage, bytes], bool] = {}
        self._bodies: dict[tuple[bytes, bytes, bytes], CheckedBody | str] = {}
        self._roots: dict[bytes, bytes] = {}
        self._valid: set[tuple[bytes, int]] = set()  # Payloads, and the lengths that headers gave them.
        self.checks = Checks(self._is_signed_by, self._check_body)

    def root_of(self, data: bytes) -> bytes:
        """Return the chunk root of a blob."""
        root = self._roots.get(data)
        if root is None:
            if len(self._roots) >= BLOBS_MAX:
                self._roots.clear()
            root = self._roots[data] = chunk_root(data)
        return root

    def judge(
        self, header: UpdateHeader, data: bytes, form: PayloadForm
    ) -> tuple[bool, InvalidUpdate | None]:
        """Answer as `chain.invalid_update.judge_payload`; only the header's length counts for a good one."""
        name = (data, header.payload_bytes)
        if name in self._valid:
            return True, None
        judged = judge_payload(header, data, form)
        if judged[0]:
            if len(self._valid) >= BLOBS_MAX:
                self._valid.clear()
            self._valid.add(name)
        return judged

    def _is_signed_by(self, message: SignedMessage, public: bytes, chain_id: bytes) -> bool:
        name = (message, public)
        found = self._signed.get(name)
        if found is None:
            if len(self._signed) >= SIGNATURES_MAX:
                self._signed.clear()
            found = self._signed[name] = message.is_signed_by(public, chain_id)
        return found

    def _check_body(self, state: ChainState, header: Header, body: Body, known: Known) -> CheckedBody:
        name = (state.header_hash, header.value_id, codec.encode(body))
        found = self._bodies.get(name)
        if found is None:
            if len(self._bodies) >= BODIES_MAX:
                self._bodies.clear()
            try:
                found = check_body(state, header, body, known)
            except InvalidBlock as refusal:
                found = str(refusal)
            self._bodies[name] = found
        if isinstance(found, str):
            raise InvalidBlock(found)
        return found
