"""Peers on hosts of their own: IPv4 and IPv6, cut cables, narrow links, new addresses, a router between."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.support import PATIENCE_S, p2pfed
from hosts.network import NAMES, Network
from support.hosts import Hosts, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "-")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """On IPv4; each test leaves all four at work."""
    folder = tmp_path_factory.mktemp("hosts") / "net"
    with Hosts(NAMES) as hosts, Network(hosts, folder, 4) as made:
        yield made


def test_peers_on_four_hosts_train_one_model(net: Network) -> None:
    net.wait_for_height(4)
    net.wait_for_updates_of_all(net.peers[0], 0)
    net.verify_agreement()


def test_a_peer_whose_cable_is_pulled_catches_up(net: Network) -> None:
    victim, other = net.peers[3], net.peers[0]
    net.hosts.set_link("d", up=False)
    other.wait_for_blocks(6)
    stood_at = victim.height
    assert stood_at < other.height - 2
    net.hosts.set_link("d", up=True)
    mark = victim.mark()
    victim.wait_for_height(other.height + 1)
    net.wait_for_updates_of_all(victim, mark)
    net.verify_agreement()


def test_a_narrow_link_holds_nobody_up(net: Network) -> None:
    try:
        net.hosts.limit("c", 20)
    except OSError as error:
        pytest.skip(f"links can't be narrowed here: {error}")
    mark = net.peers[0].mark()
    net.peers[0].wait_for_blocks(4)
    net.wait_for_updates_of_all(net.peers[0], mark)
    net.verify_agreement()


def test_a_peer_whose_address_changes_is_the_same_peer(net: Network) -> None:
    moved, other = net.peers[2], net.peers[0]
    net.hosts.give("c", 40)
    mark = moved.mark()
    moved.wait("peer.joined", after=mark)
    other.wait_for_blocks(1)
    net.wait_for_updates_of_all(other, other.mark())
    net.verify_agreement()


def test_the_first_contact_of_all_may_go_for_good(net: Network) -> None:
    """The others know each other by now; even one that starts again finds them without it."""
    first, *others = net.peers
    first.kill()
    others[0].wait_for_blocks(2)
    others[2].kill()
    others[2].start()
    mark = others[2].mark()
    others[2].wait("peer.joined", after=mark)
    height = others[0].height
    others[2].wait_for_height(height + 2)
    first.start()
    net.wait_for_updates_of_all(first, first.mark())
    net.verify_agreement()


def test_the_same_on_ipv6(tmp_path: Path) -> None:
    with Hosts(NAMES) as hosts, Network(hosts, tmp_path / "net", 6) as net:
        net.wait_for_height(3)
        net.wait_for_updates_of_all(net.peers[3], 0)
        net.verify_agreement()
        shown = p2pfed("peers", "--home", net.peers[1].home.path)
        assert "fd77::" in shown.stdout
        assert "10.77." not in shown.stdout


@pytest.mark.skipif(shutil.which("nft") is None, reason="translating addresses needs `nft` (nftables)")
def test_a_peer_behind_a_router_dials_out_and_takes_part(tmp_path: Path) -> None:
    """Nobody can dial it; what it has to say goes over the pipes that it opened."""
    with Hosts(NAMES) as hosts:
        try:
            hosts.put_behind_router("d")
        except OSError as error:
            pytest.skip(f"addresses can't be translated here: {error}")
        with Network(hosts, tmp_path / "net", 4) as net:
            net.wait_for_height(3)
            net.wait_for_updates_of_all(net.peers[0], 0)
            net.verify_agreement()
            assert is_reached(hosts, "b", 7401)
            assert not is_reached(hosts, "d", 7403)


def is_reached(hosts: Hosts, name: str, port: int) -> bool:
    """Answer whether host a can open a connection to another."""
    probe = f"exec 3<>/dev/tcp/{hosts.address(name)}/{port}"
    command = [*hosts.command("a"), "bash", "-c", probe]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0
