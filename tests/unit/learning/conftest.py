"""A learner's file that tests write."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.workers import LEARNER, Write


@pytest.fixture
def app(tmp_path: Path) -> Write:
    """Write a learner whose train() runs one more line, and return its spec."""

    def write(train: str = "pass") -> str:
        path = tmp_path / "mine.py"
        path.write_text(LEARNER.format(train=train), encoding="utf-8")
        return f"{path}:learner"

    return write
