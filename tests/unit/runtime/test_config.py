from __future__ import annotations

from pathlib import Path

import pytest

from p2pfed.errors import LocalError
from p2pfed.runtime.config import (
    CONFIG_BYTES_MAX,
    Config,
    LearnerConfig,
    NetworkConfig,
    dump_config,
    load_config,
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_stand(tmp_path: Path) -> None:
    assert load_config(tmp_path / "config.toml", {}, {}) == Config()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = Config(
        network=NetworkConfig(join=('a "quoted" host', "b"), port=0),
        learner=LearnerConfig(app="mine.py:learner", params={"lr": "0.2", "ab": "c=d"}),
    )
    assert load_config(written(tmp_path, dump_config(config)), {}, {}) == config


def test_every_section_of_the_file_says_what_it_is_for() -> None:
    for section in ("network", "learner", "http", "log", "run", "laboratory"):
        before, found, _ = dump_config(Config()).partition(f"\n[{section}]\n")
        assert found
        assert before.splitlines()[-1].startswith("# ")


def test_a_flag_beats_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[network]\nport = 1\nlisten = '1.1.1.1'\n[http]\nport = 1\n")
    environment = {"P2PFED_NETWORK__PORT": "2", "P2PFED_HTTP__PORT": "2", "P2PFED_HOME": "/not/a/setting"}
    config = load_config(path, environment, {"network.port": 3, "http.port": None})
    assert (config.network.listen, config.http.port, config.network.port) == ("1.1.1.1", 2, 3)


def test_the_environment_spells_lists_tables_and_truths() -> None:
    environment = {
        "P2PFED_NETWORK__JOIN": "a,b",
        "P2PFED_LEARNER__PARAMS": "lr=0.2,epochs=1",
        "P2PFED_HTTP__ENABLED": "false",
    }
    config = load_config(Path("/nonexistent/config.toml"), environment, {})
    assert config.network.join == ("a", "b")
    assert config.learner.params == {"lr": "0.2", "epochs": "1"}
    assert not config.http.enabled


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[netwrk]\nport = 1\n", "did you mean 'network'"),
        ("[network]\nprt = 1\n", "did you mean 'port'"),
        ("[network]\nzzzzzz = 1\n", "there are listen"),
        ("network = 1\n", "must be a table"),
        ("[network\n", "is not TOML"),
        ("[network]\nport = 70000\n", "65535"),
        ("[log]\nlevel = 'loud'\n", "loud"),
        ("#" * (CONFIG_BYTES_MAX + 1), "at most"),
    ],
)
def test_what_a_file_may_not_say_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(LocalError, match=sentence):
        load_config(written(tmp_path, text), {}, {})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [("P2PFED_NETWORK__PROT", "1", "'port'"), ("P2PFED_NETWORK__PORT", "x", "P2PFED_NETWORK__PORT=x")],
)
def test_a_wrong_variable_is_named(name: str, value: str, sentence: str) -> None:
    with pytest.raises(LocalError, match=sentence):
        load_config(Path("/nonexistent/config.toml"), {name: value}, {})
