"""Every transcript in this folder says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.transcript import Transcript


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.txt")), ids=lambda path: path.stem)
def test_the_engine_follows_its_transcript(path: Path) -> None:
    assert Transcript().run(path.read_text()) == path.read_text()
