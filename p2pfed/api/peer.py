"""A peer inside a program: started, watched and stopped by it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from p2pfed.api.chain import Chain
from p2pfed.api.happenings import Block, Callbacks, Happening, Reader
from p2pfed.errors import LocalError
from p2pfed.learning.learner import AppContext, Array, Learner
from p2pfed.learning.thread_worker import ThreadWorker
from p2pfed.runtime.config import Config, load_config
from p2pfed.runtime.feed import Entry, Feed
from p2pfed.runtime.host import Ending, Host
from p2pfed.runtime.logs import open_log_file
from p2pfed.runtime.peer import Interface, RunOptions, read_genesis, run_peer
from p2pfed.runtime.status import status_of
from p2pfed.storage.home import Home
from p2pfed.types.address import peer_id

BLOCKS_KEPT_MAX = 4096  # For an iterator that comes late or is slow; it loses the oldest beyond that.


class Peer:
    """The peer of a home folder, running while the program is inside `async with`.

        async with p2pfed.Peer("home", learner) as peer:
            async for block in peer.blocks():
                print(block.height, block.figures)

    It needs no thread of its own and takes no signals, so it runs in a notebook's loop too.

    Args:
        home: A folder that `p2pfed init` or `p2pfed run --join` made.
        learner: `my_file.py:learner`, in a process of its own; or a Learner, or a function of the context
            that returns one, in a thread of this process, where a hang can't be ended. None: what the home's
            config.toml names.
        heights: After so many more blocks serve the others for `run.linger_s` and stop; None: when the
            network ends, or the program leaves.
        callbacks: Called with what happens, in order. An exception of theirs ends the peer and comes out of
            the `async with`.
        settings: Settings of config.toml for this run: `{"network.port": 0, "http.enabled": False}`.

    Raises (when entered):
        LocalError: No home, wrong settings, a port in use, or a process that runs this home already.
        StorageFault: Local data can't be trusted.
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        learner: str | Learner | Callable[[AppContext], Learner] | None = None,
        *,
        heights: int | None = None,
        callbacks: Callbacks | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._home = Home(Path(home))
        self._learner = learner
        self._options = RunOptions(heights=heights, is_embedded=True)
        self._callbacks, self._settings = callbacks or Callbacks(), dict(settings or {})
        self._reader = Reader()
        self._blocks: deque[Block] = deque(maxlen=BLOCKS_KEPT_MAX)
        self._told = 0  # Blocks that ever were in there.
        self._happenings: asyncio.Queue[Happening | None] = asyncio.Queue()
        self._news = asyncio.Event()  # Set, and replaced by the next one, at each block and at the end.
        self._has_ended = False
        self._stack = AsyncExitStack()
        self._host: Host | None = None
        self._running: asyncio.Task[Ending] | None = None
        self._telling: asyncio.Task[None] | None = None
        # Where others dial it, once it listens: for their `network.join`.
        self.addresses: tuple[str, ...] = ()
        self.ending: Ending | None = None  # Why it stopped, once it has.

    async def __aenter__(self) -> Self:
        read_genesis(self._home)
        self._home.create()
        config = load_config(self._home.config, os.environ, self._flags())
        self._stack.enter_context(self._home.lock())
        try:
            await self._start(config)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        assert self._telling is not None
        self.stop()
        try:
            await asyncio.wait((self._running,))
            await self._telling
            self.ending = self._running.result()
        finally:
            await self._stack.aclose()

    @property
    def id(self) -> str:
        """The peer id that others know this peer by."""
        return peer_id(self._running_host.node.hand.public)

    async def blocks(self) -> AsyncIterator[Block]:
        """Yield every block from when the peer was entered on, each once its figures are known.

        Ends when the peer does. Who is more than BLOCKS_KEPT_MAX blocks behind misses the oldest.
        """
        seen = 0
        while True:
            news = self._news
            fresh = list(self._blocks)[-(self._told - seen) :] if self._told > seen else []
            seen = self._told
            for block in fresh:
                yield block
            if not fresh and self._has_ended:
                return
            if not fresh:
                await news.wait()

    def status(self) -> dict[str, Any]:
        """Return where the peer stands: the keys of `p2pfed status --json`."""
        return status_of(self._running_host)

    def model(self, height: int | None = None) -> dict[str, Array]:
        """Return an agreed model, as `Chain.model` does."""
        return Chain(self._home).model(height)

    def stop(self) -> None:
        """Let the peer end; leaving `async with` waits for it."""
        if self._host is not None:
            self._host.stop(Ending("stopped by its program", 0))

    @property
    def _running_host(self) -> Host:
        if self._host is None:
            raise LocalError("the peer does not run; use it inside `async with`")
        return self._host

    def _flags(self) -> dict[str, Any]:
        if isinstance(self._learner, str):
            return {"learner.app": self._learner} | self._settings
        return self._settings

    async def _start(self, config: Config) -> None:
        feed, started = Feed(), asyncio.Event()
        feed.listen(open_log_file(self._home.logs / "peer.log"))
        feed.listen(self._hear)
        interface: Interface | None = None
        if config.http.enabled:
            from p2pfed.web.interface import WebInterface

            interface = WebInterface(config.http.port)
        worker = None
        if self._learner is not None and not isinstance(self._learner, str):
            own = config.learner
            context = AppContext(own.index, own.peers, own.partition, own.seed, own.data_dir, own.params)
            worker = ThreadWorker(self._learner, context, turn_timeout_ms=own.timeout_s * 1000)

        def on_start(host: Host) -> None:
            self._host = host
            started.set()

        self._running = asyncio.create_task(
            run_peer(self._home, config, self._options, feed, interface, worker, on_start), name="peer"
        )
        self._running.add_done_callback(lambda _: self._happenings.put_nowait(None))
        waiting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait((waiting, self._running), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._running.cancel()
            await asyncio.wait((self._running,))
            raise
        finally:
            waiting.cancel()
        if self._host is None:
            raise LocalError(self._running.result().reason)
        self._telling = asyncio.create_task(self._tell(), name="callbacks")

    def _hear(self, entry: Entry) -> None:
        if entry.event == "peer.started":
            self.addresses = tuple(entry.data["p2p"])
        for happening in self._reader.read(entry):
            self._happenings.put_nowait(happening)

    async def _tell(self) -> None:
        """Call callbacks and wake iterators, in order, beside the peer and not inside it."""
        try:
            while (happening := await self._happenings.get()) is not None:
                await self._note(happening)
            for block in self._reader.flush():
                await self._note(block)
        finally:
            self.stop()
            self._has_ended = True
            self._wake()

    async def _note(self, happening: Happening) -> None:
        if isinstance(happening, Block):
            self._blocks.append(happening)
            self._told += 1
            self._wake()
        await self._callbacks.tell(happening)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
