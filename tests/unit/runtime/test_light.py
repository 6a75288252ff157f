"""A light client among peers that serve a real chain over the memory transport, and among some that lie."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec
import pytest
from support.light import START_MS, LightChain, member
from support.tiny_chain import BLANK, KEYS, found, genesis, keep, signed, steps

from p2pfed.chain.divergence import Kind
from p2pfed.chain.light import CheckpointConflict, TrustExpired
from p2pfed.consensus.certificates import commit_cert
from p2pfed.errors import LocalError, NoPeersError
from p2pfed.net.memory import MemoryNetwork
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime import light as module
from p2pfed.runtime.light import Fork, LightClient, Plan
from p2pfed.runtime.server import Server
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.block import Header
from p2pfed.types.evidence import DuplicateVote
from p2pfed.types.genesis import Participant, encode_genesis
from p2pfed.types.light import LightBlock, ListProof
from p2pfed.types.vote import Precommit
from p2pfed.types.wire import (
    BulkRequest,
    Chunk,
    GenesisBytes,
    GetGenesis,
    GetLightBlock,
    GetProof,
    Missing,
    decode_control,
    decode_request,
    decode_response,
)

HEIGHTS = 6  # The last validator is convicted at height 3 and votes up to 4.
CLIENT = PrivateKey(b"\x77" * 32)
DEAD = Multiaddr("127.0.0.1", 1)
CHAIN = genesis().chain_id

Twist = Callable[[BulkRequest, Any], Any]


def now_ms() -> int:
    return steps(HEIGHTS)[-1].block.header.time_ms + 1000


def honest(request: BulkRequest, answer: Any) -> Any:
    return answer


class Contact:
    """A peer with the whole chain; `twist` makes of its answers what it likes, bytes or messages."""

    def __init__(self, server: Callable[[bytes, bytes], Awaitable[bytes]], twist: Twist) -> None:
        self._server = server
        self._twist = twist
        self.heard: list[object] = []

    def connected(self, *_: object, **__: object) -> None: ...

    def disconnected(self, *_: object) -> None: ...

    async def message(self, peer: bytes, data: bytes) -> None:
        self.heard.append(decode_control(data))

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        answer = self._twist(decode_request(data), decode_response(await self._server(peer, data)))
        return answer if isinstance(answer, bytes) else codec.encode(answer)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = found(Home(tmp_path_factory.mktemp("light") / "home"))
    for step in steps(HEIGHTS):
        keep(made, step)
    yield made
    made.close()


class Net:
    """Contacts on one memory network, and a client among them."""

    def __init__(self, store: Store, disk: ThreadPoolExecutor) -> None:
        self.network = MemoryNetwork()
        self.notes: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.contacts: list[Contact] = []
        self._server = Server(store, disk, lambda _: True)
        self._transports: list[Any] = []

    async def peer(self, twist: Twist = honest, key: int | None = None) -> Multiaddr:
        """Start a peer with a key of its own (or that of member `key`) and return its address."""
        contact = Contact(self._server, twist)
        private = PrivateKey(bytes([len(self.contacts) + 100]) * 32) if key is None else KEYS[key]
        transport = self.network.transport(key=private, chain_id=CHAIN, handler=contact)
        self.contacts.append(contact)
        self._transports.append(transport)
        return Multiaddr("127.0.0.1", await transport.listen("127.0.0.1", 0))

    def client(self, *contacts: Multiaddr, now: Callable[[], int] = now_ms, **plan: Any) -> LightClient:
        transport = self.network.transport(key=CLIENT, chain_id=CHAIN, handler=module.Deaf())
        self._transports.append(transport)
        made = Plan(CHAIN, "memory", contacts, **plan)
        return LightClient(made, transport, now, self.notes.append, lambda *step: self.steps.append(step))

    async def close(self) -> None:
        for transport in reversed(self._transports):  # Clients first: what they sent last still arrives.
            await transport.close()


@pytest.fixture
async def net(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    monkeypatch.setattr(module, "WITNESS_PAUSE_MS", 0)
    with ThreadPoolExecutor(1) as disk:
        made = Net(store, disk)
        yield made
        await made.close()


def block_hash(height: int) -> bytes:
    return steps(HEIGHTS)[height - 1].block.header.value_id


async def test_the_newest_block_is_verified_and_confirmed_by_two_witnesses(net: Net) -> None:
    primary, *witnesses = [await net.peer(key=number) for number in range(3)]
    got = await net.client(primary, witnesses=tuple(witnesses)).follow()
    assert got.block.header == steps(HEIGHTS)[-1].block.header
    assert got.confirmed_by == (peer_id(KEYS[1].public), peer_id(KEYS[2].public))
    assert (got.start.height, got.headers, net.notes) == (0, 1, [])
    assert net.steps == [(HEIGHTS, HEIGHTS)]


@pytest.mark.parametrize("height", range(1, HEIGHTS + 1))
async def test_any_height_is_reached_and_its_contents_proven(net: Net, height: int) -> None:
    step = steps(HEIGHTS)[height - 1]
    client = net.client(await net.peer(), height=height)
    got = await client.follow()
    assert got.block.header == step.block.header
    for key in KEYS:
        assert await client.account(got, key.public) == step.state.ledger.account(key.public)
    assert await client.account(got, CLIENT.public) is None
    for update in step.block.body.updates:
        assert await client.update(got, update.update_id) == update
    assert await client.update(got, bytes(32)) is None
    model = await client.model(got)
    assert (model.root, model.exponents_root) == (
        step.block.header.model_root,
        step.block.header.exponents_root,
    )


def quorum_less(request: BulkRequest, answer: Any) -> Any:
    """Forge the model of every block that is shown."""
    if not isinstance(answer, LightBlock):
        return answer
    header = msgspec.structs.replace(answer.header, model_root=bytes(32))
    commit = msgspec.structs.replace(answer.commit, value_id=header.value_id)
    return LightBlock(header, commit, answer.validators, answer.next_validators)


LIES: dict[str, tuple[Twist, str]] = {
    "forged": (quorum_less, "does not verify"),
    "garbage": (lambda *_: b"\xc1", "not a message"),
    "nothing": (lambda request, a: a if isinstance(a, GenesisBytes) else Missing(), "it has no block yet"),
    "other kind": (lambda request, a: GenesisBytes(b"") if isinstance(a, LightBlock) else a, "another kind"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_primary_that_lies_is_left_for_the_next(net: Net, lie: str) -> None:
    twist, sentence = LIES[lie]
    liar, good = await net.peer(twist), await net.peer()
    assert (await net.client(DEAD, liar, good).follow()).block.header.value_id == block_hash(HEIGHTS)
    assert "was not reached" in net.notes[0] or str(DEAD) in net.notes[0]
    assert sentence in net.notes[1]
    with pytest.raises(NoPeersError, match=sentence):
        await net.client(liar).follow()


@lru_cache
def block_at(height: int) -> LightBlock:
    """Return a block as an honest peer shows it."""
    step, state = steps(HEIGHTS)[height - 1], steps(HEIGHTS)[-1].state
    validators, following = state.validators_at(height), state.validators_at(height + 1)
    assert validators is not None
    assert following is not None
    return LightBlock(step.block.header, step.block.commit, validators, following)


async def test_whatever_byte_of_a_block_is_flipped_it_is_not_believed(net: Net) -> None:
    place = 0

    def flip(request: BulkRequest, answer: Any) -> Any:
        if not isinstance(answer, LightBlock):
            return answer
        data = bytearray(codec.encode(answer))
        data[place] ^= 1 << place % 8
        return bytes(data)

    client = net.client(await net.peer(flip))
    for place in range(0, len(codec.encode(block_at(HEIGHTS))), 7):  # noqa: B007 - `flip` reads it
        with pytest.raises(NoPeersError):
            await client.follow()


def forked(from_height: int, round_: int = 0) -> Twist:
    """Return the answers of a peer whose chain is another one from a height on, signed by every member."""

    def twist(request: BulkRequest, answer: Any) -> Any:
        if not isinstance(answer, LightBlock) or answer.header.height < from_height:
            return answer
        header = msgspec.structs.replace(answer.header, model_root=bytes(32))
        votes = []
        for index, validator in enumerate(answer.validators.validators):
            key = next(key for key in KEYS if key.public == validator.key)
            votes.append(signed(Precommit(header.height, round_, header.value_id, index, BLANK), key, CHAIN))
        commit = commit_cert(votes, answer.validators)  # type: ignore[arg-type]
        return LightBlock(header, commit, answer.validators, answer.next_validators)

    return twist


async def test_a_fork_ends_with_both_blocks_and_who_signed_both(net: Net) -> None:
    primary, witness = await net.peer(), await net.peer(forked(5))
    with pytest.raises(Fork, match="the chain has forked: block 6 is") as caught:
        await net.client(primary, witnesses=(witness,)).follow()
    fork = caught.value.divergence
    assert (fork.kind, fork.common.height, fork.first.header.height) == (Kind.EQUIVOCATION, 0, HEIGHTS)
    assert fork.common_signers == tuple(key.public for key in KEYS[:3])
    assert caught.value.exit_code == 7
    await net.close()
    for contact in net.contacts:  # Both sides are given what convicts the liars.
        assert [type(item) for item in contact.heard] == [DuplicateVote] * 3


@pytest.mark.parametrize("parts", range(1, 13))
async def test_a_long_way_is_searched_for_where_the_chains_part(parts: int) -> None:
    """Sets that share nobody make the client go step by step; the witness is elsewhere from `parts` on."""
    network, notes = MemoryNetwork(), []
    other = Stepwise({"model_root": bytes(32)}, parts)
    contacts = [Contact(chain.serve, honest) for chain in (Stepwise({}, 0), other)]
    transports = [
        network.transport(key=KEYS[place], chain_id=Stepwise.founded.chain_id, handler=contact)
        for place, contact in enumerate(contacts)
    ]
    primary, witness = [Multiaddr("127.0.0.1", await one.listen("127.0.0.1", 0)) for one in transports]
    transports.append(
        network.transport(key=CLIENT, chain_id=Stepwise.founded.chain_id, handler=module.Deaf())
    )
    plan = Plan(Stepwise.founded.chain_id, "memory", (primary,), (witness,), height=12)
    client = LightClient(plan, transports[-1], lambda: START_MS + 20_000, notes.append, lambda *_: None)
    with pytest.raises(Fork) as caught:
        await client.follow()
    fork = caught.value.divergence
    assert (fork.common.height, fork.first.header.height) == (parts - 1, parts)
    assert fork.second.header.value_id == other.value_id(parts)
    for transport in transports:
        await transport.close()


class Stepwise(LightChain):
    """A chain of one validator a height, another one each time, with `changes` from the height `parts` on."""

    founded = msgspec.structs.replace(genesis(), participants=(Participant(member(1).public, 1, 0),))

    def __init__(self, changes: dict[str, Any], parts: int) -> None:
        super().__init__(lambda height: [(height, 1)])
        self._changes = changes
        self._parts = parts

    def header(self, height: int, **changes: Any) -> Header:
        own = self._changes if height >= self._parts else {}
        return super().header(height, **({"chain_id": self.founded.chain_id} | own | changes))

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        request = decode_request(data)
        if isinstance(request, GetLightBlock):
            return codec.encode(self.block(request.height))
        return codec.encode(GenesisBytes(encode_genesis(self.founded)))


async def test_a_fork_right_after_a_checkpoint_in_another_round_is_amnesia(net: Net) -> None:
    start = (4, block_hash(4))
    primary, witness = await net.peer(forked(5, round_=1)), await net.peer()
    with pytest.raises(Fork) as caught:
        await net.client(primary, witnesses=(witness,), checkpoint=start, height=5).follow()
    fork = caught.value.divergence
    assert (fork.kind, fork.common.height, fork.evidence) == (Kind.AMNESIA, 4, ())


async def test_a_witness_that_lies_or_is_gone_is_named_and_does_not_count(net: Net) -> None:
    primary, good, liar = await net.peer(), await net.peer(), await net.peer(quorum_less)
    got = await net.client(primary, witnesses=(DEAD, liar, good)).follow()
    assert len(got.confirmed_by) == 1
    assert [str(address) in note for address, note in zip((DEAD, liar), net.notes, strict=True)] == [
        True,
        True,
    ]
    with pytest.raises(NoPeersError, match=f"no witness confirms block {HEIGHTS} "):
        await net.client(primary, witnesses=(liar,)).follow()


async def test_a_peer_that_shows_an_old_block_as_the_newest_is_given_away(net: Net) -> None:
    late = 0

    def old(request: BulkRequest, answer: Any) -> Any:
        return answer if not isinstance(request, GetLightBlock) or request.height else shown

    def new(request: BulkRequest, answer: Any) -> Any:
        if not isinstance(request, GetLightBlock) or request.height:
            return answer
        header = msgspec.structs.replace(answer.header, time_ms=shown.header.time_ms + 10_000 + late)
        return msgspec.structs.replace(answer, header=header)

    shown = block_at(4)
    stale, witness = await net.peer(old), await net.peer(new)
    assert (await net.client(stale, witnesses=(witness,)).follow()).block.header.height == 4
    assert net.notes == []
    late = 1
    await net.client(stale, witnesses=(witness,)).follow()
    assert f"says that block {HEIGHTS} is the newest, 10001 ms later than 4" in net.notes[0]
    await net.client(stale, witnesses=(witness,), height=4).follow()
    assert len(net.notes) == 1


async def test_the_peer_that_is_followed_is_no_witness_of_its_own(net: Net) -> None:
    primary = await net.peer()
    with pytest.raises(NoPeersError, match="no witness confirms"):
        await net.client(primary, witnesses=(primary,)).follow()
    assert "asked already" in net.notes[0]


async def test_a_witness_may_be_a_block_behind_for_a_while(net: Net) -> None:
    late = iter([Missing(), Missing()])
    behind = await net.peer(lambda request, answer: next(late, answer))
    assert len((await net.client(await net.peer(), witnesses=(behind,)).follow()).confirmed_by) == 1


async def test_a_checkpoint_is_a_start_and_a_conflicting_one_is_fatal(net: Net) -> None:
    primary, other = await net.peer(), await net.peer()
    got = await net.client(primary, checkpoint=(4, block_hash(4))).follow()
    assert (got.start.height, got.block.header.height) == (4, HEIGHTS)
    same = await net.client(primary, checkpoint=(4, block_hash(4)), height=4).follow()
    assert same.block.header.value_id == block_hash(4)
    with pytest.raises(CheckpointConflict, match=block_hash(4).hex()):
        await net.client(primary, other, checkpoint=(4, block_hash(5))).follow()
    assert net.notes == []
    with pytest.raises(LocalError, match="height 3 is below the checkpoint at 4"):
        await net.client(primary, checkpoint=(4, block_hash(4)), height=3).follow()


async def test_a_witness_that_contradicts_the_checkpoint_itself_confirms_nothing(net: Net) -> None:
    primary, witness = await net.peer(), await net.peer(forked(4))
    client = net.client(primary, witnesses=(witness,), checkpoint=(4, block_hash(4)), height=4)
    with pytest.raises(NoPeersError, match="no witness confirms block 4 "):
        await client.follow()
    assert "it has another block 4 than --checkpoint names" in net.notes[0]


async def test_a_peer_that_is_below_the_checkpoint_is_left_for_the_next(net: Net) -> None:
    def young(request: BulkRequest, answer: Any) -> Any:
        return block_at(3) if request == GetLightBlock(0) else answer

    client = net.client(await net.peer(young), await net.peer(), checkpoint=(4, block_hash(4)))
    assert (await client.follow()).block.header.height == HEIGHTS
    assert "its newest block is 3, below the checkpoint at 4" in net.notes[0]


async def test_a_block_of_height_0_is_no_block(net: Net) -> None:
    def zero(request: BulkRequest, answer: Any) -> Any:
        if request != GetLightBlock(0):
            return answer
        return msgspec.structs.replace(answer, header=msgspec.structs.replace(answer.header, height=0))

    with pytest.raises(NoPeersError, match="a block of height 0 as its newest"):
        await net.client(await net.peer(zero), witnesses=(await net.peer(),)).follow()


@pytest.mark.parametrize("seed", range(60))
async def test_bytes_flipped_in_any_answer_change_no_result(net: Net, seed: int) -> None:
    """One answer of the whole conversation is damaged: all that is believed is still right."""
    dice, answers, damaged = random.Random(seed), iter(range(1000)), seed % 9

    def damage(request: BulkRequest, answer: Any) -> Any:
        data = bytearray(codec.encode(answer))
        if next(answers) == damaged:
            for _ in range(dice.choice((1, 1, 3))):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(data)

    step = steps(HEIGHTS)[-1]
    client = net.client(await net.peer(damage), witnesses=(await net.peer(),))
    update = step.block.body.updates[0]
    with suppress(NoPeersError, LocalError):
        got = await client.follow()
        assert got.block.header == step.block.header
        assert await client.account(got, KEYS[0].public) == step.state.ledger.account(KEYS[0].public)
        assert await client.account(got, CLIENT.public) is None
        assert await client.update(got, update.update_id) == update
        assert await client.update(got, bytes(32)) is None
        assert (await client.model(got)).root == step.block.header.model_root


async def test_what_is_older_than_the_trusting_period_is_refused(net: Net) -> None:
    primary = await net.peer()
    week = 7 * 24 * 3_600_000
    with pytest.raises(TrustExpired, match=r"genesis is 168 h old .* trusted for 112 h"):
        await net.client(primary, now=lambda: now_ms() + week).follow()
    with pytest.raises(TrustExpired, match="block of height 4 is 168 h old"):
        await net.client(primary, now=lambda: now_ms() + week, checkpoint=(4, block_hash(4))).follow()


def no_proofs(request: BulkRequest, answer: Any) -> Any:
    return Missing() if isinstance(answer, ListProof | Chunk) else answer


def false_proofs(request: BulkRequest, answer: Any) -> Any:
    if isinstance(answer, ListProof):
        return msgspec.structs.replace(answer, index=answer.index + 1)
    return (
        msgspec.structs.replace(answer, data=b"\0" * len(answer.data))
        if isinstance(answer, Chunk)
        else answer
    )


@pytest.mark.parametrize("twist", [no_proofs, false_proofs])
async def test_what_one_peer_can_not_prove_another_does(net: Net, twist: Twist) -> None:
    primary, witness = await net.peer(twist), await net.peer()
    client = net.client(primary, witnesses=(witness,))
    got = await client.follow()
    assert await client.account(got, KEYS[0].public) is not None
    assert await client.update(got, bytes(32)) is None
    assert (await client.model(got)).root == got.block.header.model_root
    alone = net.client(primary)
    got = await alone.follow()
    for ask in (alone.account(got, KEYS[0].public), alone.update(got, bytes(32)), alone.model(got)):
        with pytest.raises(NoPeersError, match="could show"):
            await ask


async def test_a_block_and_an_account_take_three_requests(net: Net) -> None:
    asked: list[BulkRequest] = []

    def listen(request: BulkRequest, answer: Any) -> Any:
        asked.append(request)
        return answer

    client = net.client(await net.peer(listen))
    await client.account(await client.follow(), KEYS[0].public)
    assert [type(request) for request in asked] == [GetGenesis, GetLightBlock, GetProof]
