"""What docs/guide/python.md shows runs as it stands."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import guide

import p2pfed
from p2pfed.runtime import testnet
from p2pfed.runtime.config import LearnerConfig
from p2pfed.types.genesis import Params

PAGE = guide("python.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LINE, PICTURE, CALLBACKS, PEER, DISK, ESTIMATOR = SNIPPETS


def printed(snippet: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(snippet, "python.md", "exec"), {"__name__": "__main__"})
    return output.getvalue()


def test_a_network_in_one_line_reaches_its_accuracy() -> None:
    last = printed(LINE).splitlines()[-1]
    assert float(last.split()[0]) > 0.9


def test_a_picture_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed(PICTURE)
    robust, mean = re.findall(
        r">(?:the default rule|plain averaging): ([0-9.]+)<", Path("liar.svg").read_text()
    )
    assert float(robust) > 0.8 > 0.5 > float(mean)


def test_callbacks_are_told_what_the_table_says() -> None:
    assert "evidence" in printed(CALLBACKS)
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", PAGE, re.M))))
    assert named == {*p2pfed.Callbacks.__struct_fields__}


def test_a_peer_and_its_disk_in_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = LearnerConfig(app="digits:softmax", params={"epochs": "1"})
    plan = testnet.TestnetPlan(
        1, (10,), (), learner, Params("local", ("mean",), 1, 12, 4, 0), "tcp", port=0, http_port=0
    )
    testnet.create_testnet(tmp_path / "net", plan)
    (tmp_path / "net" / "peer0").rename(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    assert re.search(r"train\w+ for height", printed(PEER))
    shown = printed(DISK)
    assert "{'weight': (64, 10), 'bias': (10,)}" in shown


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, with the modules of this one."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )


def test_the_estimators_snippet_is_right_or_names_what_is_missing() -> None:
    done = run(ESTIMATOR)
    if done.returncode:
        assert "No module named 'sklearn'" in done.stderr
    else:
        assert float(done.stdout) > 0.85  # The last rows are by writers that the first ones lack.


def test_importing_the_package_loads_next_to_nothing_and_a_missing_extra_names_its_command() -> None:
    done = run(
        "import sys, p2pfed\n"
        "heavy = {'numpy', 'msgspec', 'click', 'asyncio', 'torch', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.modules['torch'] = None\n"
        "try: p2pfed.TorchLearner\n"
        "except Exception as error: print(error)\n"
    )
    assert "call `pip install 'p2pfed[torch]'`" in done.stdout, done.stderr
