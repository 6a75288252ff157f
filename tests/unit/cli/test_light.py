"""`p2pfed light` in this process: what can't be asked for, and what is shown of what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Coroutine

import pytest
from support.light import CHAIN_ID, RULES, LightChain
from support.pages import json_keys
from support.tiny_chain import genesis

from p2pfed.chain.divergence import divergence
from p2pfed.cli import main as program
from p2pfed.cli.light import _lines, fork_row, found_row, parse_checkpoint
from p2pfed.errors import UsageError
from p2pfed.primitives import codec
from p2pfed.runtime.light import Fork, Found
from p2pfed.types.light import LightBlock

HASH = "ab" * 32
CHAIN = LightChain(lambda height: [(number, 1) for number in range(4)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--chain", "abc"), "--chain takes the 64 hexadecimal digits"),
        (("--chain", HASH, "--checkpoint", "5"), "--checkpoint takes the 64"),
        (("--chain", HASH, "--checkpoint", f"0:{HASH}"), "--checkpoint takes HEIGHT:HASH"),
        (("--chain", HASH, "--checkpoint", f"-1:{HASH}"), "--checkpoint takes HEIGHT:HASH"),
        (("--chain", HASH, "--account", "nobody"), "--account takes a public key"),
        (("--chain", HASH, "--update", HASH), "--update needs --height"),
        (("--chain", HASH, "--update", "xy", "--height", "3"), "--update takes the 64"),
        (("--chain", HASH, "--model", "m.bin"), "--model takes a file that ends in"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["light", "--join", "127.0.0.1:1", *arguments])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith(f"p2pfed: {sentence}")
    assert printed.err.count("\n") == 1


def test_nobody_to_follow_ends_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["light", "--join", "127.0.0.1:1", "--chain", HASH])
    assert ended.value.code == 4
    assert "showed a chain that holds: /ip4/127.0.0.1/tcp/1" in capsys.readouterr().err


def test_a_checkpoint_is_a_height_and_a_hash() -> None:
    assert parse_checkpoint(f"12:{HASH}") == (12, bytes.fromhex(HASH))
    for text in ("", ":", "1", f"x:{HASH}", f"{1 << 63}:{HASH}", f"1:{HASH}0", f"٣:{HASH}"):
        with pytest.raises(UsageError):
            parse_checkpoint(text)


def test_what_was_found_is_shown() -> None:
    block = CHAIN.block(9)
    found = Found(genesis(), CHAIN.genesis, block, 3, ("16Uiu2HAmAbcd", "16Uiu2HAmEfgh"))
    row = found_row(found, block.header.time_ms + 1500)
    account = {"key": HASH, "is_there": True, "balance": 5, "bond": 7}
    update = {"id": HASH, "counted": False, "reason": "block 9 does not list it", "trainer": ""}
    text = "\n".join(_lines(row | {"account": account, "update": update, "model": "m.npz"}))
    assert f"height    9  hash {block.header.value_id.hex()}" in text
    assert "age       1.5 s" in text
    assert "verified  from genesis by 3 headers; confirmed by …Abcd, …Efgh" in text
    assert "balance 5  bond 7" in text
    assert "…  block 9 does not list it" in text
    assert "there is none" in "\n".join(_lines(row | {"account": {"key": HASH, "is_there": False}}))


def test_a_fork_is_printed_whole_for_whoever_judges_it() -> None:
    first, second = CHAIN.block(9), CHAIN.block(9, model_root=bytes(32))
    row = fork_row(Fork("forked", divergence(CHAIN.genesis, first, second, RULES.params_hash)))
    assert [codec.decode(bytes.fromhex(text), LightBlock, 9999) for text in row["blocks"]] == [first, second]
    assert (row["kind"], row["height"], len(row["evidence"])) == ("equivocation", 9, 4)
    assert row["hashes"] == [first.header.value_id.hex(), second.header.value_id.hex()]
    assert first.header.chain_id == CHAIN_ID


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_fork_ends_with_7_and_is_printed_in_any_case(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(coroutine: Coroutine[object, object, object]) -> None:
        coroutine.close()
        raise Fork(
            "forked",
            divergence(
                CHAIN.genesis, CHAIN.block(9), CHAIN.block(9, model_root=bytes(32)), RULES.params_hash
            ),
        )

    monkeypatch.setattr("p2pfed.cli.light.asyncio.run", run)
    with pytest.raises(SystemExit) as ended:
        program.main(["light", "--join", "127.0.0.1:1", "--chain", HASH, *flags])
    printed = capsys.readouterr()
    assert ended.value.code == 7
    row = json.loads(printed.out)
    assert row["schema"] == "p2pfed.fork/1"
    assert set(row) == json_keys("p2pfed.fork/1")
    assert printed.err.endswith("p2pfed: forked\n")


def test_neither_a_learner_nor_libp2p_is_loaded() -> None:
    words = ("light", "--join", "127.0.0.1:1", "--chain", HASH)
    code = (
        "import sys\nfrom p2pfed.cli.main import main\n"
        f"try:\n    main({list(words)!r})\nexcept SystemExit:\n    pass\n"
        "heavy = ('p2pfed.learning', 'libp2p', 'trio')\n"
        "print(*sorted(name for name in sys.modules if name.startswith(heavy)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
