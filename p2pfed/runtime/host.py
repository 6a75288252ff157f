"""One peer as a process: takes events from the inbox, asks the node, carries the effects out in order."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar, assert_never

from msgspec import Struct

from p2pfed.adversary.effects import AdversaryEffect, Boast, Craft, SendBytes
from p2pfed.chain import check, propose
from p2pfed.chain.form import payload_form
from p2pfed.chain.state import ChainState, encode_ledger
from p2pfed.errors import InvalidBlock, StorageFault
from p2pfed.learning.learner import Metrics
from p2pfed.learning.quality import shown
from p2pfed.net.transport import Transport, TransportError
from p2pfed.node import effects
from p2pfed.node.effects import Effect
from p2pfed.node.events import (
    DialFailed,
    Evaluated,
    Event,
    ProposalBuilt,
    ProposalChecked,
    Started,
    TimerFired,
    Trained,
    TransactionSubmitted,
)
from p2pfed.node.facts import BlockCommitted, Fact, NetworkFinished, UpdateReceived
from p2pfed.node.node import Node
from p2pfed.node.submission import refusal_of
from p2pfed.primitives import codec
from p2pfed.runtime.clock import Clock
from p2pfed.runtime.feed import Entry, Feed, entry_of
from p2pfed.runtime.fetcher import Fetcher
from p2pfed.runtime.fresh import Fresh
from p2pfed.runtime.inbox import Inbox
from p2pfed.runtime.loneliness import LONELY_REMEDY, Loneliness
from p2pfed.runtime.measuring import Measuring
from p2pfed.runtime.metrics import PeerMetrics
from p2pfed.runtime.state_fetch import StateFetch
from p2pfed.runtime.trainer import Trainer
from p2pfed.storage.log import Log
from p2pfed.storage.peers_file import save_peers
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.address import peer_id
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import MIB, UPDATE_LAG_MAX
from p2pfed.types.transaction import Transaction
from p2pfed.types.update import UpdateHeader

T = TypeVar("T")

DIAL_TIMEOUT_MS = 5_000
EARLY_BYTES_MAX = 4 * MIB  # A model up to so large is written before its block is decided.
MERGING_THREADS_MAX = 4  # More gain little: the rows come from memory, which they share.


class Actor(Protocol):
    """A node, or a liar around one."""

    def step(self, event: Event, now_ms: int) -> tuple[Effect | AdversaryEffect, ...]: ...


class Ending(Struct, frozen=True):
    """Why a peer stopped: one sentence, and the exit code of its process."""

    reason: str
    exit_code: int


class Host:
    """Owns the loop of one peer. Effects run one after the other: what must be durable is, before the next.

    The thread `disk` has votes, log and chain.db; `bulk` writes payloads and models, so that no vote waits
    behind one; heavy arithmetic has a third. Pipes stay alive meanwhile.
    """

    def __init__(
        self,
        *,
        node: Node,
        actor: Actor,
        store: Store,
        log: Log,
        inbox: Inbox,
        transport: Transport,
        fetcher: Fetcher,
        state_fetch: StateFetch,
        trainer: Trainer | None,
        feed: Feed,
        clock: Clock,
        disk: ThreadPoolExecutor,
        bulk: ThreadPoolExecutor,
        fresh: Fresh,
        heights: int | None,
        metrics: PeerMetrics,
    ) -> None:
        self.node = node
        self.metrics = metrics
        feed.listen(metrics.listen)
        self.feed = feed
        self._actor = actor
        self.store = store
        self._log = log
        self._inbox = inbox
        self._transport = transport
        self._fetcher = fetcher
        self.state_fetch = state_fetch
        self._trainer = trainer
        self._clock = clock
        self._disk = disk
        self._bulk = bulk
        self._fresh = fresh
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="compute")
        # `compute` waits for it: pieces of a group are merged side by side.
        self._merging = ThreadPoolExecutor(
            min(MERGING_THREADS_MAX, os.cpu_count() or 1), thread_name_prefix="merge"
        )
        self._seeds: dict[int, bytes] = {}  # Of the newest states, by height.
        self._measuring = Measuring(store.genesis, self.payload, self._merging.map)
        self._last_height = None if heights is None else node.state.height + heights
        self._vote_state = VoteStateFile(store.home.vote_state)
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._loneliness = Loneliness(clock.now_ms())
        self.is_done = asyncio.Event()  # The last height that this peer works for is final.
        self.is_everyone_done = asyncio.Event()  # No member needs us any more to reach the network's end.
        self._evaluations: set[asyncio.Task[None]] = set()

    async def run(self) -> Ending:
        """Work until somebody calls `stop`, the node halts, or the disk fails.

        Raises:
            BaseExceptionGroup: Our own bug; the peer stops rather than vote on a broken state.
        """
        ending: Ending | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._fetcher.run_in(tasks)
                tasks.create_task(self._work(), name="node")
                tasks.create_task(self.metrics.watch_loop(), name="loop-lag")
                ending = await self._ending
                raise _Stopped
        except* _Stopped:
            pass
        except* StorageFault as faults:
            fault = _first(faults)
            ending = Ending(str(fault), fault.exit_code)
        finally:
            if self._trainer is not None:
                await self._trainer.close()
            await self._transport.close()
            self._compute.shutdown(wait=True)
            self._merging.shutdown(wait=True)
        assert ending is not None
        return ending

    def submit(self, transaction: Transaction) -> str:
        """Offer the network a transaction of this peer's operator; return why not, "" where it goes out."""
        node = self.node
        refusal = refusal_of(transaction, node.state, node.transactions)
        if not refusal:
            self._inbox.put(TransactionSubmitted(transaction))
        return refusal

    def stop(self, ending: Ending) -> None:
        """End the peer; the first reason stands."""
        if not self._ending.done():
            self._ending.set_result(ending)

    async def wait_for_figures(self) -> None:
        """Return when the learner measures no model any more."""
        if self._evaluations:
            await asyncio.wait(self._evaluations)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def learner_state(self) -> str:
        """Return one clause about this peer's learner."""
        return "none" if self._trainer is None else self._trainer.state

    def say(self, event: str, **data: object) -> None:
        """Publish something that is no fact of the node: an address, a figure."""
        self.feed.publish(Entry(self._clock.now_ms(), event, dict(data)))

    async def _work(self) -> None:
        event: Event = Started()
        while True:
            todo = deque(self._actor.step(event, self._clock.now_ms()))
            while todo:
                effect = todo.popleft()
                if isinstance(effect, effects.Persist) and todo and isinstance(todo[0], effects.SyncLog):
                    todo.popleft()  # W2 with one wait: first the record, then the log.
                    await self._on_disk(self._persist_and_sync, codec.encode(effect.record))
                else:
                    await self._carry_out(effect)
            if self.is_done.is_set() and self.node.is_everyone_finished:
                self.is_everyone_done.set()
            event = await self._inbox.get()

    def _persist_and_sync(self, record: bytes) -> None:
        self._vote_state.save(record)
        self._log.sync()

    async def _carry_out(self, effect: Effect | AdversaryEffect) -> None:
        assert self._tasks is not None
        match effect:
            case effects.Persist():
                await self._on_disk(self._vote_state.save, codec.encode(effect.record))
            case effects.Append():
                self._log.append(effect.entry)
                if self._log.is_full:
                    await self._on_disk(self._log.flush)
            case effects.SyncLog():
                await self._on_disk(self._log.sync)
            case effects.Send():
                data = codec.encode(effect.message)
                for peer in effect.peers:
                    self._transport.send(peer, data)
            case effects.ScheduleTimeout():
                put = partial(self._inbox.put, TimerFired(effect.timer))
                asyncio.get_running_loop().call_later(effect.delay_ms / 1000, put)
            case effects.Train():
                if self._trainer is not None:
                    self._trainer.train(effect, self._tasks)
            case effects.FetchPayload():
                self._note_seed(self.node.state)
                self._measuring.expect(effect.header)
                self._fetcher.payload(effect)
            case effects.FetchBody():
                self._fetcher.body(effect)
            case effects.FetchBlocks():
                self._fetcher.blocks(effect)
            case effects.FetchModel():
                self._fetcher.model(effect)
            case effects.AskSnapshot():
                self._tasks.create_task(self.state_fetch.offer(effect), name="ask-snapshot")
            case effects.AskLightBlock():
                self._tasks.create_task(self.state_fetch.light_block(effect), name="ask-light-block")
            case effects.FetchSnapshot():
                name = f"snapshot-{effect.snapshot.height}"
                self._tasks.create_task(self.state_fetch.snapshot(effect), name=name)
            case effects.StoreSnapshot():
                await self._on_disk(self._store_snapshot, effect)
            case effects.BuildProposal():
                self._tasks.create_task(self._build(effect), name=f"build-{effect.state.next_height}")
            case effects.CheckProposal():
                self._tasks.create_task(self._check(effect), name=f"check-{effect.header.height}")
            case effects.StoreBlock():
                await self._store_block(effect)
            case effects.StorePolkas():
                await self._on_disk(self._save_polkas, effect.polkas)
            case effects.RememberPeers():
                await self._on_disk(save_peers, self.store.home.peers, effect.records)
            case effects.Dial():
                self._tasks.create_task(self._dial(effect), name="dial")
            case effects.Disconnect():
                self._transport.disconnect(effect.peer, effect.reason)
            case effects.Blame():
                self.say("peer.fault", peer=peer_id(effect.peer), reason=str(effect.fault))
            case effects.Observe():
                self._observe(effect.fact)
            case effects.Halt():
                self.stop(Ending(effect.reason, effect.exit_code))
            case Craft():
                self._tasks.create_task(self._craft(effect), name="craft")
            case SendBytes():
                for peer in effect.peers:
                    self._transport.send(peer, effect.data)
            case Boast():
                self.say("adversary.acted", kind=effect.kind, height=effect.height, detail=effect.detail)
            case _:
                assert_never(effect)

    async def _store_block(self, effect: effects.StoreBlock) -> None:
        block, state = effect.block, effect.state

        def save() -> None:
            ledger = encode_ledger(state.ledger)
            self.store.save_block(block, ledger, state.model, state.oldest_evidence, effect.polkas)
            self.store.verify_space()

        await self._on_disk(save)
        assert self._tasks is not None
        self._tasks.create_task(self._on_disk(self.store.clean_up), name=f"clean-{block.header.height}")
        self._fetcher.passed(block.header.height)
        self._measuring.passed(block.header.height)
        if state.height == self._last_height:
            self.is_done.set()

    def _store_snapshot(self, effect: effects.StoreSnapshot) -> None:
        self.store.save_base(effect.block, encode_ledger(effect.state.ledger))
        self.store.want_snapshot(None)

    def _save_polkas(self, polkas: tuple[PolkaCert, ...]) -> None:
        for polka in polkas:
            self.store.chain.save_polka(polka)

    def _observe(self, fact: Fact) -> None:
        self.feed.publish(entry_of(fact, self._clock.now_ms()))
        if isinstance(fact, NetworkFinished):
            self.is_done.set()
        if isinstance(fact, BlockCommitted):
            assert self._tasks is not None
            task = self._tasks.create_task(self._evaluate(fact), name=f"evaluate-{fact.height}")
            self._evaluations.add(task)
            task.add_done_callback(self._evaluations.discard)
        if isinstance(fact, UpdateReceived) and self._measuring.came(fact.update_id):
            assert self._tasks is not None
            work = self._compute_in_thread(self._measuring.work)
            self._tasks.create_task(work, name=f"measure-{fact.update_id.hex()[:8]}")

    async def _evaluate(self, fact: BlockCommitted) -> None:
        """Measure the new model on this peer's learner; figures are shown, never compared by peers."""
        state = self.node.state
        figures: Metrics = {}
        if self._trainer is not None and state.height == fact.height and state.model is not None:
            figures = await self._trainer.evaluate(state)
            if (word := await self._trainer.word(state, figures)) is not None:
                self._inbox.put(Evaluated(fact.height, *word))
            figures = shown(figures)
        self.feed.keep_figures(fact.height, figures)
        self.say("block.evaluated", height=fact.height, **figures)

    def _note_seed(self, state: ChainState) -> None:
        """Remember the dice of a state for as long as an update that trained from it may be read."""
        self._seeds[state.height] = state.seed
        self._seeds = {
            height: seed for height, seed in self._seeds.items() if height >= state.height - UPDATE_LAG_MAX
        }

    async def _build(self, effect: effects.BuildProposal) -> None:
        """Build the block and keep it durably before anyone hears of it (W8)."""
        self._note_seed(effect.state)
        header, body, state = await self._compute_in_thread(
            propose.build,
            effect.state,
            effect.inputs,
            effect.round,
            self._measuring.row,
            self._merging.map,
            self._measuring.products,
        )
        self.say("proposal.built", height=header.height, round=effect.round, value_id=header.value_id.hex())
        self._fresh.keep(header.body_hash, codec.encode(body))
        await self._on_disk(self.store.chain.save_pending, header, body)
        self._inbox.put(ProposalBuilt(header.height, effect.round, header, body, state))
        await self._keep_model(state)

    async def _check(self, effect: effects.CheckProposal) -> None:
        """Recompute the block; a valid one is durable before it is voted for (W8)."""
        self._note_seed(effect.state)
        header, body = effect.header, effect.body
        try:
            state = await self._compute_in_thread(
                check.check,
                effect.state,
                header,
                body,
                self._measuring.row,
                self._merging.map,
                self._measuring.products,
                effect.checked,
            )
        except InvalidBlock as refusal:
            self._inbox.put(ProposalChecked(header.value_id, None, str(refusal)))
            return
        await self._on_disk(self.store.chain.save_pending, header, body)
        self._inbox.put(ProposalChecked(header.value_id, state, ""))
        await self._keep_model(state)

    async def _keep_model(self, state: ChainState) -> None:
        """Write the model of a valid block while it is voted on, where that is done before the vote is.

        Votes would wait for the sync of a large one; it is written with the block.
        """
        if state.model is not None and state.model.weights.nbytes <= EARLY_BYTES_MAX:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._bulk, self.store.put_model, state.model)

    async def _dial(self, effect: effects.Dial) -> None:
        for address in effect.addresses:
            try:
                await self._transport.dial(address, timeout_ms=DIAL_TIMEOUT_MS)
            except TransportError as error:
                self.say("dial.failed", address=str(address), reason=str(error))
                self._warn_if_lonely(str(error))
            else:
                return
        self._inbox.put(DialFailed(effect.addresses))

    def _warn_if_lonely(self, reason: str) -> None:
        """Say aloud why nobody talks to this peer: a wrong genesis, transport or address shows only here."""
        is_connected = bool(self.node.neighbours.table.connected_peers())
        if self._loneliness.is_worth_telling(self.now_ms(), is_connected=is_connected):
            self.say("peer.lonely", reason=reason, remedy=LONELY_REMEDY)

    async def _craft(self, effect: Craft) -> None:
        """Let a liar make its payload out of what it holds."""
        form, seed = payload_form(self.store.genesis), self.node.state.seed

        def craft() -> tuple[bytes, int]:
            own = self._row(effect.own_root, seed)
            others = [self._row(root, seed) for root in effect.other_roots]
            payload = effect.payload(own, others, form, seed)
            return self.store.blobs.put(payload), len(payload)

        root, size = await self._on_disk(craft)
        self._inbox.put(Trained(effect.base_height, root, size, effect.examples))

    def payload(self, header: UpdateHeader) -> Int16Vector:
        return self._row(header.payload_root, self._seeds.get(header.base_height, self.node.state.seed))

    def _row(self, root: bytes, seed: bytes) -> Int16Vector:
        data = self._fresh.get(root) or self.store.blobs.load(root)
        if data is None:
            raise StorageFault(f"the payload {root.hex()[:12]}… was durable and is gone")
        return payload_form(self.store.genesis).decode(data, seed)

    async def _on_disk(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, function, *arguments)

    async def _compute_in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._compute, function, *arguments)


class _Stopped(Exception):
    """Ends the task group in order."""


def _first(faults: BaseExceptionGroup[StorageFault]) -> StorageFault:
    first: BaseException = faults
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, StorageFault)
    return first
