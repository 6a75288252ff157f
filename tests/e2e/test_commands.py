"""Every command beside a running, a halted and a stopped network of two peers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e.support import Network, child_environment, network, p2pfed, tracebacks, wait_until
from support.pages import json_keys

from p2pfed.primitives.merkle import chunk_root
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.retention import SNAPSHOT_INTERVAL
from p2pfed.storage.store import Store
from p2pfed.types.address import peer_id

RESIDENT_KB_MAX = {"tcp": 88_000, "libp2p": 150_000}  # Young: 77,000 on tcp.


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("commands") / "net", 2) as net:
        net.wait_for_height(3)
        yield net


def rows(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """Return what a command prints with --json: one object a line, its schema first, and nothing else."""
    done = p2pfed(*arguments, "--json")
    assert done.returncode == code, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(next(iter(row)) == "schema" and row["schema"].startswith("p2pfed.") for row in found)
    return found


def test_a_running_peer_tells_where_it_stands(net: Network) -> None:
    home = net.peers[0].home.path
    (status,) = rows("status", "--home", home)
    assert (status["schema"], status["chain"], status["transport"]) == ("p2pfed.status/1", net.chain, "tcp")
    assert status["height"] >= 3
    assert (status["stake_connected"], status["stake_total"], status["is_halted"]) == (20, 20, False)
    assert {*status["waiting_for"]} <= {peer_id(key) for key in net.keys}
    text = p2pfed("status", "--home", home).stdout
    assert f"chain {net.chain[:16]}…" in text
    assert "stake     20 of 20 connected" in text
    (other,) = rows("peers", "--home", home)
    assert (other["id"], other["is_connected"], other["is_member"]) == (peer_id(net.keys[1]), True, True)
    listed = rows("testnet", "status", net.folder)
    assert [(row["name"], row["running"]) for row in listed] == [("peer0", True), ("peer1", True)]


def test_blocks_are_listed_and_shown_whole(net: Network) -> None:
    home = net.peers[0].home.path
    newest = rows("blocks", "--home", home, "--last", "2")
    assert [row["schema"] for row in newest] == ["p2pfed.block/1"] * 2
    assert newest[1]["height"] == newest[0]["height"] + 1
    done = p2pfed("blocks", "show", "2", "--home", home, "--json")
    shown = json.loads(done.stdout)
    assert next(iter(shown)) == "schema"
    event = net.peers[1].find("block.committed", height=2)
    assert event is not None
    assert (shown["hash"], shown["model_root"]) == (event["value_id"], event["model_root"])
    assert len(shown["updates"]) == event["updates"]
    missing = p2pfed("blocks", "show", "99999", "--home", home)
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "there is no block 99999; the heights are 1 to " in missing.stderr


def on_a_terminal(*arguments: str | Path, stop_at: bytes = b"") -> tuple[int, bytes]:
    """Run a command on a terminal of 30 x 100; return its exit code and all that it wrote.

    Where `stop_at` comes up, it is stopped as Ctrl-C does.
    """
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    variables = child_environment({"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"})
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pfed", *map(str, arguments)],
        stdin=its,
        stdout=its,
        stderr=its,
        env=variables,
    )
    os.close(its)
    written = b""
    try:
        while piece := os.read(ours, 1 << 16):
            written += piece
            if stop_at and stop_at in written:
                process.send_signal(signal.SIGINT)
                stop_at = b""
    except OSError:
        pass  # So Linux says that nobody holds the other end any more.
    finally:
        os.close(ours)
    return process.wait(60), written


def test_watch_draws_on_a_terminal_and_leaves_it_as_it_was(net: Network) -> None:
    home = net.peers[0].home.path
    code, written = on_a_terminal("watch", "--home", home, "--until", "height>=5", "--timeout", "60")
    assert code == 0
    assert "accuracy" in written.decode()
    assert "collects updates" in written.decode() or "is final" in written.decode()
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")  # The cursor is back.
    code, written = on_a_terminal("watch", "--home", home, stop_at=b"accuracy")
    assert (code, b"Traceback" in written) == (130, False)
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")
    code, written = on_a_terminal(
        "watch", "--home", home, "--plain", "--until", "height>=5", "--timeout", "60"
    )
    assert (code, b"\x1b" in written) == (0, False)


def test_watch_ends_when_its_target_is_reached_and_with_6_where_it_is_missed(net: Network) -> None:
    home = net.peers[0].home.path
    followed = rows("watch", "--home", home, "--until", "height>=4", "--timeout", "60")
    assert [row["height"] for row in followed if row["event"] == "block.evaluated"][-1] == 4
    missed = p2pfed("watch", "--home", home, "--until", "accuracy>=2", "--timeout", "1")
    assert missed.returncode == 6
    assert "accuracy>=2 was not reached; the last value is 0." in missed.stderr
    assert "block.committed" in missed.stdout
    assert "acc(public)=" in missed.stdout
    unclear = p2pfed("watch", "--home", home, "--until", "better")
    assert unclear.returncode == 2
    assert "--until takes accuracy>=0.9" in unclear.stderr


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_an_exported_model_is_the_agreed_one(form: str, net: Network, tmp_path: Path) -> None:
    home, output = net.peers[1].home, tmp_path / f"model.{form}"
    done = p2pfed("export", "--home", home.path, "--format", form, "-o", output)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    proof = json.loads((tmp_path / f"model.{form}.proof.json").read_bytes())
    assert next(iter(proof)) == "schema"
    arrays = read_safetensors(output.read_bytes()) if form == "safetensors" else dict(np.load(output))
    genesis = read_genesis(home)
    store = Store(home, genesis, read_only=True)
    model, block = store.load_model(proof["height"]), store.chain.block(proof["height"])
    store.close()
    assert model is not None
    assert block is not None
    assert proof["model_root"] == block.header.model_root.hex() == chunk_root(model.weights_bytes()).hex()
    assert proof["header_hash"] == block.header.value_id.hex()
    assert [bytes.fromhex(text) for text in proof["signatures"]] == list(block.commit.signatures)
    view = model_view(model, genesis.manifest.groups)
    assert [(name, array.shape) for name, array in arrays.items()] == [
        (spec.name, spec.shape) for spec in genesis.manifest.arrays
    ]
    np.testing.assert_array_equal(np.concatenate([array.ravel() for array in arrays.values()]), view)
    assert all(array.dtype == np.float32 for array in arrays.values())


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, by its description: length, JSON header, bytes."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    assert sum(end - start for start, end in (entry["data_offsets"] for entry in header.values())) == len(
        body
    )
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], {"F32": "<f4"}[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
    }


def test_a_light_client_proves_what_is_in_a_block_and_needs_no_home(net: Network, tmp_path: Path) -> None:
    primary, witness = (peer.wait("peer.started")["p2p"][0] for peer in net.peers)
    net.wait_for_height(SNAPSHOT_INTERVAL)
    height = (
        net.peers[0].height // SNAPSHOT_INTERVAL * SNAPSHOT_INTERVAL
    )  # Ledger and model stay for a while.
    home = net.peers[0].home
    shown = json.loads(p2pfed("blocks", "show", str(height), "--home", home.path, "--json").stdout)
    store = Store(home, read_genesis(home), read_only=True)
    block, checkpoint = store.chain.block(height), store.chain.block(2)
    store.close()
    assert block is not None
    assert checkpoint is not None
    output, update_id = tmp_path / "m.npz", block.body.updates[0].update_id.hex()
    arguments = (
        "light", "--chain", net.chain, "--join", primary, "--witness", witness, "--height", str(height),
        "--account", peer_id(net.keys[0]), "--update", update_id, "--model", output,
    )  # fmt: skip
    (row,) = rows(*arguments, "--checkpoint", f"2:{checkpoint.header.value_id.hex()}")
    assert (row["schema"], row["chain"], row["from_height"]) == ("p2pfed.light/1", net.chain, 2)
    assert set(row) == json_keys("p2pfed.light/1")
    assert (row["height"], row["hash"]) == (height, shown["hash"])
    assert row["confirmed_by"] == [peer_id(net.keys[1])]
    assert (row["account"]["bond"], row["account"]["is_there"]) == (10, True)
    assert (row["update"]["counted"], row["update"]["reason"]) == (True, "")
    proof = json.loads((tmp_path / "m.npz.proof.json").read_bytes())
    assert (proof["header_hash"], proof["model_root"]) == (shown["hash"], shown["model_root"])
    assert sum(array.size for array in np.load(output).values()) > 0
    text = p2pfed("light", "--chain", net.chain, "--join", primary)
    assert text.returncode == 0, text.stderr
    assert "verified  from genesis by 1 header; confirmed by nobody" in text.stdout
    conflict = p2pfed("light", "--chain", net.chain, "--join", primary, "--checkpoint", f"2:{shown['hash']}")
    assert (conflict.returncode, conflict.stdout) == (3, "")
    assert f"--checkpoint says {shown['hash']}" in conflict.stderr


def test_whatever_is_read_beside_a_running_peer_does_not_stop_it(net: Network, tmp_path: Path) -> None:
    peer = net.peers[0]
    unfinished = peer.home.blobs / "tmp" / "unfinished"  # As while a blob comes in.
    unfinished.touch()
    for way in ("--deep", "--independent"):
        (report,) = rows("verify", "--home", peer.home.path, way)
        assert report["problems"] == []
    assert p2pfed("export", "--home", peer.home.path, "-o", tmp_path / "m.npz").returncode == 0
    assert unfinished.exists()
    peer.wait_for_blocks(2)
    assert tracebacks(net.peers) == []


def test_a_peer_needs_little_memory(net: Network) -> None:
    for peer in net.peers:
        assert peer.process is not None
        status = Path(f"/proc/{peer.process.pid}/status")
        if not status.exists():
            pytest.skip("only Linux tells the memory of a process in /proc")
        resident = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        assert int(resident.split()[1]) <= RESIDENT_KB_MAX[net.transport]


def test_a_halted_and_a_stopped_peer_are_told_apart(net: Network) -> None:
    stays, leaves = net.peers
    assert leaves.stop() == 143
    halted = wait_until(
        lambda: next((row for row in rows("status", "--home", stays.home.path) if row["is_halted"]), None),
        "status to say that the network is halted",
    )
    assert halted["stake_connected"] == 10
    text = p2pfed("status", "--home", stays.home.path).stdout
    assert "halted: peers of more than 2/3 of the stake must be connected" in text
    (stopped,) = rows("status", "--home", leaves.home.path)
    assert (stopped["schema"], stopped["step"]) == ("p2pfed.status/1", "stopped")
    # A signal between the commit to disk and its log line leaves the disk one block ahead of the log.
    assert stopped["height"] in (leaves.height, leaves.height + 1)
    assert "does not run; start it with `p2pfed run`" in p2pfed("status", "--home", leaves.home.path).stdout
    remembered = p2pfed("peers", "--home", leaves.home.path, "--json")
    assert json.loads(remembered.stdout)["id"] == peer_id(net.keys[0])
    assert "does not run" in remembered.stderr
    assert p2pfed("watch", "--home", leaves.home.path).returncode == 3
    stopped_all = p2pfed("testnet", "stop", net.folder)
    assert (stopped_all.stdout, stopped_all.stderr) == ("", "stopped peer0\n")
    logs = p2pfed("testnet", "logs", net.folder, "--peer", "peer1", "-n", "1")
    assert "stopped by a signal" in logs.stdout
    refused = p2pfed("testnet", "clean", net.folder)
    assert refused.returncode != 0
    assert net.folder.exists()
    assert p2pfed("testnet", "clean", net.folder, "--yes").returncode == 0
    assert not net.folder.exists()


def test_a_key_survives_its_backup(tmp_path: Path) -> None:
    words = "correct horse battery"
    (made,) = rows("keys", "new", "--home", tmp_path / "a")
    sealed = p2pfed("keys", "backup", "--home", tmp_path / "a", "-o", tmp_path / "key", "--passphrase", words)
    assert sealed.returncode == 0, sealed.stderr
    assert made["public"] not in sealed.stdout
    arguments = ("keys", "restore", "--home", tmp_path / "b", tmp_path / "key", "--passphrase")
    wrong = p2pfed(*arguments, words + "!")
    assert wrong.returncode == 3
    assert "the passphrase is wrong" in wrong.stderr
    (restored,) = rows(*arguments, words)
    assert (restored["public"], restored["id"]) == (made["public"], made["id"])
    assert (tmp_path / "a/key.json").read_bytes() == (tmp_path / "b/key.json").read_bytes()
    assert (tmp_path / "b/key.json").stat().st_mode & 0o777 == 0o600
    assert p2pfed(*arguments, words).returncode == 3  # A key is never overwritten.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_learns_the_commands(shell: str) -> None:
    script = p2pfed("completion", shell)
    assert (script.returncode, script.stderr) == (0, "")
    assert f"_P2PFED_COMPLETE={shell}_complete" in script.stdout
    if shell == "bash":
        checked = subprocess.run(
            ["bash", "-n"], input=script.stdout, text=True, capture_output=True, check=False
        )
        assert checked.stderr == ""
    words = {
        "COMP_WORDS": "p2pfed ver" if shell != "fish" else "p2pfed",
        "COMP_CWORD": "ver" if shell == "fish" else "1",
    }
    offered = p2pfed(_P2PFED_COMPLETE=f"{shell}_complete", **words)
    assert "verify" in offered.stdout
    assert "demo" not in offered.stdout


def test_help_is_there_at_once(tmp_path: Path) -> None:
    """Within 150 ms on an idle machine: click is nearly all that it loads."""
    program = (
        "import sys\nfrom p2pfed.cli.main import COMMANDS, main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as leaving:\n    assert leaving.code == 0\n"
        "heavy = {'numpy', 'msgspec', 'asyncio', 'coincurve', 'starlette'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert len(sys.modules) < 160, len(sys.modules)\n"
        "print(*COMMANDS, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    listed = done.stdout.partition("Commands:")[2]
    assert [name for name in done.stderr.split() if name not in listed] == []


def test_the_version_names_what_it_stands_on() -> None:
    (row,) = rows("version")
    assert list(row)[:3] == ["schema", "p2pfed", "python"]
    assert f"p2pfed        {row['p2pfed']}\n" in p2pfed("version").stdout


def test_a_reader_that_leaves_early_is_no_error_to_read_about(tmp_path: Path) -> None:
    """`p2pfed version | head -0`: nobody takes the output."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "p2pfed", "version"],
        stdout=writer, stderr=subprocess.PIPE, text=True, env=child_environment({}), check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
