"""A network of several peers in one folder: written at once, started and stopped as ordinary processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from p2pfed.errors import LocalError, UsageError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.config import (
    Config,
    HttpConfig,
    LaboratoryConfig,
    LearnerConfig,
    NetworkConfig,
    RunConfig,
)
from p2pfed.runtime.founding import found_network, share_of, write_home
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import new_key
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.genesis import BOTH, Params, Participant, Role, TransportName

PORT_FIRST, HTTP_PORT_FIRST = 7400, 8400
PEERS_MAX = 128
STOP_TIMEOUT_S = 10
MANIFEST = "testnet.json"


class Pipe(Struct, frozen=True):
    """One peer dials another, both by their numbers, at `port`; 0: where the other listens."""

    dialler: int
    listener: int
    port: int = 0


class TestnetPlan(Struct, frozen=True):
    """What `testnet create` is asked for.

    stakes: The bond of each peer. balance: What each can bond or transfer besides.
    roles: What each bond is for; none: all vote and train.
    byzantine: The kinds of the last peers, which lie (`sign_flip:scale=4`).
    pipes: Who dials whom, and peers exchange no addresses; none: all ask the first peer and find each other.
    hosts: Addresses of machines, one a peer or fewer (then they take turns); empty: all on this machine.
    """

    peers: int
    stakes: tuple[int, ...]
    byzantine: tuple[str, ...]
    learner: LearnerConfig
    params: Params
    transport: TransportName
    name: str = "testnet"
    roles: tuple[Role, ...] = ()
    pipes: tuple[Pipe, ...] = ()
    hosts: tuple[str, ...] = ()
    port: int = PORT_FIRST
    http_port: int = HTTP_PORT_FIRST
    linger_s: int = 30
    balance: int = 0
    seed: int = 0

    def participants(self, keys: Sequence[PrivateKey]) -> tuple[Participant, ...]:
        """Return the peers, whose keys are `keys`, as genesis lists them."""
        dealt = zip(keys, self.stakes, self.roles or (BOTH,) * self.peers, strict=True)
        return tuple(Participant(key.public, stake, self.balance, role) for key, stake, role in dealt)


class TestnetPeer(msgspec.Struct, frozen=True):
    """One peer as testnet.json names it."""

    name: str
    key: str
    port: int
    http_port: int
    byzantine: str
    host: str


class Testnet(msgspec.Struct, frozen=True):
    """testnet.json: the peers of the folder, in the order of their names."""

    chain: str
    peers: tuple[TestnetPeer, ...]


def verify_byzantine_stake(plan: TestnetPlan, *, unsafe: bool) -> None:
    """Raise UsageError where liars hold a third of the stake that votes or trains, unless that is wanted."""
    roles = plan.roles or (BOTH,) * plan.peers
    for other, does in (("trainer", "votes"), ("validator", "trains")):
        stakes = [0 if role == other else stake for stake, role in zip(plan.stakes, roles, strict=True)]
        lying, total = sum(stakes[plan.peers - len(plan.byzantine) :]), sum(stakes)
        if 3 * lying >= total and lying and not unsafe:
            raise UsageError(
                f"the Byzantine peers hold {lying} of {total} stake that {does}, a third or more: nothing "
                "can be promised; use fewer, or --unsafe to watch it fail"
            )


def create_testnet(folder: Path, plan: TestnetPlan) -> Testnet:
    """Write a home for each peer under `folder`; nothing runs yet.

    Raises:
        LocalError: The folder is in use, or no network can start from the plan.
    """
    if folder.exists() and any(folder.iterdir()):
        raise LocalError(f"{folder} is not empty; name another folder, or remove it with `testnet clean`")
    keys = sorted((new_key() for _ in range(plan.peers)), key=lambda key: key.public)
    participants = plan.participants(keys)
    genesis, model = asyncio.run(
        found_network(
            plan.learner,
            participants,
            name=plan.name,
            time_ms=time.time_ns() // 1_000_000,
            transport=plan.transport,
            params=plan.params,
        )
    )
    peers = tuple(_peer(plan, keys, index) for index in range(plan.peers))
    for index, (key, peer) in enumerate(zip(keys, peers, strict=True)):
        write_home(Home(folder / peer.name), genesis, model, _config(plan, keys, peers, index), key)
    testnet = Testnet(genesis.chain_id.hex(), peers)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(testnet), indent=2) + b"\n")
    if plan.hosts:
        _archive(folder, testnet)
    return testnet


def load_testnet(folder: Path) -> Testnet:
    """Return what `create_testnet` wrote.

    Raises:
        LocalError: There is no testnet in `folder`, or its testnet.json is damaged.
    """
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Testnet)
    except FileNotFoundError:
        raise LocalError(f"there is no testnet in {folder}; make one with `p2pfed testnet create`") from None
    except (OSError, msgspec.DecodeError) as error:
        raise LocalError(f"{folder / MANIFEST} can't be read: {error}") from None


def start_peer(home: Path, *arguments: str, environment: dict[str, str] | None = None) -> int:
    """Start the peer of `home` as a process of its own, logging to its home; return its process id."""
    with (home / "logs" / "output.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "p2pfed", "run", "--home", str(home), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # It outlives whoever started it.
            env=os.environ | (environment or {}),
        )
    (home / "run" / "pid").write_text(f"{process.pid}\n")
    return process.pid


def stop_peers(homes: Sequence[Path]) -> list[str]:
    """Ask every running peer to stop and wait; return the names of those that ran."""
    running = {home: pid for home in homes if (pid := running_pid(home)) is not None}
    for pid in running.values():
        os.kill(pid, signal.SIGTERM)
    for home, pid in running.items():
        if not wait_until_unlocked(home, STOP_TIMEOUT_S):
            os.kill(pid, signal.SIGKILL)
            wait_until_unlocked(home, STOP_TIMEOUT_S)
    return [home.name for home in running]


def wait_until_unlocked(home: Path, timeout_s: float) -> bool:
    """Wait until no process holds `home`; False where one still does after `timeout_s`."""
    descriptor = os.open(Home(home).lock_file, os.O_RDONLY | os.O_CLOEXEC)
    waiter = threading.Thread(target=fcntl.flock, args=(descriptor, fcntl.LOCK_SH), daemon=True)
    waiter.start()
    waiter.join(timeout_s)
    if waiter.is_alive():
        return False  # The thread, its descriptor with it, ends when the holder does.
    os.close(descriptor)
    return True


def running_pid(home: Path) -> int | None:
    """Return the process that holds the lock of `home`, None where nobody runs it."""
    if not Home(home).is_locked():
        return None
    text = Home(home).lock_file.read_text().strip()
    return int(text) if text.isdigit() else None


def _peer(plan: TestnetPlan, keys: Sequence[PrivateKey], index: int) -> TestnetPeer:
    honest = plan.peers - len(plan.byzantine)
    host = plan.hosts[index % len(plan.hosts)] if plan.hosts else "127.0.0.1"
    return TestnetPeer(
        name=f"peer{index}",
        key=keys[index].public.hex(),
        port=plan.port + index if plan.port else 0,
        http_port=plan.http_port + index if plan.http_port else 0,
        byzantine=plan.byzantine[index - honest] if index >= honest else "",
        host=host,
    )


def _config(
    plan: TestnetPlan, keys: Sequence[PrivateKey], peers: Sequence[TestnetPeer], index: int
) -> Config:
    """Return the settings of one peer: it knows the first one's address, or those that `pipes` says."""
    own, (place, shares) = peers[index], share_of(plan.participants(keys), keys[index].public)
    pipes = plan.pipes or tuple(Pipe(other, 0) for other in range(1, plan.peers))
    contacts = [
        Multiaddr(
            peers[pipe.listener].host, pipe.port or peers[pipe.listener].port, keys[pipe.listener].public
        )
        for pipe in pipes
        if pipe.dialler == index
    ]
    colluders = [
        peer_id(keys[other].public)
        for other, peer in enumerate(peers)
        if own.byzantine and peer.byzantine and other != index
    ]
    everywhere = "::" if ":" in own.host else "0.0.0.0"  # noqa: S104 - other machines must reach it
    return Config(
        network=NetworkConfig(
            listen=everywhere if plan.hosts else "127.0.0.1",
            port=own.port,
            announce=(own.host,) if plan.hosts else (),
            join=tuple(map(str, contacts)),
            exchange=not plan.pipes,
        ),
        learner=msgspec.structs.replace(plan.learner, index=place, peers=shares),
        http=HttpConfig(port=own.http_port),
        run=RunConfig(linger_s=plan.linger_s),
        laboratory=LaboratoryConfig(byzantine=own.byzantine, colluders=tuple(colluders), seed=plan.seed),
    )


def _archive(folder: Path, testnet: Testnet) -> None:
    """Pack the homes of each machine into one archive with only that machine's keys."""
    for host in sorted({peer.host for peer in testnet.peers}):
        path = folder / f"{host.replace(':', '_')}.tar.gz"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for peer in testnet.peers:
                if peer.host == host:
                    archive.add(folder / peer.name, peer.name)
