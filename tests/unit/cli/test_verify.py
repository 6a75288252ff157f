"""`verify --audit`: forks and the convicted are printed, and the exit code says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import tiny_chain
from support.tiny_chain import KEYS, next_step, steps

from p2pfed.cli import main as program
from p2pfed.storage.home import Home


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        program.main(["verify", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def homes(tmp_path: Path) -> list[Path]:
    """Return two homes with a common block and different ones after it; the first two validators lie."""
    first = steps(1)[0]
    made = []
    for name, signers in (("one", (0, 1, 2)), ("two", (0, 1, 3))):
        store = tiny_chain.found(Home(tmp_path / name))
        tiny_chain.keep(store, first)
        tiny_chain.keep(store, next_step(first.state, first.block, signers=signers))
        store.close()
        made.append(tmp_path / name)
    return made


def test_a_fork_is_named_with_everybody_who_made_it(
    homes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = called(capsys, "--home", homes[0], "--audit", homes[1])
    assert code == 7
    assert "everything holds" in out
    assert "fork at height 2: " in out
    for liar in KEYS[:2]:
        assert f"convicted: {liar.public.hex()} of DuplicateVote at height 2, stake 1000" in out
    assert not any(honest.public.hex() in out for honest in KEYS[2:])
    assert "not proven" not in out
    assert "2 keys are convicted, with stake 2000 of 4000" in out


def test_a_fork_is_told_in_json(homes: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--home", homes[0], "--json", "--audit", homes[1])
    row = json.loads(out)
    assert (code, row["sound"]) == (7, True)
    ((fork,), convicted) = row["forks"], row["convicted"]
    assert (fork["height"], fork["home"], fork["rounds"]) == (2, str(homes[1]), [0, 0])
    assert {(proof["key"], proof["kind"], proof["height"], proof["power"]) for proof in convicted} == {
        (liar.public.hex(), "DuplicateVote", 2, 1000) for liar in KEYS[:2]
    }
    assert (row["convicted_power"], row["total_power"]) == (2000, 4000)


def test_who_signed_both_in_different_rounds_is_named_without_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = steps(1)[0]
    for name, signers, round_, valid_round in (("one", (0, 1, 2), 0, -1), ("two", (0, 1, 3), 2, 1)):
        store = tiny_chain.found(Home(tmp_path / name))
        tiny_chain.keep(store, first)
        step = next_step(
            first.state,
            first.block,
            round_=round_,
            valid_round=valid_round,
            round0=max(valid_round, 0),
            signers=signers,
        )
        tiny_chain.keep(store, step)
        store.close()
    code, out, _ = called(capsys, "--home", tmp_path / "one", "--audit", tmp_path / "two")
    assert code == 7
    for key in KEYS[:2]:
        assert f"not proven: {key.public.hex()} signed both certificates" in out
    assert "0 keys are convicted, with stake 0 of 4000" in out


def test_equal_stores_are_no_fork(homes: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--home", homes[0], "--audit", homes[0])
    assert code == 0
    assert "no fork: 1 other store holds the same blocks as far as it goes" in out


def test_audit_needs_homes_and_homes_need_audit(
    homes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (["--audit"], [homes[1]], ["--independent", "--audit", homes[1]]):
        assert called(capsys, "--home", homes[0], *wrong)[0] == 2
    assert called(capsys, "--home", homes[0], "--audit", homes[0] / "nowhere")[0] == 3
