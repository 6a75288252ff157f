"""What an operator can get wrong, each answered by one sentence with the remedy and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from e2e.support import (
    PATIENCE_S,
    TRANSPORTS,
    Network,
    Peer,
    child_environment,
    create,
    p2pfed,
    tracebacks,
    wait_until,
)

from p2pfed.net.libp2p import LIBP2P_MISSING

Done = subprocess.CompletedProcess


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network of one peer, which finds blocks all by itself; never started here, only copied."""
    return create(tmp_path_factory.mktemp("founded") / "net", 1)


@pytest.fixture
def home(founded: Network, tmp_path: Path) -> Path:
    shutil.copytree(founded.peers[0].home.path, tmp_path / "peer")
    return tmp_path / "peer"


def assert_refused(done: Done, code: int, *words: str) -> None:
    """One line says what is wrong and what to do; the note on privacy may come before it."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("note:", "{"))]
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("p2pfed: ")
    for word in words:
        assert word in lines[0], lines[0]


def run(home: Path, *arguments: str, **environment: str) -> Done:
    return p2pfed("run", "--home", home, *arguments, timeout_s=PATIENCE_S, **environment)


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every stored value of a home; logs and locks may change."""
    kept = [
        path for path in sorted(folder.rglob("*")) if path.suffix in (".db", ".json") or "blobs" in path.parts
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept if path.is_file()}


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        yield


def port_in(home: Path, section: str) -> int:
    after = (home / "config.toml").read_text().partition(f"[{section}]")[2]
    return int(after.partition("port = ")[2].split()[0])


def test_the_genesis_of_another_network_is_refused_and_nothing_is_lost(home: Path) -> None:
    genesis, before = home / "genesis.json", snapshot(home)
    changed(genesis, '"testnet"', '"another"')
    assert_refused(run(home), 3, "holds the chain", "genesis.json founds", "use the home that belongs")
    assert_refused(p2pfed("export", "--home", home, "-o", home / "m.npz"), 3, "use the home that belongs")
    assert p2pfed("verify", "--home", home).returncode == 5
    changed(genesis, '"another"', '"testnet"')
    assert snapshot(home) == before
    genesis.write_text("hello")
    assert_refused(run(home), 3, "genesis.json is not JSON")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_whoever_asks_for_another_chain_or_speaks_another_transport_is_told(
    transport: str, tmp_path: Path
) -> None:
    net = create(tmp_path / "net", 1, transport)
    peer = net.peers[0]
    peer.start("--heights", "100000")
    try:
        peer.wait("peer.started")
        address = f"127.0.0.1:{port_in(peer.home.path, 'network')}"
        api = f"127.0.0.1:{port_in(peer.home.path, 'http')}"
        other_chain, other_transport = net.chain[::-1], {"tcp": "libp2p", "libp2p": "tcp"}[transport]
        wrong = {
            (address, other_chain, transport): ("belongs to the", net.chain[:12], other_chain[:12]),
            (api, net.chain, transport): ("speak", transport),
        }
        if find_spec("libp2p") is not None:
            wrong[address, net.chain, other_transport] = ("speak", "libp2p", "tcp")

        def join(number: int, to: str, chain: str, how: str) -> Done:
            return run(tmp_path / f"new{number}", "--join", to, "--chain", chain, "--transport", how)

        with ThreadPoolExecutor() as pool:  # Each asks for some seconds before it gives up.
            answers = [pool.submit(join, number, *what) for number, what in enumerate(wrong)]
        for answer, words in zip(answers, wrong.values(), strict=True):
            assert_refused(answer.result(), 4, *words)
        assert list(tmp_path.glob("new*/genesis.json")) == []
        assert tracebacks([peer]) == []
        assert peer.is_running
    finally:
        peer.end()


def test_a_running_peer_of_another_network_says_why_nobody_talks_to_it(home: Path, tmp_path: Path) -> None:
    """Its own contact refuses it: a person must see that without asking for the debug log."""
    net = create(tmp_path / "net", 1)
    contact, lost = net.peers[0], Peer(home)
    address = f"127.0.0.1:{port_in(contact.home.path, 'network')}"
    contact.start()
    try:
        contact.wait("peer.started")
        lost.start("--join", address, "--port", "0", "--http-port", "0")
        warning = lost.wait("peer.lonely")
        assert f"{address} belongs to the network {net.chain[:16]}" in warning["reason"]
        assert "join in config.toml" in warning["remedy"]
        wait_until(lambda: '"peer.lonely"' in lost.output, "the warning in the log that a person reads")
    finally:
        lost.end()
        contact.end()
    assert lost.output.count("peer.lonely") == 1


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("network", ("can't listen on", "in use", "choose another port")),
        ("http", ("--http-port", "--no-http")),
    ],
)
def test_a_port_that_is_taken_is_named(section: str, words: tuple[str, ...], home: Path) -> None:
    before, port = snapshot(home), port_in(home, section)
    with taken(port):
        assert_refused(run(home), 3, f"127.0.0.1:{port}", *words)
    assert snapshot(home) == before


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    (home / "key.json").chmod(0o640)
    assert_refused(run(home), 3, "others can read", "(mode 640)", f"chmod 600 {home / 'key.json'}")


