"""A peer from its home folder: recover, connect, work, and end with a reason."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from p2pfed.chain.genesis import load_genesis, verify_genesis
from p2pfed.chain.state import ChainState, genesis_state, restore
from p2pfed.consensus.signer import SignRecord, decode_record, initial_record
from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.learning.client import LearnerWorker, WorkerClient
from p2pfed.learning.learner import AppContext
from p2pfed.net.factory import make_transport
from p2pfed.node.events import AddressesChanged
from p2pfed.node.node import Node
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.addresses import announced, parse_addresses
from p2pfed.runtime.beginning import (
    Beginning,
    Checkpoint,
    SyncMode,
    choose_beginning,
    verify_checkpoint,
)
from p2pfed.runtime.clock import Clock
from p2pfed.runtime.config import Config, LearnerConfig
from p2pfed.runtime.feed import Entry, Feed
from p2pfed.runtime.fetcher import Fetcher
from p2pfed.runtime.fresh import Fresh
from p2pfed.runtime.host import Actor, Ending, Host
from p2pfed.runtime.inbox import Inbox
from p2pfed.runtime.joining import fetch_initial_model
from p2pfed.runtime.log_reading import open_log
from p2pfed.runtime.metrics import PeerMetrics
from p2pfed.runtime.progress import Progress
from p2pfed.runtime.server import Server
from p2pfed.runtime.state_fetch import StateFetch
from p2pfed.runtime.status import status_of
from p2pfed.runtime.traffic import CountedTransport, Traffic
from p2pfed.runtime.trainer import Trainer
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.storage.log import Log, repair
from p2pfed.storage.log_files import FolderFiles
from p2pfed.storage.peers_file import load_peers
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.address import Multiaddr, parse_multiaddr, peer_id, public_key_of
from p2pfed.types.certificate import CommitCert
from p2pfed.types.genesis import Genesis


class RunOptions(Struct, frozen=True):
    """What one run adds to the configuration.

    heights: Stop after so many more heights; None: go on.
    sync: How a peer without data starts, one of SYNC_MODES.
    checkpoint: Height and hash of a block that a person knows to be final.
    is_embedded: Signals are the business of the program that this peer is a part of.
    new_signer: The operator confirms that no other process can vote with this key.
    """

    heights: int | None = None
    new_signer: bool = False
    sync: SyncMode = "auto"
    checkpoint: Checkpoint | None = None
    is_embedded: bool = False


class Interface(Protocol):
    """The local HTTP API of a peer; `runtime` doesn't know who offers it."""

    async def start(self, host: Host) -> int:
        """Listen and return the port."""

    async def stop(self) -> None: ...


