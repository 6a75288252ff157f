"""The page that shows several peers side by side; whoever serves it says how to look at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from p2pfed.web.guard import LoopbackGuard
from p2pfed.web.pages import file_routes

FILES = {
    "/": ("several.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/several.js": ("several.js", "text/javascript"),
    "/dom.js": ("dom.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def make_view(look: Callable[[], list[dict[str, Any]]], port: int) -> ASGIApp:
    """Return the view, answering to loopback names with `port` only.

    Args:
        look: Returns a row for each peer; called in a thread, by one reader at a time.
        port: Where it is served.
    """
    turn = asyncio.Lock()

    async def peers(_: Request) -> Response:
        async with turn:
            rows = await asyncio.to_thread(look)
        return JSONResponse({"schema": "p2pfed.views/1", "peers": rows})

    return LoopbackGuard(Starlette(routes=[*file_routes(FILES), Route("/v1/peers", peers)]), port, None)