def test_an_unknown_setting_names_the_nearest_one(home: Path) -> None:
    config = home / "config.toml"
    changed(config, "linger_s", "lingers_s")
    assert_refused(run(home), 3, str(config), "[run] has no key 'lingers_s'", "did you mean 'linger_s'?")
    changed(config, "lingers_s", "linger_s")
    assert_refused(run(home, P2PFED_NETWORK__PROT="1"), 3, "P2PFED_NETWORK__PROT", "'port'?")


@pytest.mark.parametrize("command", [("testnet", "create", "--output"), ("demo", "--out")])
def test_a_third_of_the_stake_in_liars_hands_is_refused_with_the_numbers(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    liars = ("--peers", "4", "--byzantine", "1:silent", "--stake", "10,10,10,15")
    done = p2pfed(*command, tmp_path / "net", *liars)
    assert_refused(done, 2, "15 of 45", "a third or more", "--unsafe")
    assert not (tmp_path / "net").exists()


def test_unsafe_lets_a_third_of_the_stake_lie(tmp_path: Path) -> None:
    arguments = ("testnet", "create", "--peers", "3", "--byzantine", "1:silent", "--output", tmp_path / "net")
    done = p2pfed(*arguments, "--unsafe")
    assert (done.returncode, done.stdout) == (0, f"p2pfed testnet start {tmp_path / 'net'}\n")
    assert "(1 Byzantine)" in done.stderr


def test_more_possible_liars_than_a_rule_can_stand_is_refused(tmp_path: Path) -> None:
    done = p2pfed("testnet", "create", "--peers", "4", "--stake", "30,30,1,1", "-o", tmp_path / "net")
    assert_refused(done, 3, "2 liars among 4 trainers", "2f < n", "make the bonds more equal")


@pytest.mark.parametrize("damage", ["row", "file", "vote_state", "model"])
def test_a_damaged_disk_stops_the_peer_and_verify_says_where(damage: str, home: Path) -> None:
    match damage:
        case "row":
            with closing(sqlite3.connect(home / "data/chain.db", isolation_level=None)) as database:
                database.execute("UPDATE blobs SET status = 'absent'")
        case "file":
            with (home / "data/chain.db").open("r+b") as file:
                file.write(os.urandom(512))
        case "vote_state":
            changed(home / "vote_state.json", '"record": "', '"record": "0')
        case "model":
            largest = max((home / "data/blobs/sha256").glob("*/*"), key=lambda path: path.stat().st_size)
            data = bytearray(largest.read_bytes())
            data[1000] ^= 1
            largest.write_bytes(data)
    remedy = {"vote_state": "put back this very file", "model": "delete that file"}
    assert_refused(run(home), 5, remedy.get(damage, "p2pfed verify"))
    for arguments in ((), ("--independent",)):
        done = p2pfed("verify", "--home", home, *arguments)
        assert done.returncode == 5
        assert "Traceback" not in done.stderr
        assert "problem" in done.stdout


def test_nobody_to_ask_ends_with_exit_code_4(founded: Network, tmp_path: Path) -> None:
    port = port_in(founded.peers[0].home.path, "network")
    done = run(tmp_path / "new", "--join", f"127.0.0.1:{port}", "--chain", founded.chain)
    assert_refused(done, 4, f"127.0.0.1:{port} was not reached", "compare --join and --chain")
    assert not (tmp_path / "new" / "genesis.json").exists()


def test_without_libp2p_the_sentence_says_how_to_get_it(home: Path) -> None:
    hidden = home / "hidden"  # As on a machine that never had it, and none of what it brings along.
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'libp2p' else real(name, *rest)\n"
    )
    arguments = ("--join", "127.0.0.1:1", "--chain", "00" * 32, "--transport", "libp2p")
    done = run(home / "new", *arguments, PYTHONPATH=str(hidden))
    assert_refused(done, 3, LIBP2P_MISSING, "pip install 'p2pfed[libp2p]'", "gcc libgmp-dev")