async def run_peer(
    home: Home,
    config: Config,
    options: RunOptions,
    feed: Feed,
    interface: Interface | None = None,
    worker: LearnerWorker | None = None,
    on_start: Callable[[Host], None] = lambda _: None,
) -> Ending:
    """Run the peer of `home` until it ends; the caller holds the home's lock.

    Args:
        home: Whose.
        config: Its settings.
        options: What this run adds to them.
        feed: Told of all that happens.
        interface: The HTTP API, None for none.
        worker: The learner, None: the one that `config` names.
        on_start: Called with the host once it listens.

    Raises:
        LocalError: Configuration, key or genesis; carries the exit code.
        StorageFault: Local data can't be trusted.
    """
    clock, key, genesis = Clock(), load_key(home.key), read_genesis(home)
    async with AsyncExitStack() as stack:
        disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        stack.callback(disk.shutdown, wait=True)
        bulk = ThreadPoolExecutor(1, thread_name_prefix="bulk")
        stack.callback(bulk.shutdown, wait=True)
        loop = asyncio.get_running_loop()
        store = await loop.run_in_executor(disk, Store, home, genesis)
        stack.push_async_callback(loop.run_in_executor, disk, store.close)
        await loop.run_in_executor(disk, store.verify_space)
        network, records = config.network, load_peers(home.peers, genesis.chain_id)
        contacts = parse_addresses(network.join, network.port)

        def tell(progress: Progress) -> None:
            feed.publish(Entry(clock.now_ms(), "sync.progress", asdict(progress)))

        beginning = Beginning("")
        if await loop.run_in_executor(disk, lacks_initial_model, store):
            remembered = tuple(parse_multiaddr(text) for record in records for text in record.addresses)
            known = (*contacts, *remembered)
            resume = await loop.run_in_executor(disk, lambda: store.wanted_snapshot)
            beginning = await choose_beginning(
                key,
                known,
                genesis,
                mode=options.sync,
                checkpoint=options.checkpoint,
                resume=resume,
                now_ms=clock.now_ms(),
            )
            if beginning.plan is None:
                model = await fetch_initial_model(key, known, genesis, tell)
                await loop.run_in_executor(disk, store.save_genesis, model, None)
        elif options.checkpoint is not None:
            await loop.run_in_executor(disk, verify_checkpoint, store, options.checkpoint)
        state, last_commit = await loop.run_in_executor(disk, recover, store)
        blocks_to = 0 if state.header is None else state.height
        record = load_record(home, blocks_to, new_signer=options.new_signer)
        files = FolderFiles(home.wal)
        stack.callback(files.close)
        if options.new_signer:  # What the lost record said stands in the log; the operator answers for it.
            await loop.run_in_executor(disk, partial(repair, files, genesis.chain_id, forget=True))
        log = Log(files, genesis.chain_id)
        found = await loop.run_in_executor(disk, open_log, log, store, state.next_height, record)
        stack.push_async_callback(loop.run_in_executor, disk, log.close)
        worker = worker or (make_worker(_learner(config)) if config.learner.app else None)
        node = Node(
            key=key,
            state=state,
            last_commit=last_commit,
            record=record,
            history=found.history,
            records=records,
            contacts=contacts,
            is_learning=worker is not None,
            is_exchanging=network.exchange,
            sync_plan=beginning.plan,
            checkpoint=options.checkpoint,
        )
        actor, withholds, shown_bytes = _actor(config, node, key)
        traffic = Traffic()
        inbox = Inbox(traffic)
        transport = CountedTransport(
            make_transport(genesis.transport, key=key, chain_id=genesis.chain_id, handler=inbox), traffic
        )
        reading = ThreadPoolExecutor(1, thread_name_prefix="serve")
        stack.callback(reading.shutdown, wait=True)
        shown = await loop.run_in_executor(reading, partial(Store, home, genesis, read_only=True))
        stack.push_async_callback(loop.run_in_executor, reading, shown.close)
        fresh = Fresh()
        inbox.serve_with(Server(shown, reading, lambda root: not withholds(root), shown_bytes, fresh))
        fetcher = Fetcher(store, transport, disk, bulk, inbox.put, fresh)
        state_fetch = StateFetch(store, transport, disk, inbox.put, tell)
        host = Host(
            node=node,
            actor=actor,
            store=store,
            log=log,
            inbox=inbox,
            transport=transport,
            fetcher=fetcher,
            state_fetch=state_fetch,
            trainer=Trainer(worker, store, bulk, inbox.put, fresh, key.public)
            if worker is not None
            else None,
            feed=feed,
            clock=clock,
            disk=disk,
            bulk=bulk,
            fresh=fresh,
            heights=options.heights,
            metrics=PeerMetrics(traffic, lambda: status_of(host)),
        )
        stack.callback(loop.set_exception_handler, loop.get_exception_handler())
        loop.set_exception_handler(partial(_stop_for_bug, host))
        for number, code in () if options.is_embedded else ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            loop.add_signal_handler(number, host.stop, Ending("stopped by a signal", code))
        port = await transport.listen(network.listen, network.port)
        stack.push_async_callback(transport.close)
        addresses = announced(network.listen, port, network.announce)
        http_port = 0
        if interface is not None:
            http_port = await interface.start(host)
            replace_file(home.run / "http", f"127.0.0.1:{http_port}\n".encode())
            stack.push_async_callback(interface.stop)
        _say_hello(host, genesis, key.public, config, addresses, http_port)
        if beginning.reason:
            mode = "blocks" if beginning.plan is None else "state"
            host.say("sync.mode", mode=mode, reason=beginning.reason)
        for sentence in found.notes:
            host.say("log.read", note=sentence)
        inbox.put(AddressesChanged(addresses))
        on_start(host)
        leaving = asyncio.create_task(_leave_when_done(host, config.run.linger_s))
        stack.callback(leaving.cancel)
        return await host.run()


def read_genesis(home: Home) -> Genesis:
    """Return the genesis of a home, checked.

    Raises:
        LocalError: There is none, or it is not one that a network can start from.
    """
    try:
        data = home.genesis.read_bytes()
    except FileNotFoundError:
        raise LocalError(
            f"there is no {home.genesis}; found a network with `p2pfed init` or join one with "
            "`p2pfed run --join ADDRESS --chain ID`"
        ) from None
    except OSError as error:
        raise LocalError(f"can't read {home.genesis}: {error.strerror}") from None
    genesis = load_genesis(data)
    verify_genesis(genesis)
    return genesis


def lacks_initial_model(store: Store) -> bool:
    """Answer whether nothing is here at all: data/ was moved away, and the chain is to be fetched again."""
    return store.chain.height == 0 and store.load_model(0) is None


