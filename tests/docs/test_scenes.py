"""The scenes of examples/ that draw their own picture keep what their first lines promise."""

from __future__ import annotations

import ast
import gzip
import json
import re
import runpy
import struct
import sys
from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pages import ROOT, guide

import p2pfed
from p2pfed.aggregation import catalogue
from p2pfed.learning.datasets import load_digits
from p2pfed.runtime.own_rules import load_own_rules
from p2pfed.types.address import peer_id

EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(scene: str, *arguments: object) -> None:
    """Run a scene as `python examples/SCENE.py ARGUMENTS` would."""
    path = str(EXAMPLES / f"{scene}.py")
    argv, sys.argv = sys.argv, [path, *map(str, arguments)]
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = argv


def drawn(picture: str) -> dict[str, float]:
    """Return the last figure of each curve of a picture, by its label."""
    text = Path(picture).read_text(encoding="utf-8")
    return {label: float(value) for label, value in re.findall(r">([^<>]+): (-?[0-9.]+)<", text)}


def test_every_scene_has_its_place_and_its_picture_in_the_guide() -> None:
    page = guide("scenes.md").read_text(encoding="utf-8")
    for name in re.findall(r"`python examples/(\w+)\.py", page):
        assert (EXAMPLES / f"{name}.py").is_file()
        assert f"(../images/{name}." in page, name
    for picture in re.findall(r"\(\.\./images/([\w.-]+)\)", page):
        assert (ROOT / "docs" / "images" / picture).is_file(), picture


def test_digits_are_read_though_two_of_seven_lie() -> None:
    run("digits")
    last = drawn("digits.svg")
    assert last["the default rule"] >= 0.9
    assert last["plain averaging"] < 0.5


def test_digits_in_the_format_of_mnist_are_taken_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, simulate = load_digits(), p2pfed.simulate
    for part, x, y in (("train", data.x_train, data.y_train), ("t10k", data.x_test, data.y_test)):
        images = np.zeros((len(x), 28, 28), np.uint8)
        images[:, 2:26, 2:26] = (x.reshape(-1, 8, 8) * 15).repeat(3, 1).repeat(3, 2)
        for kind, array in (("images-idx3", images), ("labels-idx1", y.astype(np.uint8))):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))

    def in_short(app: str, **network: Any) -> p2pfed.Simulated:
        return simulate(app, **network | {"peers": 4, "byzantine": {}, "heights": 1, "params": {"steps": 20}})

    monkeypatch.setattr(p2pfed, "simulate", in_short)
    run("digits", tmp_path)
    assert drawn("mnist.svg")["the default rule"] > 0.5


def test_a_folder_without_mnist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as no_folder:
        run("digits", tmp_path / "nowhere")
    assert re.match(r"digits\.py: there is no folder \S+nowhere; [^\n]+$", str(no_folder.value))
    with pytest.raises(
        SystemExit, match=r"has no train-images-idx3-ubyte or [^\n]+; get the four files from"
    ):
        run("digits", tmp_path)


@pytest.fixture
def _rules_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(catalogue, "_RULES", dict(catalogue._RULES))
    yield
    catalogue.named_rule.cache_clear()


@pytest.mark.usefixtures("_rules_of_ones_own")
def test_a_rule_of_ones_own_meets_a_liar() -> None:
    run("own_rule")
    last = drawn("own_rule.svg")
    assert last["pairwise median"] >= 0.88
    assert last["plain averaging"] < 0.5


@pytest.mark.usefixtures("_rules_of_ones_own")
def test_the_rule_of_ones_own_is_found_by_the_entry_point_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ast.get_docstring(ast.parse((EXAMPLES / "own_rule.py").read_text()))
    section, entry = re.findall(r"\[project\.entry-points\.\"(\S+)\"\]\n\s+(\w+ = \"\S+\")", told or "")[0]
    info = tmp_path / "own_rule-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-rule\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{section}]\n{entry}\n".replace('"', ""))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    assert load_own_rules() == ("pairwise_median",)
    catalogue.verify_rules(["clip+pairwise_median"])
    rule = catalogue.named_rule("pairwise_median").rule
    for updates, liars in product(range(1, 12), range(6)):
        pairs = [*combinations_with_replacement(range(updates), 2)]
        honest = sum(second < updates - liars for _, second in pairs)
        if liars < updates:
            assert rule.bound(updates, liars) == (2 * honest > len(pairs))
    monkeypatch.delitem(sys.modules, "own_rule")


