"""`p2pfed doctor`: look for what keeps a peer from working, and say how to mend it. Nothing is changed."""

from __future__ import annotations

import asyncio
import resource
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal

from msgspec import Struct

from p2pfed.consensus.signer import decode_record
from p2pfed.errors import P2PFedError, PeerFault
from p2pfed.net.factory import make_transport
from p2pfed.net.limits import DEFAULT_LIMITS
from p2pfed.net.transport import Transport, TransportError
from p2pfed.runtime.addresses import parse_addresses
from p2pfed.runtime.config import Config
from p2pfed.runtime.joining import Deaf
from p2pfed.runtime.light_source import Source
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.files import free_bytes
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key, new_key
from p2pfed.storage.peers_file import load_peers
from p2pfed.storage.store import bytes_of_two_blocks
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.address import Multiaddr, parse_multiaddr, peer_id
from p2pfed.types.genesis import Genesis
from p2pfed.types.params import CLOCK_DRIFT_MS

DIAL_TIMEOUT_MS = 3_000
PEERS_ASKED_MAX = 8  # One answer would do; a few show whether it is us or them.
SPARE_BLOCKS = 20  # Fewer than so many blocks' worth of free space is told of.
DESCRIPTORS_MIN = 256  # Store, log, learner, HTTP and a pipe each to a network of a hundred.
DESCRIPTORS_WANTED = 2 * DEFAULT_LIMITS.pipes + 64
STILL_MS = 600_000  # A newest block older than this: the network stands still, or our clock is ahead.

State = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One thing that was looked at, what was found, and what to do about it where that is not ok."""

    check: str
    state: State
    found: str
    remedy: str = ""


async def examine(home: Home, config: Config, now_ms: Callable[[], int]) -> AsyncIterator[Finding]:
    """Yield a finding for everything that was looked at; without a usable genesis only what needs none."""
    for finding in _folder(home):
        yield finding
    yield _descriptors()
    try:
        genesis = read_genesis(home)
    except P2PFedError as error:
        yield Finding("genesis", "fail", str(error), "copy genesis.json from another member, or join anew")
        return
    yield Finding("genesis", "ok", f"{genesis.name}, chain {genesis.chain_id.hex()[:16]}…")
    for check in (_member, _chain, _space):
        yield check(home, genesis)
    for finding in _ports(home, config):
        yield finding
    async for finding in _peers(home, config, genesis, now_ms):
        yield finding


def _folder(home: Home) -> Iterator[Finding]:
    """Look at the home's own modes: nobody else may read keys and tokens."""
    mode = stat.S_IMODE(home.path.stat().st_mode)
    is_closed = not mode & 0o077
    yield Finding(
        "home", "ok" if is_closed else "fail", f"{home.path} has mode {mode:o}",
        "" if is_closed else f"chmod 700 {home.path}",
    )  # fmt: skip
    for path in (home.key, home.vote_state, home.api_token):
        if path.exists() and (other := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            yield Finding(
                "key modes", "fail", f"{path} has mode {other:o}, 600 is wanted", f"chmod 600 {path}"
            )
    try:
        key = load_key(home.key)
    except P2PFedError as error:
        yield Finding(
            "key", "fail", str(error), "`p2pfed keys restore FILE`, or `p2pfed keys new` for a new member"
        )
    else:
        yield Finding("key", "ok", peer_id(key.public))


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS_WANTED:
        return Finding("file descriptors", "ok", f"{soft} are allowed")
    state: State = "fail" if soft < DESCRIPTORS_MIN else "warn"
    remedy = f"ulimit -n {DESCRIPTORS_WANTED} before `p2pfed run` (the hard limit is {hard})"
    return Finding(
        "file descriptors", state, f"{soft} are allowed, {DESCRIPTORS_WANTED} are used at most", remedy
    )


def _member(home: Home, genesis: Genesis) -> Finding:
    try:
        public = load_key(home.key).public
    except P2PFedError:
        return Finding("membership", "warn", "there is no key that could be a member's")
    if any(participant.key == public for participant in genesis.participants):
        return Finding("membership", "ok", "genesis lists this key")
    return Finding(
        "membership", "warn", f"genesis does not list {public.hex()}: this peer follows as an observer",
        "restore the member's key, if it should vote",
    )  # fmt: skip


def _chain(home: Home, genesis: Genesis) -> Finding:
    """Compare chain.db with genesis, and the signer's record with both."""
    if not home.chain_db.exists():
        return Finding("chain", "warn", "there is no chain yet", "start it once with `p2pfed run`")
    try:
        chain = BlockStore(home.chain_db, genesis.chain_id, read_only=True)
        height = chain.height
        chain.close()
        data = VoteStateFile(home.vote_state).load()
        record = None if data is None else decode_record(data)
    except P2PFedError as error:
        return Finding(
            "chain", "fail", str(error), "`p2pfed inspect` and `p2pfed verify` say what is damaged"
        )
    if record is None and height > 0:
        return Finding(
            "chain", "fail", f"{height} blocks and no {home.vote_state.name}",
            "put it back, or start with --new-signer once no other process has this key",
        )  # fmt: skip
    signed = 0 if record is None else record.height
    if signed > height + 1:
        return Finding(
            "chain", "warn", f"the newest block is {height}, the newest signature of height {signed}",
            "data/ is older than the vote state: it fetches the blocks from others before it votes",
        )  # fmt: skip
    return Finding("chain", "ok", f"the newest block is {height}, the newest signature of height {signed}")


def _space(home: Home, genesis: Genesis) -> Finding:
    free, two = free_bytes(home.path), bytes_of_two_blocks(genesis)
    found = f"{free / 1e6:.0f} MB are free, two blocks need {two / 1e6:.0f} MB"
    if free >= two * SPARE_BLOCKS // 2:
        return Finding("disk space", "ok", found)
    return Finding("disk space", "fail" if free < two else "warn", found, f"free some space at {home.path}")


def _ports(home: Home, config: Config) -> Iterator[Finding]:
    wanted = [("port", config.network.listen, config.network.port)]
    if config.http.enabled:
        wanted.append(("HTTP port", "127.0.0.1", config.http.port))
    for name, host, port in wanted:
        yield _port(name, host, port, is_running=home.is_locked())


def _port(name: str, host: str, port: int, *, is_running: bool) -> Finding:
    """See that somebody answers where the peer runs, and that the port is free where it does not."""
    if port == 0:
        return Finding(name, "ok", "the system chooses it at each start")
    if is_running:
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        try:
            socket.create_connection((reached, port), DIAL_TIMEOUT_MS / 1000).close()
        except OSError as error:
            return Finding(
                name, "fail", f"it runs and {reached}:{port} does not answer: {error.strerror or error}",
                "another --port was given, or a firewall is in the way",
            )  # fmt: skip
        return Finding(name, "ok", f"{reached}:{port} answers")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(
                name, "fail", f"{host}:{port} can't be used: {error.strerror or error}",
                "stop what uses it, or name another one in config.toml",
            )  # fmt: skip
    return Finding(name, "ok", f"{host}:{port} is free")


async def _peers(
    home: Home, config: Config, genesis: Genesis, now_ms: Callable[[], int]
) -> AsyncIterator[Finding]:
    """Dial known addresses, with a key of its own, and compare our clock with the newest header shown."""
    addresses = _known(home, config, genesis)
    if not addresses:
        yield Finding(
            "peers", "warn", "no address of another peer is known", "name one with --join or [network] join"
        )
        return
    own = new_key()
    transport = make_transport(genesis.transport, key=own, chain_id=genesis.chain_id, handler=Deaf())
    try:
        answers = await asyncio.gather(*(_ask(transport, address) for address in addresses))
    finally:
        await transport.close()
    reached = [answer for answer in answers if not isinstance(answer, str)]
    for address, answer in zip(addresses, answers, strict=True):
        if isinstance(answer, str):
            yield Finding(
                "peer", "warn", answer, f"see that {address} runs, and that no firewall is in the way"
            )
        else:
            yield Finding("peer", "ok", f"{address} answers")
    if not reached:
        yield Finding(
            "peers", "fail", f"none of {len(addresses)} known addresses answers",
            "check the network and [network] join in config.toml",
        )  # fmt: skip
        return
    newest_ms = max(reached)
    if newest_ms:
        yield _clock(newest_ms, now_ms())


def _clock(newest_ms: int, now_ms: int) -> Finding:
    found = f"the newest block is {(now_ms - newest_ms) / 1000:.1f} s old by this clock"
    if newest_ms > now_ms + CLOCK_DRIFT_MS:
        return Finding(
            "clock", "fail", f"{found}: it is {newest_ms - now_ms} ms ahead, {CLOCK_DRIFT_MS} ms are allowed",
            "set the clock: this peer's availability votes pull time back, and headers look false to it",
        )  # fmt: skip
    if now_ms - newest_ms > STILL_MS:
        return Finding(
            "clock", "warn", found, "either the network stands still, or this clock is ahead: compare it"
        )
    return Finding("clock", "ok", found)


async def _ask(transport: Transport, address: Multiaddr) -> int | str:
    """Return the time of a peer's newest block, 0 where it has none, or why it could not be asked."""
    try:
        peer = await transport.dial(address, timeout_ms=DIAL_TIMEOUT_MS)
    except TransportError as error:
        return str(error)
    try:
        return (await Source(transport, peer, address).light_block(0)).header.time_ms
    except (TransportError, PeerFault):
        return 0


def _known(home: Home, config: Config, genesis: Genesis) -> tuple[Multiaddr, ...]:
    """Return addresses of others: by hand first, then those remembered, one for each peer."""
    found = list(parse_addresses(config.network.join, config.network.port))
    try:
        own = load_key(home.key).public
        records = load_peers(home.peers, genesis.chain_id)
    except P2PFedError:
        return tuple(found[:PEERS_ASKED_MAX])
    others = (record for record in records if record.key != own and record.addresses)
    found.extend(parse_multiaddr(record.addresses[0]) for record in others)
    unique = {(address.host, address.port): address for address in reversed(found)}
    return tuple(reversed(unique.values()))[:PEERS_ASKED_MAX]
