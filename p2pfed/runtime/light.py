"""A light client over the wire: one peer is followed, witnesses confirm, and any of them proves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from msgspec import Struct

from p2pfed.chain.divergence import Divergence, divergence
from p2pfed.chain.light import (
    Rules,
    Search,
    Trusted,
    rules_of,
    tell,
    trusted_checkpoint,
    trusted_genesis,
    verify_age,
)
from p2pfed.chain.proofs import account_key, find_account, find_stake, find_update, stake_key
from p2pfed.errors import InvalidLightBlock, LocalError, NoPeersError, PeerFault, SafetyViolation
from p2pfed.ledger.modules.accounts import Account
from p2pfed.ledger.stake import Stake
from p2pfed.net.factory import make_transport
from p2pfed.net.transport import Transport, TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.joining import DIAL_TIMEOUT_MS, Deaf, fetch_genesis
from p2pfed.runtime.light_source import Source
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.genesis import Genesis, exponent_bytes, model_bytes
from p2pfed.types.light import LightBlock
from p2pfed.types.model import ModelState
from p2pfed.types.params import CLOCK_DRIFT_MS
from p2pfed.types.update import UpdateHeader

T = TypeVar("T")

WITNESS_ATTEMPTS = 5  # A witness hears of the newest block a little later than the peer that is followed.
WITNESS_PAUSE_MS = 500


class Fork(SafetyViolation):
    """Two blocks of one height are final, and both follow from what is trusted."""

    def __init__(self, sentence: str, found: Divergence) -> None:
        super().__init__(sentence)
        self.divergence = found


class Plan(Struct, frozen=True):
    """What a light client is asked to find, and from whom.

    checkpoint: (height, hash) to start from; None: genesis.
    height: The height to reach; None: the newest of the peer that is followed.
    """

    chain_id: bytes
    transport: str
    contacts: tuple[Multiaddr, ...]
    witnesses: tuple[Multiaddr, ...] = ()
    checkpoint: tuple[int, bytes] | None = None
    height: int | None = None


class Found(Struct, frozen=True):
    """The block that was reached.

    start: What it was verified from.
    headers: How many headers the peer that was followed sent.
    confirmed_by: Peer ids of the witnesses that have the same block.
    """

    genesis: Genesis
    start: Trusted
    block: LightBlock
    headers: int
    confirmed_by: tuple[str, ...]


class _Way(Struct, frozen=True):
    """How a block was reached: (height, hash) of each one that was verified, the start first."""

    trusted: Trusted
    block: LightBlock | None  # None where the start is the end.
    trail: tuple[tuple[int, bytes], ...]


class LightClient:
    """Follows one chain; `note` is told what a person should know, `on_step` (done, of how many)."""

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        now_ms: Callable[[], int],
        note: Callable[[str], None],
        on_step: Callable[[int, int], None],
    ) -> None:
        self._plan = plan
        self._transport = transport
        self._now_ms = now_ms
        self._note = note
        self._on_step = on_step
        self._sources: list[Source] = []  # Who may be asked for proofs.

    async def follow(self) -> Found:
        """Return the wanted block, verified from the start and confirmed by the witnesses.

        Raises:
            NoPeersError: No contact served a chain that holds, or no witness confirmed it.
            LocalError: The start is too old, contradicts the chain, or is of another network.
            Fork: A witness has another final block, which follows from the same start.
        """
        reason = "no address is known"
        for place, contact in enumerate(self._plan.contacts, 1):
            try:
                return await self._follow(await self._dial(contact))
            except (TransportError, PeerFault) as error:
                reason = f"{contact}: {error}"
                if place < len(self._plan.contacts):
                    self._note(f"{reason}; it is left for the next one")
        raise NoPeersError(
            f"no peer of network {self._plan.chain_id.hex()[:12]}… showed a chain that holds: {reason}; "
            "see that one runs there; compare --join, --chain and --transport with the line that it printed"
        )

    async def account(self, found: Found, public: bytes) -> Account | None:
        """Return the account of `public` after the block that was found, None where it has none."""
        header = found.block.header

        async def get(source: Source) -> Account | None:
            proof = await source.proof(header.height, "state", account_key(public))
            return find_account(proof, header, public)

        return await self._from_any(f"the account {public.hex()}", get)

    async def stake(self, found: Found, public: bytes) -> Stake | None:
        """Return what `public` has at stake after the block that was found, None for nothing."""
        header = found.block.header

        async def get(source: Source) -> Stake | None:
            proof = await source.proof(header.height, "state", stake_key(public))
            return find_stake(proof, header, public)

        return await self._from_any(f"the stake of {public.hex()}", get)

    async def update(self, found: Found, update_id: bytes) -> UpdateHeader | None:
        """Return the update of that id if the block that was found lists it, None where it does not."""
        header = found.block.header

        async def get(source: Source) -> UpdateHeader | None:
            proof = await source.proof(header.height, "updates", update_id)
            return find_update(proof, header, update_id)

        return await self._from_any(f"the update {update_id.hex()}", get)

    async def model(self, found: Found) -> ModelState:
        """Return the model of the block that was found, each chunk proven."""
        header, genesis = found.block.header, found.genesis

        async def get(source: Source) -> ModelState:
            exponents = await source.blob(header.exponents_root, exponent_bytes(genesis))
            weights = await source.blob(header.model_root, model_bytes(genesis), self._on_step)
            return ModelState.from_bytes(weights, exponents, genesis.manifest)

        return await self._from_any(f"the model of height {header.height}", get)

    async def _dial(self, address: Multiaddr) -> Source:
        return Source(
            self._transport, await self._transport.dial(address, timeout_ms=DIAL_TIMEOUT_MS), address
        )

    async def _from_any(self, what: str, get: Callable[[Source], Awaitable[T]]) -> T:
        reasons = []
        for source in self._sources:
            try:
                return await get(source)
            except (TransportError, PeerFault) as error:
                reasons.append(f"{source.address}: {error}")
        raise NoPeersError(f"no peer that was asked could show {what}: {'; '.join(reasons)}")

    async def _follow(self, primary: Source) -> Found:
        genesis = await fetch_genesis(self._transport, primary.peer, self._plan.chain_id)
        rules = rules_of(genesis)
        start, block = await self._start(primary, genesis, rules)
        newest = await primary.light_block(self._plan.height or 0)
        target = newest.header.height if self._plan.height is None else self._plan.height
        if target < start.height and self._plan.height is not None:
            raise LocalError(
                f"height {target} is below the checkpoint at {start.height}; name a checkpoint below it"
            )
        if target < start.height:
            raise TransportError(f"its newest block is {target}, below the checkpoint at {start.height}")
        way = await self._walk(primary, start, target, rules, newest)
        block = way.block or block
        if block is None:
            raise InvalidLightBlock("it shows a block of height 0 as its newest")
        confirming = await self._confirm(primary, way, start, rules)
        self._sources = [primary, *confirming]
        return Found(
            genesis, start, block, primary.headers, tuple(peer_id(source.peer) for source in confirming)
        )

    async def _start(
        self, primary: Source, genesis: Genesis, rules: Rules
    ) -> tuple[Trusted, LightBlock | None]:
        if self._plan.checkpoint is None:
            trusted = trusted_genesis(genesis)
            verify_age(trusted, rules, self._now_ms())
            return trusted, None
        height, value_id = self._plan.checkpoint
        block = await primary.light_block(height)
        return trusted_checkpoint(block, height, value_id, rules, self._now_ms()), block

    async def _walk(
        self, source: Source, start: Trusted, target: int, rules: Rules, known: LightBlock | None = None
    ) -> _Way:
        """Verify the block of `target` from `start` by what `source` shows; `known` is not asked again."""
        search, block, trail = Search(start, target), None, [(start.height, start.value_id)]
        while (wanted := search.wanted) is not None:
            told = known if known and known.header.height == wanted else await source.light_block(wanted)
            search, verified = tell(search, told, rules, self._now_ms())
            for block in verified:
                trail.append((block.header.height, block.header.value_id))
            self._on_step(search.trusted.height, target)
        return _Way(search.trusted, block, tuple(trail))

    async def _confirm(self, primary: Source, way: _Way, start: Trusted, rules: Rules) -> list[Source]:
        """Return the witnesses that have the block that was reached."""
        confirming: list[Source] = []
        for address in self._plan.witnesses:
            try:
                witness = await self._dial(address)
                if any(witness.peer == other.peer for other in (primary, *confirming)):
                    raise TransportError("it is a peer that was asked already")
                theirs = await _soon(partial(witness.light_block, way.trusted.height))
                if theirs.header.value_id != way.trusted.value_id:
                    await self._judge(primary, witness, way.trail, start, rules)
                if self._plan.height is None:
                    await self._compare_newest(witness, way.trusted)
                confirming.append(witness)
            except (TransportError, PeerFault) as error:
                self._note(f"witness {address} confirms nothing: {error}")
        if self._plan.witnesses and not confirming:
            raise NoPeersError(
                f"no witness confirms block {way.trusted.height} ({way.trusted.value_id.hex()}); "
                "see that one runs where --witness says"
            )
        return confirming

    async def _compare_newest(self, witness: Source, reached: Trusted) -> None:
        """Tell of a witness that is far ahead; its word is not verified, so nothing else hangs on it."""
        newest = (await witness.light_block(0)).header
        if newest.time_ms > reached.time_ms + CLOCK_DRIFT_MS:
            self._note(
                f"witness {witness.address} says that block {newest.height} is the newest, "
                f"{newest.time_ms - reached.time_ms} ms later than {reached.height}: follow that one instead"
            )

    async def _judge(
        self,
        primary: Source,
        witness: Source,
        trail: Sequence[tuple[int, bytes]],
        start: Trusted,
        rules: Rules,
    ) -> None:
        """Find where the chains part and who lied there.

        Raises:
            Fork: Both chains hold.
            TransportError, PeerFault: That of the witness does not.
        """
        low, high = 0, len(trail) - 1  # The chains agree at `low` and differ at `high`.
        if high == 0:
            raise InvalidLightBlock(f"it has another block {start.height} than --checkpoint names")
        while high - low > 1:
            middle = (low + high) // 2
            theirs = await witness.light_block(trail[middle][0])
            low, high = (middle, high) if theirs.header.value_id == trail[middle][1] else (low, middle)
        common = (await self._walk(primary, start, trail[low][0], rules)).trusted
        first = (await self._walk(primary, common, trail[high][0], rules)).block
        second = (await self._walk(witness, common, trail[high][0], rules)).block
        assert first is not None
        assert second is not None
        if first.header.value_id == second.header.value_id:
            raise InvalidLightBlock(f"one of the two changed its mind about block {trail[high][0]}")
        found = divergence(common, first, second, rules.params_hash)
        for evidence in found.evidence:
            for source in (primary, witness):
                self._transport.send(source.peer, codec.encode(evidence))
        raise Fork(
            f"the chain has forked: block {trail[high][0]} is {first.header.value_id.hex()} at "
            f"{primary.address} and {second.header.value_id.hex()} at {witness.address}, both with a "
            f"certificate ({found.kind.value}, {len(found.common_signers)} validators signed both); "
            "more than a third of the stake lies: trust neither, and show this to the members",
            found,
        )


async def _soon(get: Callable[[], Awaitable[T]]) -> T:
    """Return what `get` gets, tried again for a while: a witness may be a block behind."""
    for _ in range(WITNESS_ATTEMPTS - 1):
        try:
            return await get()
        except TransportError:
            await asyncio.sleep(WITNESS_PAUSE_MS / 1000)
    return await get()


@asynccontextmanager
async def light_client(
    plan: Plan,
    key: PrivateKey,
    now_ms: Callable[[], int],
    note: Callable[[str], None],
    on_step: Callable[[int, int], None],
) -> AsyncIterator[LightClient]:
    """Open a light client with a key of its own; it closes its pipes at the end."""
    transport = make_transport(plan.transport, key=key, chain_id=plan.chain_id, handler=Deaf())
    try:
        yield LightClient(plan, transport, now_ms, note, on_step)
    finally:
        await transport.close()