def test_a_csv_file_is_split_among_peers_and_unlike_rows_make_lies_dearer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("own_data")
    last = drawn("own_data.svg")
    assert last["iid"] >= 0.93
    assert last["iid"] > last["dirichlet:0.3"] > last["label:2"]
    shares: dict[str, list[list[int]]] = {}
    for split, counts in re.findall(r"^(\S+) +peer \d: \[([\d ]+)\]$", capsys.readouterr().out, re.M):
        shares.setdefault(split, []).append([*map(int, counts.split())])
    assert {split: len(rows) for split, rows in shares.items()} == {
        "iid": 5,
        "dirichlet:0.3": 5,
        "label:2": 5,
    }
    whole = [[sum(column) for column in zip(*rows, strict=True)] for rows in shares.values()]
    assert whole[0] == whole[1] == whole[2]
    assert sum(whole[0]) == 1120
    assert max(sum(count > 10 for count in row) for row in shares["label:2"]) <= 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"can't be read as a CSV file with a header: .*No such file"),
        ("", r"can't be read as a CSV file with a header: "),
        ("a,b,class\n1,2,0\n1,x,1\n", r"row 3: 3 numbers are needed$"),
        ("a,b,class\n1,2\n", r"row 2: 3 numbers are needed$"),
        ("a,b,class\n1,2,0.5\n", r"finite numbers are needed, in the last column whole ones, 0 to 255$"),
        ("a,b,class\n", r"finite numbers are needed"),
        ("a,b,class\n1,2,1e30\n", r"finite numbers are needed"),
        ("a,b,class\n1,inf,0\n", r"finite numbers are needed, in the last column whole ones, 0 to 255$"),
        ("a,b,class\n1,2,0\n1,3,1\n", r"2 rows can't give 5 peers 4 each$"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str | None, told: str) -> None:
    if text is not None:
        Path("own.csv").write_text(text)
    with pytest.raises(SystemExit) as ended:
        run("own_data", "own.csv")
    assert re.match(r"own_data\.py: [^\n]*", str(ended.value)).group() == ended.value.code  # type: ignore[union-attr]
    assert re.search(told, str(ended.value))


def test_four_processes_convict_a_liar_and_one_disk_tells_the_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    run("processes", tmp_path / "net")
    seen = drawn("processes.svg")
    assert seen["error of the agreed model"] < 0.3
    assert seen["updates in the block, of those expected"] > 0.6
    chains = [p2pfed.open(tmp_path / "net" / f"peer{number}") for number in (0, 1, 2)]
    height = min(chain.height for chain in chains)
    assert height >= 3
    models = [[*chain.model(height).values()] for chain in chains]
    assert all((model[0] == models[0][0]).all() for model in models)

    capfd.readouterr()
    run("replay", tmp_path / "net" / "peer0")
    told = capfd.readouterr().out
    liar = json.loads((tmp_path / "net" / "testnet.json").read_text())["peers"][3]
    last = peer_id(bytes.fromhex(liar["key"]))[-4:]
    assert re.search(rf"^height +\d+: peer\.slashed …{last}: INVALID_UPDATE$", told, re.M)
    assert set(re.findall(r"^height +\d+: peer\.\w+ …(\w+): ", told, re.M)) == {last}
    events = [json.loads(line) for line in (tmp_path / "net/peer0/logs/peer.log").read_text().splitlines()]
    merged = [event["updates"] for event in events if event["event"] == "block.committed"]
    assert [block.updates for block in chains[0].blocks()] == merged
    assert all(updates <= 3 for updates in merged)
    assert drawn("replay.svg")["error of the model on the disk"] < 0.3

    log = tmp_path / "net/peer0/logs/peer.log"
    log.write_text(log.read_text().replace('"error": 0.2', '"error": 0.1'))
    with pytest.raises(SystemExit, match="is not what the log says"):
        run("replay", tmp_path / "net" / "peer0")


def test_a_home_that_is_none_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    with pytest.raises(SystemExit, match=r"^replay\.py: there is no \S+genesis\.json; [^\n]+$"):
        run("replay", tmp_path)