def recover(store: Store) -> tuple[ChainState, CommitCert | None]:
    """Return the state after the newest block on disk, and its certificate."""
    height, genesis = store.chain.height, store.genesis
    if height == 0:
        return genesis_state(genesis, store.load_model(0)), None
    block, ledger = store.chain.block(height), store.chain.ledger(height)
    if block is None or ledger is None:
        raise StorageFault(f"block {height} of {store.home.chain_db} lacks its ledger; run `p2pfed verify`")
    return restore(genesis, block.header, ledger, store.load_model(height)), block.commit


def load_record(home: Home, height: int, *, new_signer: bool) -> SignRecord:
    """Return the signer's record of a home whose newest block is `height`, 0: it has none.

    Raises:
        LocalError: It is missing beside existing blocks: voting without it could sign twice.
        StorageFault: It is damaged.
    """
    file = VoteStateFile(home.vote_state)
    if new_signer:
        file.save(codec.encode(initial_record()))
    data = file.load()
    if data is None:
        if height > 0:
            raise LocalError(
                f"{home.vote_state} is missing beside {height} blocks; voting without it could sign twice "
                "and cost the stake. Put it back, or add --new-signer once no other process has this key"
            )
        return initial_record()
    try:
        return decode_record(data)
    except MalformedMessage as error:
        raise StorageFault(f"{home.vote_state} holds no record: {error}") from None


def make_worker(config: LearnerConfig) -> WorkerClient:
    """Return the client of the learner that a configuration names; nothing starts yet."""
    context = AppContext(
        config.index, config.peers, config.partition, config.seed, config.data_dir, config.params
    )
    return WorkerClient(
        config.app, context, turn_timeout_ms=config.timeout_s * 1000, memory_mb=config.memory_mb
    )


def _stop_for_bug(host: Host, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that nobody awaits broke: print its traceback and end the peer, safer than a wrong vote."""
    loop.default_exception_handler(context)
    host.stop(Ending(f"a bug in p2pfed ended this peer: {context.get('exception') or context['message']}", 1))


def _learner(config: Config) -> LearnerConfig:
    """Return the learner's settings; that of a liar may be told to poison its data."""
    if not config.laboratory.byzantine:
        return config.learner
    from p2pfed.adversary.registry import poison_of  # An honest peer never loads it.

    params = config.learner.params | poison_of(config.laboratory.byzantine)
    return replace(config.learner, params=params)


def _actor(
    config: Config, node: Node, key: PrivateKey
) -> tuple[Actor, Callable[[bytes], bool], Callable[[bytes], bytes]]:
    """Return who acts, the node or a liar around it, which roots it never serves, and what it serves."""
    laboratory = config.laboratory
    if not laboratory.byzantine:
        return node, lambda _: False, lambda data: data
    from p2pfed.adversary.registry import make_adversary  # An honest peer never loads it.

    colluders = tuple(public_key_of(text) for text in laboratory.colluders)
    liar = make_adversary(laboratory.byzantine, node, key, laboratory.seed, colluders)
    return liar, liar.withholds, liar.shown


def _say_hello(
    host: Host,
    genesis: Genesis,
    public: bytes,
    config: Config,
    addresses: tuple[Multiaddr, ...],
    http_port: int,
) -> None:
    """Say who this peer is, where it listens, and the line to paste on the next machine."""
    named = [str(Multiaddr(address.host, address.port, public)) for address in addresses]
    host.say(
        "peer.started",
        id=peer_id(public),
        p2p=named,
        http=f"127.0.0.1:{http_port}" if http_port else "",
        height=host.node.state.height,
        chain=genesis.chain_id.hex(),
        network=genesis.name,
        transport=genesis.transport,
        is_member=any(participant.key == public for participant in genesis.participants),
    )
    if named:
        host.say("peer.join_line", command=join_line(genesis, config, named[0]))


def join_line(genesis: Genesis, config: Config, address: str) -> str:
    """Return the command for another machine: it speaks our transport, trains our learner, listens too."""
    words = ["p2pfed", "run", "--join", address, "--chain", genesis.chain_id.hex()]
    if genesis.transport != "tcp":
        words += ["--transport", genesis.transport]
    if config.learner.app:
        words += ["--app", config.learner.app]
    if Multiaddr(config.network.listen, 0).is_wildcard:
        words += ["--listen", config.network.listen]
    return shlex.join(words)


async def _leave_when_done(host: Host, linger_s: int) -> None:
    """Serve others for a while after our last height, then end; sooner when nobody needs us any more."""
    await host.is_done.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(linger_s):
            await host.is_everyone_done.wait()
            await host.wait_for_figures()
    height = host.node.state.height
    host.stop(Ending(f"finished at height {height}", 0))
