from __future__ import annotations

import fcntl
import tarfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from p2pfed.errors import LocalError, UsageError
from p2pfed.runtime import testnet
from p2pfed.runtime.config import LearnerConfig, load_config
from p2pfed.runtime.peer import read_genesis
from p2pfed.runtime.testnet import (
    Pipe,
    create_testnet,
    load_testnet,
    running_pid,
    verify_byzantine_stake,
    wait_until_unlocked,
)
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.types.address import peer_id
from p2pfed.types.genesis import Params

PLAN = testnet.TestnetPlan(
    peers=4,
    stakes=(10, 20, 30, 20),
    byzantine=("sign_flip",),
    learner=LearnerConfig(app="digits:softmax"),
    params=Params("local", ("mean",), 1, 12, 4, 3),
    transport="tcp",
)


def test_a_third_of_the_stake_or_more_may_not_lie() -> None:
    verify_byzantine_stake(PLAN, unsafe=False)
    third = replace(PLAN, stakes=(10, 10, 20, 20))
    with pytest.raises(UsageError, match="20 of 60"):
        verify_byzantine_stake(third, unsafe=False)
    verify_byzantine_stake(third, unsafe=True)
    verify_byzantine_stake(replace(third, byzantine=()), unsafe=False)


def test_liars_are_held_against_those_who_vote_and_those_who_train() -> None:
    trainers = replace(PLAN, roles=("validator", "both", "both", "trainer"), byzantine=("sign_flip",))
    verify_byzantine_stake(trainers, unsafe=False)
    with pytest.raises(UsageError, match="20 of 40 stake that trains"):
        verify_byzantine_stake(
            replace(trainers, roles=("validator", "both", "validator", "trainer")), unsafe=False
        )
    with pytest.raises(UsageError, match="20 of 60 stake that votes"):
        verify_byzantine_stake(
            replace(trainers, roles=("validator", "trainer", "both", "validator")), unsafe=False
        )


def test_who_only_votes_takes_no_share_of_the_data(tmp_path: Path) -> None:
    plan = replace(PLAN, roles=("validator", "trainer", "both", "validator"), byzantine=())
    made = create_testnet(tmp_path / "net", plan)
    homes = [Home(tmp_path / "net" / peer.name) for peer in made.peers]
    assert [one.role for one in read_genesis(homes[0]).participants] == list(plan.roles)
    learners = [load_config(home.config, {}, {}).learner for home in homes]
    assert [(learner.index, learner.peers) for learner in learners] == [(0, 2), (0, 2), (1, 2), (0, 2)]


def test_a_testnet_is_a_home_for_each_peer_that_knows_only_the_first(tmp_path: Path) -> None:
    made = create_testnet(tmp_path / "net", replace(PLAN, hosts=("10.0.0.1", "10.0.0.2")))
    assert load_testnet(tmp_path / "net") == made
    homes = [Home(tmp_path / "net" / peer.name) for peer in made.peers]
    assert {read_genesis(home).chain_id.hex() for home in homes} == {made.chain}
    assert [load_key(home.key).public.hex() for home in homes] == [peer.key for peer in made.peers]
    configs = [load_config(home.config, {}, {}) for home in homes]
    assert [len(config.network.join) for config in configs] == [0, 1, 1, 1]
    assert "/ip4/10.0.0.1/tcp/7400/" in configs[3].network.join[0]
    assert [config.learner.index for config in configs] == [0, 1, 2, 3]
    assert [config.laboratory.byzantine for config in configs] == ["", "", "", "sign_flip"]
    with tarfile.open(tmp_path / "net" / "10.0.0.2.tar.gz") as archive:
        keys = [name for name in archive.getnames() if name.endswith("key.json")]
    assert keys == ["peer1/key.json", "peer3/key.json"]
    with pytest.raises(LocalError, match="is not empty"):
        create_testnet(tmp_path / "net", PLAN)


def test_peers_whose_pipes_are_given_know_those_they_dial_and_tell_nobody(tmp_path: Path) -> None:
    pipes = (Pipe(1, 0), Pipe(2, 1, 9_000), Pipe(2, 0), Pipe(3, 2))
    made = create_testnet(tmp_path / "net", replace(PLAN, pipes=pipes))
    configs = [
        load_config(tmp_path / "net" / peer.name / "config.toml", {}, {}).network for peer in made.peers
    ]
    keys = [peer_id(bytes.fromhex(peer.key)) for peer in made.peers]
    first = PLAN.port
    assert [config.join for config in configs] == [
        (),
        (f"/ip4/127.0.0.1/tcp/{first}/p2p/{keys[0]}",),
        (f"/ip4/127.0.0.1/tcp/9000/p2p/{keys[1]}", f"/ip4/127.0.0.1/tcp/{first}/p2p/{keys[0]}"),
        (f"/ip4/127.0.0.1/tcp/{first + 2}/p2p/{keys[2]}",),
    ]
    assert not any(config.exchange for config in configs)


def test_a_folder_without_a_testnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="testnet create"):
        load_testnet(tmp_path)
    (tmp_path / testnet.MANIFEST).write_text("{")
    with pytest.raises(LocalError, match="can't be read"):
        load_testnet(tmp_path)


def test_who_holds_the_lock_runs_the_peer(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    assert running_pid(home.path) is None
    with home.lock():
        assert running_pid(home.path) is not None
        assert not wait_until_unlocked(home.path, 0.01)
    assert running_pid(home.path) is None
    assert wait_until_unlocked(home.path, 1)


def test_a_lock_without_a_number_is_nobody_we_could_signal(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with home.lock_file.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert running_pid(home.path) is None
