"""Several peers side by side: who is meant, what is said of each, and who has another block than most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.pages import json_keys

from p2pfed.cli import view as module
from p2pfed.cli.view import Place, look_at, places_of, view
from p2pfed.errors import LocalError, UsageError
from p2pfed.storage.home import Home

HERE = "127.0.0.1"


def place(port: int) -> Place:
    return Place(str(port), port=port)


def status(height: int, **changes: Any) -> dict[str, Any]:
    return {
        "schema": "p2pfed.status/1",
        "chain": "c1",
        "network": "net",
        "height": height,
        "figures": {},
    } | changes


def answers(monkeypatch: pytest.MonkeyPatch, told: dict[tuple[int, str], Any]) -> None:
    """Let peers answer by port and path."""
    monkeypatch.setattr(module, "ask_at", lambda address, path: told.get((address[1], path)))


def block(name: str) -> dict[str, str]:
    return {"hash": name, "model_root": f"model of {name}"}


def test_a_place_is_a_home_a_testnet_or_an_address(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "genesis.json").touch()
    (tmp_path / "net").mkdir()
    peers = [
        {"name": f"peer{index}", "key": "", "port": 1, "http_port": 2, "byzantine": "", "host": ""}
        for index in (0, 1)
    ]
    (tmp_path / "net" / "testnet.json").write_text(json.dumps({"chain": "", "peers": peers}))
    found = places_of([str(tmp_path / "own"), str(tmp_path / "net"), "8401"])
    assert [each.name for each in found] == ["own", "peer0", "peer1", "8401"]
    assert [each.home and each.home.path for each in found] == [
        *(tmp_path / name for name in ("own", "net/peer0", "net/peer1")), None,
    ]  # fmt: skip
    assert found[3].api() == (HERE, 8401)


@pytest.mark.parametrize("word", ["nowhere", "0", "65536", "127.0.0.1:8400", "²"])
def test_a_word_that_names_no_peer_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"{word} is no peer's home"):
        places_of([word])


def test_blocks_are_compared_at_the_newest_height_that_all_have(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = {(port, "/v1/blocks/7"): block("b" if port == 2 else "a") for port in (1, 2, 3)}
    answers(
        monkeypatch,
        {(port, "/v1/status"): status(height) for port, height in ((1, 9), (2, 7), (3, 8))} | blocks,
    )
    rows = look_at([place(port) for port in (1, 2, 3)])
    assert [row["agrees"] for row in rows] == [True, False, True]
    assert {row["common_height"] for row in rows} == {7}
    assert [row["model_root"] for row in rows] == ["model of a", "model of b", "model of a"]
    assert [row["page"] for row in rows] == [f"http://{HERE}:{port}/" for port in (1, 2, 3)]


def test_a_peer_without_a_block_holds_up_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(
        monkeypatch,
        {
            (1, "/v1/status"): status(0), (2, "/v1/status"): status(4), (3, "/v1/status"): status(5),
            (2, "/v1/blocks/4"): block("a"),  # The third has pruned it.
        },
    )  # fmt: skip
    assert [row["agrees"] for row in look_at([place(port) for port in (1, 2, 3)])] == [None, True, None]


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (None, "no peer's API answers at port 2; another machine's is forwarded by its own number"),
        ({"schema": "other"}, f"what answers at {HERE}:2 is no peer"),
        ({"schema": "p2pfed.status/1", "height": "5"}, f"what answers at {HERE}:2 is no peer"),
        (status(5, chain="c2", network="theirs"), "it is of another network, theirs"),
    ],
)
def test_what_can_not_be_compared_says_why(monkeypatch: pytest.MonkeyPatch, told: Any, error: str) -> None:
    answers(
        monkeypatch, {(1, "/v1/status"): status(9), (1, "/v1/blocks/9"): block("a"), (2, "/v1/status"): told}
    )
    first, second = look_at([place(1), place(2)])
    assert (first["agrees"], first["common_height"], first["error"]) == (True, 9, "")
    assert (second["error"], second["agrees"]) == (error, None)


def test_a_peer_that_runs_and_does_not_answer_is_read_from_its_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers(monkeypatch, {})
    monkeypatch.setattr(module, "stored_status", lambda _: status(3, step="stopped"))
    monkeypatch.setattr(module, "api_address", lambda home: (HERE, 9) if home.path.name == "deaf" else None)
    rows = look_at([Place(name, Home(tmp_path / name)) for name in ("deaf", "away")])
    assert [(row["is_running"], row["is_deaf"], row["height"]) for row in rows] == [
        (False, True, 3),
        (False, False, 3),
    ]


def test_a_damaged_home_is_one_row_of_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def damaged(_: Home) -> dict[str, Any]:
        raise LocalError("genesis.json is not JSON")

    monkeypatch.setattr(module, "stored_status", damaged)
    answers(monkeypatch, {(1, "/v1/status"): status(1), (1, "/v1/blocks/1"): block("a")})
    (tmp_path / "genesis.json").touch()
    told = CliRunner().invoke(view, [str(tmp_path), "1", "--json"])
    first, second = map(json.loads, told.output.splitlines())
    assert (first["error"], second["agrees"]) == ("genesis.json is not JSON", True)
    told = json_keys("p2pfed.view/1") - {"status"}  # Named there as where keys come from.
    assert set(first) == set(second) == told
