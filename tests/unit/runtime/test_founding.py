from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.tiny_chain import KEYS, genesis, initial_model

from p2pfed.consensus.signer import initial_record
from p2pfed.errors import LocalError
from p2pfed.primitives import codec
from p2pfed.runtime.config import Config, NetworkConfig, load_config
from p2pfed.runtime.founding import write_home
from p2pfed.runtime.peer import load_record, read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile

CONFIG = Config(network=NetworkConfig(port=7401))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_home_holds_all_that_a_peer_needs(home: Home) -> None:
    write_home(home, genesis(), initial_model(), CONFIG, KEYS[0])
    assert read_genesis(home) == genesis()
    assert load_key(home.key).public == KEYS[0].public
    assert load_config(home.config, {}, {}) == CONFIG
    assert load_record(home, 0, new_signer=False) == initial_record()
    assert len(home.api_token.read_text().strip()) == 64
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home.key, home.vote_state, home.api_token))
    store = Store(home, genesis())
    model = store.load_model(0)
    store.close()
    assert model is not None
    assert (model.root, model.exponents_root) == (initial_model().root, initial_model().exponents_root)


def test_what_a_key_signed_survives_a_new_founding_of_its_home(home: Home) -> None:
    home.create()
    signed = msgspec.structs.replace(initial_record(), height=9)
    VoteStateFile(home.vote_state).save(codec.encode(signed))
    write_home(home, genesis(), initial_model(), CONFIG, KEYS[0])
    assert load_record(home, 0, new_signer=False) == signed


def test_a_key_is_never_replaced(home: Home) -> None:
    write_home(home, genesis(), initial_model(), CONFIG, KEYS[0])
    with pytest.raises(LocalError):
        write_home(home, genesis(), initial_model(), CONFIG, KEYS[1])
    assert load_key(home.key).public == KEYS[0].public


def test_a_half_written_home_has_no_genesis(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("the disk left")

    monkeypatch.setattr(Store, "save_genesis", refuse)
    with pytest.raises(OSError, match="the disk left"):
        write_home(home, genesis(), initial_model(), CONFIG, KEYS[0])
    assert not home.genesis.exists()