def test_python_without_assertions_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "p2pfed", "version"], capture_output=True, text=True, check=False
    )
    assert_refused(done, 2, "python -O", "start it without -O")


def test_a_home_that_runs_already_is_left_alone(home: Path) -> None:
    peer = Peer(home)
    peer.start()
    try:
        peer.wait_for_height(1)
        assert_refused(run(home), 3, f"process {peer.process.pid} already runs", "slashed")
        assert peer.is_running
    finally:
        peer.end()


def test_a_folder_that_is_no_home_stays_as_it_is(tmp_path: Path) -> None:
    assert_refused(run(tmp_path / "typo"), 3, "p2pfed init", "--join ADDRESS")
    done = p2pfed("verify", "--independent", "--home", tmp_path / "typo")
    assert (done.returncode, done.stdout) == (3, "")
    assert "genesis.json" in done.stderr
    assert not (tmp_path / "typo").exists()


class SmallDisk:
    """A home on a file system of a few megabytes, in a mount namespace that ends with this object."""

    def __init__(self, founded: Network, mount: Path, size: str) -> None:
        script = f"mount -t tmpfs -o size={size} none {mount} && echo ready && exec cat"
        self.mount = mount
        self.holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.holder.stdout is not None
        self.is_ready = self.holder.stdout.readline() == b"ready\n"
        self.seen = Path(f"/proc/{self.holder.pid}/root{mount}")  # The same folder from outside.
        if self.is_ready:
            shutil.copytree(founded.peers[0].home.path, self.seen / "peer")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        namespaces = ["nsenter", f"--target={self.holder.pid}", "--user", "--mount", "--preserve-credentials"]
        command = [
            *namespaces,
            sys.executable,
            "-m",
            "p2pfed",
            *arguments,
            "--home",
            str(self.mount / "peer"),
        ]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=child_environment({"P2PFED_LOG__FORMAT": "json"}),
        )  # fmt: skip

    def end(self) -> None:
        self.holder.kill()
        self.holder.communicate()


@pytest.fixture
def small_disk(founded: Network, tmp_path: Path) -> Iterator[SmallDisk]:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no small disk can be made here: unshare and nsenter of Linux are missing")
    disk = SmallDisk(founded, tmp_path, "44m")
    if not disk.is_ready:
        disk.end()
        pytest.skip("no small disk can be made here: this system forbids user namespaces")
    yield disk
    disk.end()


def test_a_full_disk_ends_the_peer_and_nothing_committed_is_lost(small_disk: SmallDisk) -> None:
    told: list[int] = []
    for is_brimful in (False, True):
        peer = small_disk.start("run")
        assert peer.stderr is not None
        lines = []
        for line in peer.stderr:
            lines.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "block.committed":
                told.append(event["height"])
            if event.get("event") == "block.committed" and len(told) % 3 == 0:
                with (small_disk.seen / "filler").open("wb", buffering=0) as filler:
                    try:
                        filler.write(bytes(20 << 20))
                        while is_brimful:
                            filler.write(bytes(1 << 12))
                    except OSError:
                        assert is_brimful
        assert peer.wait() == 8, lines
        assert "Traceback" not in "".join(lines)
        (sentence,) = [line for line in lines if line.startswith("p2pfed: ")]
        assert "free some space and start" in sentence
        assert is_brimful or "two blocks need" in sentence
        (small_disk.seen / "filler").unlink()
        checked = small_disk.start("verify", "--json")
        report = json.loads(checked.communicate()[0])
        assert report["problems"] == []
        assert report["heights"] >= told[-1]
    assert told == sorted(set(told))


def test_a_damaged_log_is_refused_and_repair_lets_the_peer_go_on(home: Path) -> None:
    """Blocks, votes and blobs are whole; only what others said of the height under way is lost."""
    assert run(home, "--heights", "3", "--linger", "0").returncode == 0
    log = home / "data" / "wal" / "00000001.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 3] ^= 0x20
    log.write_bytes(data)
    assert_refused(run(home), 5, "damaged at byte", f"of {len(data)}", "run `p2pfed repair`")
    assert log.read_bytes() == data
    repaired = json.loads(p2pfed("repair", "--json", "--home", home).stdout)
    assert repaired["height"] == 3
    assert repaired["entries_lost"] > 0
    older = json.loads((home / "vote_state.json").read_text())
    assert run(home, "--heights", "1", "--linger", "0").returncode == 0
    newer = (home / "vote_state.json").read_bytes()
    assert json.loads(newer) != older
    assert p2pfed("verify", "--home", home).returncode == 0
