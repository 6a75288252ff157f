"""Every transcript in this folder says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import network
from scripts.transcript import Transcript


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.txt")), ids=lambda path: path.stem)
def test_the_code_follows_its_transcript(path: Path) -> None:
    text = path.read_text()
    if network.is_network(text):
        # Its timings and letters move with many changes; `python -m scripts.network` writes them anew.
        assert network.run(text) == text
    else:
        assert Transcript().run(text) == text
