"""The command line in this process: help, options, and the sentence for what can't be asked for."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from p2pfed.cli import main as program
from p2pfed.cli.demo import network_accuracies, verdict_on_mean
from p2pfed.cli.founding_options import parse_byzantine, parse_outer, parse_period_ms, parse_stakes
from p2pfed.cli.init import read_members
from p2pfed.cli.main import COMMANDS, cli
from p2pfed.cli.watch import Target, parse_target
from p2pfed.errors import LocalError, UsageError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.config import LearnerConfig
from p2pfed.runtime.demo.network import NetworkRun
from p2pfed.runtime.testnet import Testnet as Net
from p2pfed.runtime.testnet import TestnetPlan as Plan
from p2pfed.runtime.testnet import verify_byzantine_stake
from p2pfed.types.address import peer_id
from p2pfed.types.genesis import Params

PUBLIC = PrivateKey(bytes([7]) * 32).public


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run a command; return exit code, output and errors."""
    with pytest.raises(SystemExit) as ended:
        program.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        found += [(name,), *((name, sub) for sub in getattr(command, "commands", {}))]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        code, out, err = called(capsys, *command, flag)
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: p2pfed {' '.join(command)} ")
        first = out.splitlines()[2].strip()
        assert first.endswith((".", ";", ":", ",")) or len(first) > 30, out


