"""A network of four real peers, each on a host of its own."""

from __future__ import annotations

import tarfile
from pathlib import Path

from e2e.support import Peer, p2pfed, tracebacks, wait_until
from support.hosts import Hosts

from p2pfed.runtime.testnet import load_testnet
from p2pfed.types.address import peer_id

NAMES = ("a", "b", "c", "d")


class Network:
    """Four peers on four hosts, each unpacked from the archive that was made for its host."""

    def __init__(self, hosts: Hosts, folder: Path, version: int) -> None:
        self.hosts = hosts
        addresses = ",".join(hosts.address(name, version) for name in NAMES)
        made = p2pfed(
            "testnet", "create", "--peers", "4", "--hosts", addresses, "--output", folder, "--linger", "2"
        )
        assert made.returncode == 0, made.stderr
        self.peers = []
        for name, peer in zip(NAMES, load_testnet(folder).peers, strict=True):
            (archive,) = folder.glob(f"{peer.host.replace(':', '_')}.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(folder / name, filter="data")
            self.peers.append(Peer(folder / name / peer.name, hosts.command(name)))
        self.ids = [peer_id(bytes.fromhex(peer.key)) for peer in load_testnet(folder).peers]

    def __enter__(self) -> Network:
        for peer in self.peers:
            peer.start()
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers:
            peer.end()

    def wait_for_updates_of_all(self, seen_by: Peer, after: int) -> None:
        """Wait for a block with everybody's update that a peer logs from position `after` on."""

        def look() -> bool:
            blocks = [event for event in seen_by.events[after:] if event["event"] == "block.committed"]
            return any(sorted(block["trainers"]) == sorted(self.ids) for block in blocks)

        wait_until(look, f"a block with all updates at {seen_by.name}")

    def wait_for_height(self, height: int) -> None:
        for peer in self.peers:
            peer.wait_for_height(height)

    def verify_agreement(self) -> None:
        """Compare the blocks at the newest height that all have logged."""
        logs = [
            {
                event["height"]: event["value_id"]
                for event in peer.events
                if event["event"] == "block.committed"
            }
            for peer in self.peers
        ]
        height = max(set.intersection(*map(set, logs)))
        assert len({log[height] for log in logs}) == 1
        assert tracebacks(self.peers) == []
