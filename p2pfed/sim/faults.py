"""What can go wrong in a simulated run besides liars: one plain value a fault, checked before it is used."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from p2pfed.errors import UsageError

WireFault = Literal[
    "loss", "delay", "duplicate", "reorder", "one_way", "partition", "ring", "bridge", "flapping",
    "bandwidth", "filter",
]  # fmt: skip
PeerFaultKind = Literal["disconnect", "pause", "clock", "slow", "kill", "full_disk", "old_image"]
FaultKind = WireFault | PeerFaultKind
WIRE_FAULTS: tuple[str, ...] = get_args(WireFault)
FAULT_KINDS: tuple[str, ...] = (*WIRE_FAULTS, *get_args(PeerFaultKind))

# What filters know; `bulk` are pulls: payloads, bodies, models and blocks.
MESSAGES = (
    "update", "pledge", "avail", "proposal", "prevote", "precommit", "polka", "commit", "transfer",
    "evidence", "digest", "records", "bulk",
)  # fmt: skip
BRIDGE = -1  # In the peers of a bridge: what stands before it is the left side, after it the bridge.
DELAY_TAIL_MS_MAX = 5_000
SHARE_MAX = 1_000

_NEEDS_PEERS = ("one_way", "partition", "ring", "bridge", "flapping", *get_args(PeerFaultKind))
_NEEDS_AMOUNT = ("delay", "duplicate", "reorder", "flapping", "bandwidth", "clock", "slow")


class Fault(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault, in virtual ms from the start. Fields that its kind doesn't use keep their defaults.

    from_ms, until_ms: While it lasts. A killed peer is back at `until_ms`; `old_image` is what the disk held
        at `from_ms`, put back at `until_ms`.
    peers: Whom it strikes: the group that is cut off, the link (from, to), the ring in its order, the left
        side, -1 and the bridge, who is paused. Of `loss`, `delay`, `duplicate`, `reorder`, `bandwidth` and
        `filter`: the receivers or (bandwidth) the senders; none: everybody.
    permille: Of messages struck.
    amount: ms of a delay, of a period (flapping), of a jump (clock, may be negative), of extra work (slow);
        bytes a second (bandwidth).
    messages: The kinds that a filter drops.
    """

    kind: FaultKind
    from_ms: int = 0
    until_ms: int = 0
    peers: tuple[int, ...] = ()
    permille: int = SHARE_MAX
    amount: int = 0
    messages: tuple[str, ...] = ()

    def is_on(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms < self.until_ms

    def __str__(self) -> str:
        parts = [f"{self.kind} from {self.from_ms} to {self.until_ms} ms"]
        if self.peers:
            parts.append(f"peers {list(self.peers)}")
        if self.messages:
            parts.append(" and ".join(self.messages))
        if self.permille != SHARE_MAX:
            parts.append(f"{self.permille} of 1000")
        if self.amount:
            parts.append(f"amount {self.amount}")
        return ", ".join(parts)


def verify_fault(fault: Fault, peers: int, where: str) -> None:
    """Raise UsageError where a fault of a network of `peers` makes no sense; `where` names it."""
    if not 0 <= fault.from_ms < fault.until_ms:
        raise UsageError(f"{where} lasts from {fault.from_ms} to {fault.until_ms} ms: the end comes first")
    if not 0 <= fault.permille <= SHARE_MAX:
        raise UsageError(f"{where} strikes {fault.permille} of {SHARE_MAX} messages")
    if fault.kind in _NEEDS_PEERS and not fault.peers:
        raise UsageError(f"{where} needs peers: a {fault.kind} strikes somebody")
    wrong = [peer for peer in fault.peers if not 0 <= peer < peers]
    if wrong and not (fault.kind == "bridge" and wrong == [BRIDGE]):
        raise UsageError(f"{where} strikes peer {wrong[0]}; there are 0 to {peers - 1}")
    if fault.kind == "one_way" and len(fault.peers) != 2:
        raise UsageError(f"{where} is a link from one peer to another, not of {len(fault.peers)} peers")
    if fault.kind == "bridge" and BRIDGE not in fault.peers:
        raise UsageError(f"{where} needs the left side, {BRIDGE} and the bridge in its peers")
    if fault.kind in _NEEDS_AMOUNT and (fault.amount == 0 or (fault.amount < 0 and fault.kind != "clock")):
        raise UsageError(f"{where} needs an amount above 0, not {fault.amount}")
    unknown = [name for name in fault.messages if name not in MESSAGES]
    if unknown:
        raise UsageError(f"{where} filters {unknown[0]!r}; there are {', '.join(MESSAGES)}")
    if fault.kind == "filter" and not fault.messages:
        raise UsageError(f"{where} needs messages: {', '.join(MESSAGES)}")


def divides(fault: Fault, sender: int, receiver: int, at_ms: int) -> bool:
    """Answer whether a fault of topology stands between two peers, in this direction."""
    peers = fault.peers
    match fault.kind:
        case "one_way":
            return (sender, receiver) == peers
        case "partition" | "disconnect":
            return (sender in peers) != (receiver in peers)
        case "flapping":
            is_down = (at_ms - fault.from_ms) // fault.amount % 2 == 0
            return is_down and (sender in peers) != (receiver in peers)
        case "ring":
            if sender not in peers or receiver not in peers:
                return False
            return (peers.index(sender) - peers.index(receiver)) % len(peers) not in (0, 1, len(peers) - 1)
        case "bridge":
            gap = peers.index(BRIDGE)
            left, bridge = peers[:gap], peers[gap + 1 :]
            return not {sender, receiver} & {*bridge} and (sender in left) != (receiver in left)
    return False
