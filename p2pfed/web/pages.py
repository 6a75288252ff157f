"""The pages of a peer: a few files, and what they ask for beside `/v1/status` and `/v1/events`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any, TypeVar

from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from p2pfed.errors import StorageFault
from p2pfed.runtime.block_pages import (
    COLUMNS,
    HISTORY_BLOCKS_MAX,
    UpdateMap,
    block_view,
    history_rows,
    update_map,
)
from p2pfed.runtime.host import Host
from p2pfed.types.validators import ValidatorSet

T = TypeVar("T")

FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
    "/dom.js": ("dom.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/views.js": ("views.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Pages:
    """Serves the pages of `host`. The disk is read in one thread, so many readers wait for each other."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="pages")
        self._rows: dict[int, list[int]] = {}  # Of the newest blocks, by height: a block never changes.
        self._map: UpdateMap | None = None

    def routes(self) -> list[Route]:
        return [
            *file_routes(FILES),
            Route("/v1/history", self.history),
            Route("/v1/blocks/{height:int}", self.block),
            Route("/v1/updates", self.updates),
        ]

    async def history(self, request: Request) -> Response:
        """The newest blocks, a short row each, and what the learner measured: all in one message.

        With `?after=H` only those above height H.
        """
        text = request.query_params.get("after", "0")
        after = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        tip = self._host.node.state.height
        heights = range(max(1, tip - HISTORY_BLOCKS_MAX + 1), tip + 1)
        # Only upwards: what a peer that joined by state has never had is not looked for again.
        first = max(heights.start, next(reversed(self._rows), 0) + 1)
        if first <= tip:
            for row in await self._read(self._history, range(first, tip + 1)):
                self._rows[row[0]] = row
        self._rows = {height: self._rows[height] for height in sorted(self._rows) if height in heights}
        known, fresh = self._host.feed.figures, [height for height in self._rows if height > after]
        figures = {str(height): known[height] for height in heights if height in known and height >= after}
        return JSONResponse(
            {
                "schema": "p2pfed.history/1",
                "columns": COLUMNS,
                "blocks": [self._rows[height] for height in fresh],
                "figures": figures,
            }
        )

    async def block(self, request: Request) -> Response:
        """One block: its votes, and the fate of each trainer's update."""
        height: int = request.path_params["height"]
        state = self._host.node.state
        sets = {each.hash: each for each in (state.last_validators, state.validators)}
        found = None
        if height <= state.height:  # A number that no database holds is asked of none.
            found = await self._read(self._block, height, sets, state.trainers)
        if found is None:
            return PlainTextResponse(f"there is no block {height}; the newest is {state.height}\n", 404)
        found["refused"] = {
            entry.data["trainer"]: entry.data["reason"]
            for entry in self._host.feed.history
            if entry.event == "update.refused" and entry.data["height"] == height
        }
        return JSONResponse(found)

    async def updates(self, _: Request) -> Response:
        """How large the newest block's updates are, and how alike."""
        height = self._host.node.state.height
        if self._map is None or self._map.height < height:
            try:
                found = await self._read(self._update_map, height)
            except StorageFault as fault:
                return PlainTextResponse(f"{fault}\n", 404)
            if found is not None:  # A block without updates leaves the picture of the last that had some.
                self._map = found
        if self._map is None:
            return PlainTextResponse("the newest block has no update\n", 404)
        return JSONResponse({"schema": "p2pfed.updates/1", **asdict(self._map)})

    # In the thread

    def _history(self, heights: range) -> list[list[int]]:
        with self._host.store.snapshot() as chain:
            return history_rows(chain, heights)

    def _block(
        self, height: int, sets: dict[bytes, ValidatorSet], trainers: tuple[bytes, ...]
    ) -> dict[str, Any] | None:
        with self._host.store.snapshot() as chain:
            block, polkas = chain.block(height), chain.polkas(height)
        if block is None:
            return None
        return block_view(block, polkas, sets.get(block.header.validators_hash), trainers)

    def _update_map(self, height: int) -> UpdateMap | None:
        host = self._host
        with host.store.snapshot() as chain:
            block = chain.block(height) or chain.block(
                height - 1
            )  # The newest may still be on its way to disk.
        model = host.node.state.model
        if block is None or model is None or not block.body.updates:
            return None
        # The units of the newest model: they change a step at a time, and a picture bears that.
        units = [int(exponent) for exponent in model.update_exponents]
        return update_map(block, host.store.genesis, units, host.payload)

    async def _read(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, function, *arguments)


def file_routes(files: Mapping[str, tuple[str, str]]) -> list[Route]:
    """Return a route for each path of `files`, which names a file of ours and its media type."""
    return [Route(path, _file(*named)) for path, named in files.items()]


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("p2pfed.web").joinpath("static", name).read_bytes()

    async def serve(_: Request) -> Response:  # Not in a thread: its pool takes 100 ms to load, in the loop.
        return Response(content, media_type=kind, headers={"content-security-policy": PAGE_POLICY})

    return serve
