from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import msgspec
import pytest
from support.tiny_chain import found, genesis, initial_model, keep, make_home, steps

from p2pfed.chain.state import encode_ledger
from p2pfed.consensus.signer import initial_record
from p2pfed.errors import LocalError, StorageFault
from p2pfed.primitives import codec
from p2pfed.runtime.config import Config, LearnerConfig, NetworkConfig
from p2pfed.runtime.peer import join_line, lacks_initial_model, load_record, read_genesis, recover
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def reopened(home: Home) -> Store:
    return Store(home, genesis())


def test_a_fresh_home_starts_from_genesis(home: Home) -> None:
    store = found(home)
    state, commit = recover(store)
    store.close()
    assert state.model is not None
    assert (state.height, state.model.root, commit) == (0, initial_model().root, None)


def test_the_state_after_the_newest_block_is_the_one_that_was_agreed(home: Home) -> None:
    make_home(home, 3)
    store = reopened(home)
    state, commit = recover(store)
    store.close()
    expected = steps(3)[2]
    assert state.model is not None
    assert state.model.weights_bytes() == expected.state.model.weights_bytes()
    assert encode_ledger(state.ledger) == encode_ledger(expected.state.ledger)
    for name in ("height", "header_hash", "model_root", "time_ms", "train_index", "expected_trainers"):
        assert getattr(state, name) == getattr(expected.state, name)
    assert commit == expected.block.commit


def test_a_block_without_its_model_is_a_state_without_a_model(home: Home) -> None:
    store = found(home)
    keep(store, steps(1)[0], with_model=False)
    state, _ = recover(store)
    store.close()
    assert (state.height, state.model) == (1, None)


def test_only_a_home_without_any_data_lacks_its_initial_model(home: Home) -> None:
    store = found(home)
    assert not lacks_initial_model(store)
    store.close()
    shutil.rmtree(home.data)
    store = reopened(home)
    assert lacks_initial_model(store)
    store.save_genesis(initial_model(), None)
    assert not lacks_initial_model(store)
    store.close()


def test_a_missing_record_is_fine_at_the_start_and_refused_beside_blocks(home: Home) -> None:
    home.create()
    assert load_record(home, 0, new_signer=False) == initial_record()
    with pytest.raises(LocalError, match="--new-signer"):
        load_record(home, 1, new_signer=False)
    assert load_record(home, 1, new_signer=True) == initial_record()
    assert load_record(home, 1, new_signer=False) == initial_record()


def test_a_record_that_means_nothing_is_damage(home: Home) -> None:
    home.create()
    VoteStateFile(home.vote_state).save(b"no record")
    with pytest.raises(StorageFault, match="holds no record"):
        load_record(home, 0, new_signer=False)


def test_a_record_is_returned_as_it_was_saved(home: Home) -> None:
    home.create()
    VoteStateFile(home.vote_state).save(codec.encode(initial_record()))
    assert load_record(home, 9, new_signer=False) == initial_record()


def test_a_home_without_genesis_says_how_to_get_one(home: Home) -> None:
    home.create()
    with pytest.raises(LocalError, match="p2pfed init"):
        read_genesis(home)
    home.genesis.mkdir()
    with pytest.raises(LocalError, match="can't read"):
        read_genesis(home)


def test_genesis_is_read_back(home: Home) -> None:
    found(home).close()
    assert read_genesis(home) == genesis()


ADDRESS = "/ip4/127.0.0.1/tcp/7400/p2p/16Uiu2HAkzQu723hGHM6sefbPw4Whni6j6AWpYKoeZrCj5KHwoAzv"


def test_the_join_line_names_what_a_tcp_network_on_one_machine_needs_and_no_more() -> None:
    founder = msgspec.structs.replace(genesis(), transport="tcp")
    line = join_line(founder, Config(), ADDRESS)
    assert line == f"p2pfed run --join {ADDRESS} --chain {founder.chain_id.hex()}"


def test_whoever_pastes_the_join_line_speaks_trains_and_listens_as_the_founder_does() -> None:
    founder = msgspec.structs.replace(genesis(), transport="libp2p")
    config = Config(
        network=NetworkConfig(listen="0.0.0.0"), learner=LearnerConfig(app="my models/a.py:learner")
    )
    words = shlex.split(join_line(founder, config, ADDRESS))
    assert words[-6:] == ["--transport", "libp2p", "--app", "my models/a.py:learner", "--listen", "0.0.0.0"]