def test_an_unknown_command_option_or_value_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("nothing",), ("status", "--nothing"), ("completion", "tcsh"), ("testnet", "nothing"),
        ("run", "--port", "70000"), ("demo", "--peers", "0"), ("testnet", "create", "--transport", "udp"),
    ):  # fmt: skip
        code, out, err = called(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("Usage: p2pfed")


@pytest.mark.parametrize(
    "command", [("status",), ("peers",), ("blocks",), ("blocks", "show", "1"), ("verify",), ("watch",),
                ("export", "-o", "m.npz"), ("keys", "show"), ("run",)], ids=" ".join,
)  # fmt: skip
def test_a_home_that_is_none_is_named_and_not_made(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = called(capsys, *command, "--home", tmp_path / "typo")
    assert (code, out) == (3, "")
    assert err.startswith("p2pfed: ")
    assert str(tmp_path / "typo") in err
    assert err.count("\n") == 1
    assert not (tmp_path / "typo").exists()


def test_the_home_comes_from_the_flag_then_the_environment_then_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("P2PFED_HOME", raising=False)
    assert str(tmp_path / "state" / "p2pfed") in called(capsys, "status")[2]
    monkeypatch.setenv("P2PFED_HOME", str(tmp_path / "named"))
    assert str(tmp_path / "named") in called(capsys, "status")[2]
    assert str(tmp_path / "flag") in called(capsys, "status", "--home", tmp_path / "flag")[2]


def test_members_are_keys_or_peer_ids_with_or_without_a_stake(tmp_path: Path) -> None:
    other, third = (PrivateKey(bytes([seed]) * 32).public for seed in (8, 9))
    path = tmp_path / "members"
    lines = (f"{PUBLIC.hex()} trainer # me", f"{peer_id(other)} 25", f"{peer_id(third)} 0 7 validator", "")
    path.write_text("# the founders\n\n" + "\n".join(lines))
    members = [(member.key, member.bond, member.balance, member.role) for member in read_members(path)]
    assert members == [(PUBLIC, 10, 0, "trainer"), (other, 25, 0, "both"), (third, 0, 7, "validator")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x7fELF\xff\xfe", "is no text"),
        (b"", "names no member"),
        (b"# nobody\n", "names no member"),
        (b"hello\n", ":1: 'hello' is neither a public key"),
        (PUBLIC.hex().encode() + b"\n" + PUBLIC.hex().encode() + b" -1\n", ":2: "),
        (PUBLIC.hex().encode() + b" 1 2 3\n", "is not KEY [STAKE [BALANCE]]"),
        (b"trainer\n", "is not KEY [STAKE [BALANCE]] [ROLE]"),
        (PUBLIC.hex().encode() + b" tester\n", "whole numbers and both, validator, trainer"),
        (PUBLIC.hex().encode() + b" -3\n", "whole numbers"),
        (PUBLIC.hex().encode() + b" 3 x\n", "whole numbers"),
        ("٣".encode(), "is neither a public key"),
        (b"05" + PUBLIC.hex().encode()[2:], "is neither a public key"),
    ],
)
def test_a_file_that_lists_no_members_says_where(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "members"
    path.write_bytes(content)
    with pytest.raises(LocalError) as refused:
        read_members(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


def test_liars_are_counted_by_kind_from_the_end() -> None:
    assert parse_byzantine((), 4) == ()
    assert parse_byzantine(("1:alie", "2:sign_flip:scale=4"), 7) == (
        "alie",
        "sign_flip:scale=4",
        "sign_flip:scale=4",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("silent", "COUNT:KIND"),
        ("0:silent", "COUNT:KIND"),
        ("-1:silent", "COUNT:KIND"),
        ("١:silent", "COUNT:KIND"),
        ("1:silnt", "did you mean silent?"),
        ("1:", "there is no Byzantine kind ''"),
        ("1:sign_flip:scael=4", "it has scale"),
        ("1:silent:x=1", "it has none"),
        ("1:sign_flip:scale=big", "takes a number"),
        ("4:silent", "4 of 4 peers would be Byzantine"),
    ],
)
def test_a_liar_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_byzantine((text,), 4)
    assert words in str(refused.value)


def test_a_period_is_a_number_and_a_unit() -> None:
    assert [parse_period_ms(text) for text in ("90s", "30m", "12h", "7d", "0s")] == [
        90_000,
        1_800_000,
        43_200_000,
        604_800_000,
        0,
    ]
    for text in ("", "s", "7", "7w", "-1d", "367d", "1.5h", "٣d"):
        with pytest.raises(UsageError, match="--unbonding takes"):
            parse_period_ms(text)


def test_the_outer_step_is_a_name_or_two_numbers() -> None:
    assert parse_outer("off") == (0, 1 << 16)
    assert parse_outer("nesterov") == parse_outer("0.8,0.7") == (52429, 45875)
    assert parse_outer("0,16") == (0, 1 << 20)
    for wrong in ("on", "0.9", "1,0.3", "-0.1,1", "0.9,0", "0.9,17", "0.9,0.3,1", "nan,1", "inf,1"):
        with pytest.raises(UsageError, match=r"0\.8,0\.7"):
            parse_outer(wrong)


def test_stakes_are_one_whole_number_a_peer() -> None:
    assert parse_stakes(None, 3) == (10, 10, 10)
    assert parse_stakes("1, 2,3", 3) == (1, 2, 3)
    assert parse_stakes("1,2,0", 3) == (1, 2, 0)
    for text in ("1,2", "1,2,x", "1,2,-3", "1,2,", "", "1,2,٣", "1,2,2.5"):
        with pytest.raises(UsageError):
            parse_stakes(text, 3)


@pytest.mark.parametrize(
    ("stakes", "liars", "is_refused"),
    [
        ((10, 10, 10), 1, True),
        ((10, 10, 10, 10), 1, False),
        ((10, 10, 10, 15), 1, True),
        ((21, 10), 1, False),
        ((20, 10), 1, True),
        ((10, 10, 10), 0, False),
        ((67, 33), 1, False),
        ((66, 33), 1, True),
        ((1, 1, 1, 1, 1, 1, 1), 2, False),
        ((1, 1, 1, 1, 1, 1), 2, True),
    ],
)
def test_liars_hold_less_than_a_third_of_the_stake_unless_that_is_wanted(
    stakes: tuple[int, ...], liars: int, is_refused: bool
) -> None:
    params = Params("local", ("mean",), 1, 12, 4, 0)
    plan = Plan(len(stakes), stakes, ("silent",) * liars, LearnerConfig(), params, "tcp")
    verify_byzantine_stake(plan, unsafe=True)
    if not is_refused:
        verify_byzantine_stake(plan, unsafe=False)
        return
    with pytest.raises(UsageError, match=f"{sum(stakes[-liars:])} of {sum(stakes)} stake") as refused:
        verify_byzantine_stake(plan, unsafe=False)
    assert refused.value.exit_code == 2


def test_a_target_is_a_figure_a_sign_and_a_number() -> None:
    assert parse_target(" accuracy >= 0.9") == Target("accuracy", ">=", 0.9)
    assert parse_target("loss<.2") == Target("loss", "<", 0.2)
    for text in ("", "accuracy", "accuracy=0.9", "speed>1", "accuracy>=", "accuracy>=0.9.1", "height>=1e9"):
        with pytest.raises(UsageError):
            parse_target(text)


def test_a_target_is_met_at_its_boundary_as_its_sign_says() -> None:
    for sign, verdicts in ((">=", (False, True, True)), (">", (False, False, True)),
                           ("<=", (True, True, False)), ("<", (True, False, False))):  # fmt: skip
        target = Target("height", sign, 5)
        assert tuple(target.is_met_by({"height": height}) for height in (4, 5, 6)) == verdicts
    assert not Target("accuracy", ">=", 0).is_met_by({"height": 5})  # Nothing was measured.


def test_a_height_without_a_figure_repeats_the_last_one() -> None:
    run = NetworkRun(Path("nowhere"), Net("00", ()))
    run.events = [
        (name, {"event": "block.evaluated", "height": height, "acc(public)": figure})
        for name, height, figure in (("peer0", 2, 0.5), ("peer1", 3, 0.1), ("peer0", 4, 0.7))
    ]
    assert network_accuracies(run, "peer0") == (0.0, 0.5, 0.5, 0.7)
    assert network_accuracies(run, "peer9") == ()


def test_the_verdict_says_so_where_the_mean_holds() -> None:
    assert "ends 0.400 lower" in verdict_on_mean(0.9, 0.5)
    assert "holds against this attack too" in verdict_on_mean(0.9, 0.88)
    assert "holds against this attack too" in verdict_on_mean(0.5, 0.9)
