"""README.md is enough to check every vector: a program that imports nothing of p2pfed does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "stranger.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_stranger_can_check_every_vector() -> None:
    done = run(FOLDER)
    assert done.returncode == 0, done.stderr
    checked = json.loads(done.stdout)
    assert checked["messages"] == len(json.loads((FOLDER / "messages.json").read_text())["messages"])
    assert checked["evidence"] == len(json.loads((FOLDER / "evidence.json").read_text())["proofs"])
    assert checked["light steps"] == len(json.loads((FOLDER / "light.json").read_text())["steps"])
    log = json.loads((FOLDER / "wal.json").read_text())
    assert (checked["frames"], checked["logs"]) == (len(log["frames"]), len(log["reads"]))
    assert checked["signatures"] > 50


def test_a_stranger_sees_a_frame_that_is_changed(tmp_path: Path) -> None:
    for path in (*FOLDER.glob("*.json"), FOLDER / "stranger.py"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "wal.json"
    log = json.loads(path.read_text())
    log["frames"][3]["frame"] = "00" + log["frames"][3]["frame"][2:]
    path.write_text(json.dumps(log))
    done = run(tmp_path)
    assert done.returncode != 0
    assert "check_log" in done.stderr


def test_a_stranger_sees_a_signature_that_is_swapped(tmp_path: Path) -> None:
    for path in (*FOLDER.glob("*.json"), FOLDER / "stranger.py"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "messages.json"
    vectors = json.loads(path.read_text())
    update = next(row for row in vectors["messages"] if row["name"] == "update")
    other = next(row for row in vectors["messages"] if row["name"] == "transfer")
    before, after = (row["message"]["signature"] for row in (update, other))
    update["message"]["signature"] = after
    update["bytes"] = update["bytes"].replace(before[4:], after[4:])
    path.write_text(json.dumps(vectors))
    done = run(tmp_path)
    assert done.returncode != 0
    assert "check_signature" in done.stderr
