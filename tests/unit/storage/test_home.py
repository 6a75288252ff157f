"""The home folder and its lock."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from p2pfed.errors import LocalError
from p2pfed.storage.home import Home


def test_a_new_home_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = Home(tmp_path / "deep" / "home")
        home.create()
    finally:
        os.umask(before)
    for folder in (home.path, home.data, home.blobs, home.logs, home.run):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_home_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Home(tmp_path).create()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert not home.is_locked()
    with home.lock():
        assert home.is_locked()
        with pytest.raises(LocalError, match=f"process {os.getpid()} already runs") as refusal, home.lock():
            pass
        assert refusal.value.exit_code == 3
        assert home.is_locked()
    with home.lock():
        pass
    assert not home.is_locked()


def test_a_home_that_does_not_exist_is_not_locked_but_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no home folder"), Home(tmp_path / "nowhere").lock():
        pass
