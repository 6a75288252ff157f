"""What others say can't move the cursor of whoever reads it."""

from __future__ import annotations

import pytest

from p2pfed.cli import peers as peers_command
from p2pfed.cli import status as status_command
from p2pfed.cli.main import main
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError
from p2pfed.storage.home import Home

HOSTILE = "x\x1b[2J\r\n\u202e\x07y"
SAFE = "x?[2J????y"


def test_control_characters_are_taken_out_and_all_else_stays() -> None:
    assert printable(HOSTILE) == SAFE
    assert printable("Zürich · 東京 ~!") == "Zürich · 東京 ~!"


def test_a_networks_name_is_shown_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = {"network": HOSTILE, "chain": "ab" * 32, "transport": "tcp", "height": 0, "hash": ""}
    stored |= {
        "account": None,
        "stakes": [],
        "earnings": [{"id": "16Uiu2abcd", "earned": 7, "last_update": 32768}],
    }
    monkeypatch.setattr(status_command, "ask_status", lambda _: None)
    monkeypatch.setattr(status_command, "stored_status", lambda _: stored)
    with pytest.raises(SystemExit):
        main(["status"])
    out = capsys.readouterr().out
    assert f"network   {SAFE}  chain" in out
    assert "earned    7 by …abcd, whose last update scored 0.500" in out


def test_a_peers_address_is_shown_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "id": "me",
        "is_connected": True,
        "is_member": True,
        "addresses": [f"/dns4/{HOSTILE}/tcp/1/p2p/me"],
    }
    monkeypatch.setattr(peers_command, "ask_status", lambda _: {"peers": [row], "earnings": []})
    with pytest.raises(SystemExit):
        main(["peers"])
    out = capsys.readouterr().out
    assert f"/dns4/{SAFE}/tcp/1\n" in out
    assert out.count("\n") == 1


def test_a_refusal_that_quotes_a_peer_is_shown_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Home) -> None:
        raise LocalError(f"the peer refused: {HOSTILE}")

    monkeypatch.setattr(status_command, "ask_status", refuse)
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    assert ended.value.code == 3
    assert capsys.readouterr().err == f"p2pfed: the peer refused: {SAFE}\n"
