"""What a demonstration must show, each check on its own, from disks and events alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from fractions import Fraction

from msgspec import Struct

from p2pfed.chain.state import decode_ledger
from p2pfed.consensus.quorum import has_quorum
from p2pfed.errors import LocalError, StorageFault
from p2pfed.runtime.demo.network import NetworkRun
from p2pfed.storage.audit import AuditReport, audit
from p2pfed.storage.block_store import BlockStore
from p2pfed.types.bitmap import indices_of
from p2pfed.types.genesis import Genesis

UNREADABLE = (0, 1)
SAFETY_VIOLATION = 7  # Exit code of a peer that saw two blocks of one height.


class Check(Struct, frozen=True):
    """One promise: whether it held, and the figures behind it."""

    name: str
    is_held: bool
    detail: str


def judge(run: NetworkRun, genesis: Genesis, heights: int) -> tuple[Check, ...]:
    """Return every check of a finished run, in the order in which they are shown."""
    chains = {name: block_hashes(run, name) for name in run.honest}
    return (
        is_finished(run, chains, heights),
        is_identical(chains),
        has_no_fork(run, chains),
        is_above_two_thirds([pair for name in run.honest for pair in signed_powers(run, name)]),
        is_verified({name: audit(run.home(name), genesis) for name in run.honest}),
        were_liars_active(run),
    )


def block_hashes(run: NetworkRun, name: str) -> tuple[str, ...]:
    """Return the hash of each final block on the disk of a peer, from height 1 to the first damaged one."""
    hashes: list[str] = []
    with suppress(LocalError, StorageFault), closing(BlockStore(run.home(name).chain_db, None)) as chain:
        for height in range(1, chain.height + 1):
            header = chain.header(height)
            if header is None:
                break
            hashes.append(header.value_id.hex())
    return tuple(hashes)


def is_identical(chains: dict[str, tuple[str, ...]]) -> Check:
    """All honest peers end with the same chain, block by block."""
    distinct = len(set(chains.values()))
    return Check(
        "all honest chains are identical",
        distinct == 1,
        f"{len(chains)} honest peers, {distinct} distinct chains",
    )


def has_no_fork(run: NetworkRun, chains: dict[str, tuple[str, ...]]) -> Check:
    """No height has two final blocks: on any honest disk, in any report of a commit, or by a peer's alarm."""
    final: dict[int, set[str]] = {}
    for chain in chains.values():
        for height, value_id in enumerate(chain, 1):
            final.setdefault(height, set()).add(value_id)
    for name, event in run.events:
        if event.get("event") == "block.committed" and name in run.honest:
            final.setdefault(event["height"], set()).add(event["value_id"])
    forked = sorted(height for height, ids in final.items() if len(ids) > 1)
    alarms = [
        name for name, code in run.exit_codes.items() if code == SAFETY_VIOLATION and name in run.honest
    ]
    detail = f"{len(final)} heights, forks at {forked or 'none'}"
    return Check("no fork", not forked and not alarms, detail)


def is_verified(reports: dict[str, AuditReport]) -> Check:
    """Every stored value and signature of every honest peer holds when it is checked offline."""
    problems = [f"{name}: {report.problems[0]}" for name, report in reports.items() if not report.is_sound]
    signatures = sum(report.signatures for report in reports.values())
    detail = problems[0] if problems else f"{signatures} signatures on {len(reports)} disks"
    return Check("every signature verified", not problems and signatures > 0, detail)


def were_liars_active(run: NetworkRun) -> Check:
    """Each Byzantine peer did what it is named for at least once."""
    liars = [peer for peer in run.testnet.peers if peer.byzantine]
    acts = {peer.name: 0 for peer in liars}
    for name, event in run.events:
        if event.get("event") == "adversary.acted" and name in acts:
            acts[name] += 1
    idle = [name for name, count in acts.items() if not count]
    detail = ", ".join(f"{name} lied {count} times" for name, count in acts.items()) or "there are none"
    return Check("the liars were active", not idle, detail)


def is_finished(run: NetworkRun, chains: dict[str, tuple[str, ...]], heights: int) -> Check:
    """Every honest peer reached the last height and ended by itself."""
    lowest = min((len(chain) for chain in chains.values()), default=0)
    bad = {name: code for name, code in run.exit_codes.items() if code != 0 and name in run.honest}
    late = ", stopped at the deadline" if run.is_overdue else ""
    detail = f"height {lowest} of {heights} in {run.took_s:.1f} s{late}" + (
        f", exit codes {bad}" if bad else ""
    )
    return Check("the network finished", lowest == heights and not bad and not run.is_overdue, detail)


def is_above_two_thirds(powers: Sequence[tuple[int, int]]) -> Check:
    """Each (signed power, total power) is more than two thirds."""
    is_held = bool(powers) and all(has_quorum(power, total) for power, total in powers)
    least = min(powers, key=lambda pair: Fraction(*pair), default=None)
    detail = f"the least was {least[0]} of {least[1]}" if least else "there is no block"
    return Check("every block is signed by more than 2/3 of the stake", is_held, detail)


def signed_powers(run: NetworkRun, name: str) -> Sequence[tuple[int, int]]:
    """Return (power that signed, total power) of each block on a peer's disk, by the sets of its ledger.

    What can't be read was signed by nobody: (0, 1).
    """
    powers: list[tuple[int, int]] = []
    try:
        with closing(BlockStore(run.home(name).chain_db, None)) as chain:
            data = chain.ledger(chain.height)
            ledger = decode_ledger(data) if data is not None else None
            for height in range(1, chain.height + 1):
                block = chain.block(height)
                validators = ledger.staking.validators_at(height) if ledger is not None else None
                if block is None or validators is None:
                    powers.append(UNREADABLE)
                    continue
                signers = indices_of(block.commit.bitmap, len(validators))
                powers.append((validators.power_of(signers), validators.total_power))
    except (LocalError, StorageFault):
        powers.append(UNREADABLE)
    return powers
