"""A peer's loop is the fastest that is installed, and asyncio's own without the extra."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType

import pytest

from p2pfed.runtime.loop import loop_factory, run_peer_loop


def test_without_the_extra_it_is_the_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is asyncio.new_event_loop


def test_with_the_extra_it_is_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    module = ModuleType("uvloop")
    module.new_event_loop = new_event_loop  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvloop", module)

    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert [run_peer_loop(which())] == made
