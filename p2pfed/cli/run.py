"""`p2pfed run`: one peer, until it is stopped or the network ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from msgspec.structs import replace

from p2pfed.cli.options import home_option, parse_checkpoint, parse_digest
from p2pfed.cli.sync_bar import SyncBar
from p2pfed.errors import UsageError
from p2pfed.learning.apps import FLOWER
from p2pfed.runtime.addresses import parse_addresses
from p2pfed.runtime.allocator import keep_freed_memory
from p2pfed.runtime.beginning import SYNC_MODES
from p2pfed.runtime.config import Config, LearnerConfig, load_config
from p2pfed.runtime.feed import Feed
from p2pfed.runtime.founding import share_of, write_home
from p2pfed.runtime.host import Ending
from p2pfed.runtime.joining import fetch_founding
from p2pfed.runtime.logs import open_log, open_log_file
from p2pfed.runtime.loop import run_peer_loop
from p2pfed.runtime.notify import supervised
from p2pfed.runtime.peer import Interface, RunOptions, read_genesis, run_peer
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key, new_key
from p2pfed.types.genesis import Participant

PRIVACY_NOTE = (
    "note: your updates are visible to all members and can leak training data; "
    "p2pfed protects integrity, not yet secrecy"
)


@click.command()
@home_option
@click.option("--app", help="The learner: digits:mlp, mnist:mlp, or my_file.py:learner.")
@click.option("--flower", metavar="MODULE:APP", help="A Flower ClientApp in place of --app.")
@click.option("--join", multiple=True, metavar="MULTIADDR", help="A peer to ask first; may be repeated.")
@click.option("--chain", metavar="HEX", help="The network's chain id; needed to join with an empty home.")
@click.option("--transport", type=click.Choice(["tcp", "libp2p"]), default="tcp", show_default=True,
              help="What the network speaks; asked only when joining with an empty home.")  # fmt: skip
@click.option(
    "--listen", metavar="HOST", help="Address to listen on; 0.0.0.0 for other machines, :: for IPv6 too."
)
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; 0 lets the system choose.")
@click.option("--http-port", type=click.IntRange(0, 65535), help="Port of the local HTTP API.")
@click.option("--no-http", is_flag=True, help="Offer no HTTP API.")
@click.option("--announce", multiple=True, metavar="ADDRESS", help="Where others reach this peer.")
@click.option("--heights", type=click.IntRange(1), help="Stop this peer after so many more heights.")
@click.option("--linger", type=click.IntRange(0), metavar="SECONDS", help="Serve others so long at the end.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), help="What the log says.")
@click.option("--track", multiple=True, metavar="KIND:TARGET",
              help="Send figures to jsonl:FILE, tensorboard:DIR or mlflow:URI; may be repeated.")  # fmt: skip
@click.option("--sync", type=click.Choice(SYNC_MODES), default="auto", show_default=True,
              help="How a peer without data starts: from a recent state, or by every block.")  # fmt: skip
@click.option("--checkpoint", metavar="H:HASH", help="A block that you know is final: a start, and a check.")
@click.option("--new-signer", is_flag=True, help="The vote state is lost and no other process has this key.")
def run(home: Home, join: tuple[str, ...], chain: str | None, transport: str, **flags: Any) -> None:
    """Run one peer.

    With an empty home, --join and --chain fetch the network from that peer first. A key that genesis does not
    list follows as an observer: it verifies, stores and exports.
    """
    settings = {
        "learner.app": f"{FLOWER}{flags['flower']}" if flags["flower"] else flags["app"],
        "network.join": join or None,
        "network.listen": flags["listen"],
        "network.port": flags["port"],
        "network.announce": flags["announce"] or None,
        "http.port": flags["http_port"],
        "http.enabled": False if flags["no_http"] else None,
        "run.linger_s": flags["linger"],
        "log.level": flags["log_level"],
        "tracking.sinks": flags["track"] or None,
    }
    checkpoint = None if flags["checkpoint"] is None else parse_checkpoint(flags["checkpoint"])
    config = load_config(home.config, os.environ, settings)
    joined = None
    if not home.genesis.exists() and (join or chain):
        joined = _chain_to_join(config, chain)
    else:
        read_genesis(home)  # Before anything is made: a mistyped folder stays as it is.
    home.create()
    feed = Feed()
    with home.lock(), _tracking(config, feed), SyncBar() as bar:
        if joined is not None:
            config = asyncio.run(_join(home, config, joined, transport))
        is_first_start = not (home.logs / "peer.log").exists()
        feed.listen(bar.above(open_log(config.log.level, config.log.format, bar)))
        feed.listen(bar)
        feed.listen(open_log_file(home.logs / "peer.log"))
        if is_first_start:
            click.echo(PRIVACY_NOTE, err=True)
        options = RunOptions(
            heights=flags["heights"],
            new_signer=flags["new_signer"],
            sync=flags["sync"],
            checkpoint=checkpoint,
        )
        keep_freed_memory()
        ending = run_peer_loop(_run(home, config, options, feed))
    click.echo(f"p2pfed: {ending.reason}", err=True)
    raise click.exceptions.Exit(ending.exit_code)


@contextmanager
def _tracking(config: Config, feed: Feed) -> Iterator[None]:
    """Send figures to the sinks of [tracking], whose libraries are imported only where they are named."""
    if not config.tracking.sinks:
        yield
        return
    from p2pfed.runtime.tracking import Tracking, make_sink

    sinks = {spelled: make_sink(spelled) for spelled in config.tracking.sinks}
    tracking = Tracking(sinks, lambda sentence: click.echo(f"p2pfed: {sentence}", err=True))
    feed.listen(tracking.listen)
    try:
        yield
    finally:
        tracking.close()


async def _run(home: Home, config: Config, options: RunOptions, feed: Feed) -> Ending:
    """Run the peer with its HTTP API; web is imported only where it is wanted."""
    interface: Interface | None = None
    if config.http.enabled:
        from p2pfed.web.interface import WebInterface

        interface = WebInterface(config.http.port)
    async with supervised(feed, os.environ):
        return await run_peer(home, config, options, feed, interface)


def _chain_to_join(config: Config, chain: str | None) -> bytes:
    """Return the chain id that an empty home is to join; raises UsageError where the flags name none."""
    if not chain or not config.network.join:
        raise UsageError("joining with an empty home needs both --join ADDRESS and --chain ID")
    return parse_digest(chain, "--chain", "a chain id")


async def _join(home: Home, config: Config, chain_id: bytes, transport: str) -> Config:
    """Fill an empty home from a first contact; return the settings, with this member's share of the data."""
    key = load_key(home.key) if home.key.exists() else new_key()
    contacts = parse_addresses(config.network.join, config.network.port)
    genesis = await fetch_founding(key, contacts, chain_id, transport)
    config = with_own_share(config, key.public, genesis.participants)
    write_home(home, genesis, None, config, None if home.key.exists() else key)
    if key.public not in [participant.key for participant in genesis.participants]:
        click.echo(
            "note: this key is no member of the network, so the peer follows as an observer: "
            "it verifies, stores and exports, and neither votes nor trains",
            err=True,
        )
    return config


def with_own_share(config: Config, own: bytes, members: Sequence[Participant]) -> Config:
    """Return the settings in which a member's learner has its own share of the data, one for each trainer.

    Shares go by the order of keys, as in `init`; whoever set [learner] peers chose and is left alone.
    """
    is_member = any(member.key == own for member in members)
    if not is_member or config.learner.peers != LearnerConfig().peers:
        return config
    index, shares = share_of(members, own)
    return replace(config, learner=replace(config.learner, index=index, peers=shares))
