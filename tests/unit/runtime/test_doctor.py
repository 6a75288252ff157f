"""Each thing that keeps a peer from working is found, with its remedy, and a sound home has no failure."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import msgspec
import pytest
from support.tiny_chain import KEYS, genesis, make_home, steps

from p2pfed.consensus.signer import initial_record
from p2pfed.net.memory import MemoryNetwork
from p2pfed.primitives import codec
from p2pfed.runtime import doctor
from p2pfed.runtime.config import Config, HttpConfig, NetworkConfig
from p2pfed.runtime.doctor import Finding, examine
from p2pfed.storage.home import Home
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.address import Multiaddr
from p2pfed.types.light import LightBlock
from p2pfed.types.params import CLOCK_DRIFT_MS

CONFIG = Config(network=NetworkConfig(port=0), http=HttpConfig(enabled=False))
STEP = steps(2)[-1]
NEWEST_MS = STEP.block.header.time_ms


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    make_home(made, 2)
    return made


async def found(home: Home, config: Config = CONFIG, now_ms: int = NEWEST_MS) -> dict[str, Finding]:
    return {finding.check: finding async for finding in examine(home, config, lambda: now_ms)}


class Shows:
    """A peer that answers everything with its newest light block."""

    def connected(self, *_: object, **__: object) -> None: ...

    def disconnected(self, *_: object) -> None: ...

    async def message(self, *_: object) -> None: ...

    async def serve(self, *_: object) -> bytes:
        state = STEP.state
        block = LightBlock(STEP.block.header, STEP.block.commit, state.last_validators, state.validators)
        return codec.encode(block)


async def test_a_sound_home_has_no_failure_and_each_failure_has_a_remedy(home: Home) -> None:
    seen = await found(home)
    damaged = [check for check, finding in seen.items() if finding.state == "fail"]
    assert damaged == ["chain"]  # The tiny chain's vote state is no record.
    assert all(finding.remedy for finding in seen.values() if finding.state == "fail")


async def test_modes_that_let_others_read_are_found(home: Home) -> None:
    home.key.chmod(0o644)
    home.path.chmod(0o755)
    seen = await found(home)
    assert (seen["key modes"].state, seen["key modes"].remedy) == ("fail", f"chmod 600 {home.key}")
    assert "644" in seen["key modes"].found
    assert (seen["home"].state, seen["home"].remedy) == ("fail", f"chmod 700 {home.path}")


async def test_a_missing_record_beside_blocks_is_found(home: Home) -> None:
    home.vote_state.unlink()
    assert "--new-signer" in (await found(home))["chain"].remedy


async def test_blocks_that_are_older_than_the_vote_state_are_found(home: Home) -> None:
    for height, state in ((3, "ok"), (4, "warn")):  # It may have voted on the block after the newest.
        record = msgspec.structs.replace(initial_record(), height=height)
        VoteStateFile(home.vote_state).save(codec.encode(record))
        seen = (await found(home))["chain"]
        assert (seen.state, seen.found) == (
            state,
            f"the newest block is 2, the newest signature of height {height}",
        )


async def test_a_missing_genesis_ends_the_search_with_a_remedy(home: Home) -> None:
    home.genesis.unlink()
    seen = await found(home)
    assert seen["genesis"].state == "fail"
    assert "chain" not in seen


async def test_a_port_that_another_program_uses_is_found(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = Config(network=NetworkConfig(port=port), http=HttpConfig(enabled=False))
        seen = (await found(home, config))["port"]
        assert (seen.state, f"127.0.0.1:{port}" in seen.found) == ("fail", True)
        with home.lock():  # As if the peer ran: then it is right that somebody answers there.
            assert (await found(home, config))["port"].state == "ok"
    with home.lock():
        assert (await found(home, config))["port"].state == "fail"


async def test_too_few_descriptors_and_too_little_space_are_found(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 4096))
    monkeypatch.setattr(doctor, "free_bytes", lambda _: 1)
    seen = await found(home)
    assert (seen["file descriptors"].state, seen["disk space"].state) == ("fail", "fail")
    assert "ulimit -n" in seen["file descriptors"].remedy


@pytest.mark.parametrize(
    ("offset_ms", "state"),
    [(0, "ok"), (-CLOCK_DRIFT_MS - 1, "fail"), (-CLOCK_DRIFT_MS, "ok"), (doctor.STILL_MS + 1, "warn")],
)
async def test_the_clock_is_held_against_what_peers_show(
    home: Home, monkeypatch: pytest.MonkeyPatch, offset_ms: int, state: str
) -> None:
    network = MemoryNetwork()
    monkeypatch.setattr(doctor, "make_transport", lambda _, **given: network.transport(**given))
    peer = network.transport(key=KEYS[1], chain_id=genesis().chain_id, handler=Shows())
    address = Multiaddr("127.0.0.1", await peer.listen("127.0.0.1", 0))
    config = Config(
        network=NetworkConfig(port=0, join=(f"{address.host}:{address.port}",)),
        http=HttpConfig(enabled=False),
    )
    seen = await found(home, config, NEWEST_MS + offset_ms)
    assert (seen["peer"].state, seen["clock"].state) == ("ok", state)
    await peer.close()
    seen = await found(home, config)
    assert (seen["peer"].state, seen["peers"].state) == ("warn", "fail")
    assert "clock" not in seen
