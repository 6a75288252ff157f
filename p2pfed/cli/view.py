"""`p2pfed view`: several peers of one network side by side, in a browser or as rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from p2pfed.cli.options import json_option
from p2pfed.cli.reading import api_address, ask_at, open_chain, stored_status
from p2pfed.errors import LocalError, StorageFault, UsageError
from p2pfed.runtime import testnet as network
from p2pfed.storage.home import Home

LOOPBACK = "127.0.0.1"  # An API answers to nobody else.
PORT = 8500
ASKED_AT_ONCE_MAX = 16
_KEYS = ("id", "network", "chain", "height", "step", "round", "waiting_for", "stake_connected", "stake_total",
         "is_halted", "is_finished", "figures")  # fmt: skip
_MISSING: dict[str, Any] = {"id": "", "waiting_for": [], "figures": {}, "is_halted": False}


class Place(Struct, frozen=True):
    """Where a peer is looked for: its home, or the port of this machine where its API answers."""

    name: str
    home: Home | None = None
    port: int = 0

    def api(self) -> tuple[str, int] | None:
        """Return where its API answers, None where it does not run."""
        return (LOOPBACK, self.port) if self.home is None else api_address(self.home)


def places_of(words: Sequence[str]) -> list[Place]:
    """Return the peers that `words` name: homes, folders of testnets, ports of APIs.

    Raises:
        UsageError: One is none of these.
    """
    found = []
    for word in words:
        folder = Path(word)
        if (folder / network.MANIFEST).exists():
            names = [peer.name for peer in network.load_testnet(folder).peers]
            found += [Place(name, Home(folder / name)) for name in names]
        elif Home(folder).genesis.exists():
            found.append(Place(folder.resolve().name, Home(folder)))
        elif word.isascii() and word.isdigit() and 0 < int(word) < 1 << 16:
            found.append(Place(word, port=int(word)))
        else:
            raise UsageError(f"{word} is no peer's home, no testnet and no port of an HTTP API")
    return found


def look_at(places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return a row for each place, and whether its block at the newest common height is that of most."""
    with ThreadPoolExecutor(min(ASKED_AT_ONCE_MAX, len(places))) as pool:
        rows = list(pool.map(_row, places))
        readable = [row for row in rows if not row["error"]]
        for row in readable:
            if row["chain"] != readable[0]["chain"]:
                row["error"] = f"it is of another network, {row['network']}"
        heights = [row["height"] for row in rows if not row["error"] and row["height"]]
        common = min(heights, default=0)
        compared = [index for index, row in enumerate(rows) if common and not row["error"] and row["height"]]
        blocks = list(pool.map(lambda index: _block(places[index], common), compared))
    known = Counter(block["hash"] for block in blocks if block is not None)
    usual = known.most_common(1)[0][0] if known else ""
    for index, block in zip(compared, blocks, strict=True):
        if block is not None:
            rows[index] |= {
                "common_height": common,
                "model_root": block["model_root"],
                "agrees": block["hash"] == usual,
            }
    return rows


def _row(place: Place) -> dict[str, Any]:
    row: dict[str, Any] = {"schema": "p2pfed.view/1", "name": place.name, "page": "", "is_running": False}
    row |= {"is_deaf": False, "error": "", "common_height": None, "model_root": None, "agrees": None}
    address = place.api()
    status = None if address is None else ask_at(address, "/v1/status")
    if status is not None and address is not None:
        row |= {"page": "http://{}:{}/".format(*address), "is_running": True}
        if status.get("schema") != "p2pfed.status/1" or not isinstance(status.get("height"), int):
            row["error"] = f"what answers at {address[0]}:{address[1]} is no peer"
    elif place.home is None:
        row["error"] = (
            f"no peer's API answers at port {place.port}; another machine's is forwarded by its own number"
        )
    else:
        try:
            status = stored_status(place.home)
            row["is_deaf"] = address is not None  # It holds the lock of its home, and does not answer.
        except (LocalError, StorageFault) as error:
            row["error"] = str(error)
    told = {**_MISSING, **(status or {})}
    return row | {key: told.get(key) for key in _KEYS}


def _block(place: Place, height: int) -> dict[str, Any] | None:
    """Return hash and model root of a block, None where they can't be had."""
    address = place.api()
    if address is not None:
        return ask_at(address, f"/v1/blocks/{height}")
    if place.home is None:
        return None
    try:
        with open_chain(place.home) as chain:
            header = chain.header(height)
    except (LocalError, StorageFault):
        return None
    if header is None:
        return None
    return {"hash": header.value_id.hex(), "model_root": header.model_root.hex()}


@click.command()
@click.argument("peers", nargs=-1, required=True, metavar="PEER…")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any.")
@json_option
def view(peers: tuple[str, ...], port: int, as_json: bool) -> None:
    """Show several peers side by side, and whether they agree.

    PEER is a peer's home, the folder of a testnet, or the port of a peer's HTTP API.
    """
    places = places_of(peers)
    if as_json:
        for row in look_at(places):
            click.echo(json.dumps(row))
        return
    from p2pfed.web.interface import serve
    from p2pfed.web.several import make_view

    def told(port: int) -> None:
        click.echo(f"{len(places)} peers side by side: http://{LOOPBACK}:{port}/ (Ctrl-C ends it)")

    serve(lambda port: make_view(lambda: look_at(places), port), port, told)
