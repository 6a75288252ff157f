"""One peer's local API (/v1/status, /v1/events, /v1/transactions, /metrics, /livez, /readyz), its pages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from p2pfed.errors import PeerFault
from p2pfed.runtime.host import Host
from p2pfed.runtime.metrics import CONTENT_TYPE
from p2pfed.runtime.status import status_of
from p2pfed.types.params import TRANSACTION_BYTES_MAX
from p2pfed.types.transaction import Transaction
from p2pfed.types.wire import decode_control
from p2pfed.web.guard import LoopbackGuard
from p2pfed.web.pages import Pages

STREAMS_MAX = 16  # Each keeps a backlog; more readers than a person has windows are a mistake.


def make_app(host: Host, port: int, token: str) -> ASGIApp:
    """Return the API of `host`, answering to loopback names with `port` only, and to writes with `token`."""
    streams = 0

    async def status(_: Request) -> Response:
        return JSONResponse(status_of(host))

    async def events(request: Request) -> Response:
        """Server-sent events: the history first, then what happens."""
        nonlocal streams
        if request.method == "HEAD":  # It reads nothing, so it takes no reader's place.
            return Response(media_type="text/event-stream")
        if streams >= STREAMS_MAX:
            return PlainTextResponse(f"{STREAMS_MAX} readers are connected already\n", 503)
        last = request.headers.get("last-event-id", "")
        after_ms = int(last) if last.isascii() and last.isdigit() and len(last) < 20 else -1
        streams += 1

        async def lines() -> AsyncIterator[str]:
            nonlocal streams
            try:
                with host.feed.stream() as entries:
                    async for entry in entries:
                        if entry.time_ms > after_ms:
                            yield f"id: {entry.time_ms}\ndata: {json.dumps(entry.as_json())}\n\n"
            finally:
                streams -= 1

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def transactions(request: Request) -> Response:
        """Take a signed transaction, canonical bytes; 202 where it waits for a block now, 422 and why not."""
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > TRANSACTION_BYTES_MAX:
                return PlainTextResponse(f"a transaction has at most {TRANSACTION_BYTES_MAX} bytes\n", 413)
        try:
            transaction = decode_control(data)
        except PeerFault as fault:
            return PlainTextResponse(f"no transaction: {fault}\n", 400)
        if not isinstance(transaction, Transaction):
            return PlainTextResponse("no transaction: another kind of message\n", 400)
        refusal = host.submit(transaction)
        return PlainTextResponse(f"{refusal or 'it waits for a block'}\n", 422 if refusal else 202)

    async def metrics(_: Request) -> Response:
        return Response(host.metrics.text(), media_type=CONTENT_TYPE)

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        is_ready = host.node.work is not None or host.node.is_finished
        return PlainTextResponse("ready\n" if is_ready else "catching up\n", 200 if is_ready else 503)

    routes = [
        *Pages(host).routes(),
        Route("/v1/status", status),
        Route("/v1/events", events),
        Route("/v1/transactions", transactions, methods=["POST"]),
        Route("/metrics", metrics),
        Route("/livez", live),
        Route("/readyz", ready),
    ]
    return LoopbackGuard(Starlette(routes=routes), port, token)
