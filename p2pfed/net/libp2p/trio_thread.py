"""The one thread that runs Trio, and the two ways across: calls from asyncio, news from Trio.

Neither side ever waits for the other inside its loop. `trio.Cancelled` is a BaseException, so what asyncio
waits for is resolved in `finally`: a cancelled task of Trio must not leave the owner waiting for ever.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import trio

from p2pfed.errors import LocalError
from p2pfed.net.libp2p.connection import Answer, Connection
from p2pfed.net.libp2p.engine import DialFailed, Engine, ListenFailed
from p2pfed.net.libp2p.stream import StreamGone
from p2pfed.net.limits import Limits
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr

T = TypeVar("T")

Starter = Callable[[Callable[[], Awaitable[None]]], bool]


class Listener(Protocol):
    """What news is told to, on the owner's loop."""

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def message(self, connection: Connection, data: bytes) -> None: ...
    def serve(self, connection: Connection, data: bytes, answer: Answer) -> None: ...
    def offered(self, connection: Connection, offer: bytes) -> None: ...
    def accepted_tls(self, sock: socket.socket, address: Multiaddr) -> None: ...
    def crashed(self, error: BaseException) -> None: ...


class TrioThread:
    """Runs an engine from `start` to `stop`. Its public methods belong to asyncio; `Owner`'s to Trio."""

    def __init__(self, *, key: PrivateKey, chain_id: bytes, limits: Limits, transport: Listener) -> None:
        self._engine = Engine(
            secret=key.secret,
            public=key.public,
            chain_id=chain_id,
            limits=limits,
            owner=_News(self, transport),
        )
        self._transport = transport
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._waiting: set[asyncio.Future[Any]] = set()

    async def start(self) -> Engine:
        """Start the thread where it does not run yet; return the engine."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._started, self._stopped = self._loop.create_future(), self._loop.create_future()
            # A daemon, so that an owner that dies without `close` is not kept alive by us.
            self._thread = threading.Thread(target=self._main, name="p2pfed-libp2p", daemon=True)
            self._thread.start()
        assert self._started is not None
        await asyncio.shield(self._started)
        return self._engine

    async def stop(self) -> None:
        """End everything on Trio and the thread itself."""
        if self._thread is None:
            return
        assert self._started is not None
        assert self._stopped is not None
        await asyncio.shield(self._started)
        self.post(self._start_anywhere, self._engine.stop)
        await asyncio.shield(self._stopped)
        self._thread.join()

    def post(self, call: Callable[..., object], *arguments: object) -> bool:
        """Run a plain call on Trio, soon and in order; False, and dropped, where Trio has ended."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(call, *arguments)
        except trio.RunFinishedError:
            return False
        return True

    async def call(self, work: Callable[[], Awaitable[T]], start: Starter | None = None) -> T:
        """Run `work` on Trio and return its result; cancelled here, it is cancelled there.

        Args:
            work: Makes the coroutine, in Trio's thread.
            start: Starts a task there, False where nothing can be started any more; by default a task that
                may run for as long as Trio does.

        Raises:
            DialFailed, ListenFailed, StreamGone: As `work` does; StreamGone also where it was cut short.
        """
        assert self._loop is not None
        future: asyncio.Future[T] = self._loop.create_future()
        scope = trio.CancelScope()
        self._waiting.add(future)
        try:
            if not self.post(self._begin, work, future, scope, start or self._start_anywhere):
                raise StreamGone("the transport has ended")
            return await future
        except ListenFailed as failed:
            raise LocalError(str(failed)) from None
        finally:
            self._waiting.discard(future)
            if future.cancelled():
                self.post(scope.cancel)

    # In Trio's thread.

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._engine.run, self._note_started)
        # Whatever ends this thread has to reach the owner: nobody else would ever hear of it.
        except BaseException as caught:
            error = caught
        self.tell(self._end, error)

    def _note_started(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        assert self._started is not None
        self.tell(_resolve, self._started, None, None)

    def _start_anywhere(self, task: Callable[[], Awaitable[None]]) -> bool:
        assert self._engine.nursery is not None
        self._engine.nursery.start_soon(task)
        return True

    def _begin(
        self,
        work: Callable[[], Awaitable[T]],
        future: asyncio.Future[T],
        scope: trio.CancelScope,
        start: Starter,
    ) -> None:
        if not start(partial(self._carry, work, future, scope)):
            self.tell(_resolve, future, None, StreamGone("the pipe closed before"))

    async def _carry(
        self, work: Callable[[], Awaitable[T]], future: asyncio.Future[T], scope: trio.CancelScope
    ) -> None:
        result: T | None = None
        error: Exception | None = StreamGone("the pipe closed meanwhile")
        try:
            with scope:
                result = await work()
                error = None
        except (DialFailed, ListenFailed, StreamGone) as failed:
            error = failed
        finally:
            self.tell(_resolve, future, result, error)

    def tell(self, news: Callable[..., object], *arguments: object) -> None:
        """Run a plain call on the owner's loop, soon and in order; dropped where that loop is closed."""
        assert self._loop is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(news, *arguments)

    # Back on the owner's loop.

    def _end(self, error: BaseException | None) -> None:
        assert self._started is not None
        assert self._stopped is not None
        for future in [*self._waiting, self._started]:
            _resolve(future, None, StreamGone("the transport closed"))
        _resolve(self._stopped, None, None)
        if error is not None:
            self._transport.crashed(error)


class _News:
    """What Trio tells the transport (`connection.Owner`); each posted to its loop."""

    def __init__(self, thread: TrioThread, transport: Listener) -> None:
        self._thread, self._transport = thread, transport

    def opened(self, connection: Connection) -> None:
        self._thread.tell(self._transport.opened, connection)

    def closed(self, connection: Connection) -> None:
        self._thread.tell(self._transport.closed, connection)

    def message(self, connection: Connection, data: bytes) -> None:
        self._thread.tell(self._transport.message, connection, data)

    def serve(self, connection: Connection, data: bytes, answer: Answer) -> None:
        self._thread.tell(self._transport.serve, connection, data, answer)

    def offered(self, connection: Connection, offer: bytes) -> None:
        self._thread.tell(self._transport.offered, connection, offer)

    def accepted_tls(self, sock: socket.socket, address: Multiaddr) -> None:
        self._thread.tell(self._transport.accepted_tls, sock, address)


def _resolve(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
