"""A model as a file: the same arrays in both forms, and how far the writing is."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support.tiny_chain import genesis, initial_model

from p2pfed.cli.model_file import write_model
from p2pfed.cli.progress import Progress
from p2pfed.privacy.mechanism import model_view


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_a_model_is_written_whole_and_the_bar_reaches_the_end(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, bytes_told = tmp_path / f"model.{form}", list[int]()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("export", 4 * genesis().manifest.size) as progress:

        def told(done: int) -> None:
            bytes_told.append(done)
            progress.step_to(done)

        write_model(output, form, genesis(), initial_model(), 0, None, told)
    assert bytes_told == sorted(bytes_told)
    assert len(set(bytes_told)) >= 3  # The head of the file, and each array.
    assert bytes_told[-1] == output.stat().st_size
    assert terminal.getvalue().count("export  [") >= 2
    assert "100%" in terminal.getvalue()
    data = output.read_bytes()
    if form == "npz":
        values = np.concatenate([array.ravel() for array in np.load(output).values()])
    else:
        length = int.from_bytes(data[:8], "little")
        assert [row["data_offsets"] for row in json.loads(data[8 : 8 + length]).values()] == [
            [0, 24],
            [24, 32],
        ]
        values = np.frombuffer(data[8 + length :], "<f4")
    np.testing.assert_array_equal(values, model_view(initial_model(), genesis().manifest.groups))
