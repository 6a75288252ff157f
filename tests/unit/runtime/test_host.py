"""How a host carries effects out: what must be durable is, before a word leaves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from p2pfed.consensus.signer import initial_record
from p2pfed.errors import DiskFull
from p2pfed.node.effects import Effect, Persist, Send, SyncLog
from p2pfed.runtime.host import Host
from p2pfed.types.vote import Prevote

PEER = b"\2" * 33
VOTE = Prevote(1, 0, None, -1, 0, bytes(64))
RECORD = Persist(initial_record())


class _Over(Exception):
    """The host waits for the next event."""


async def carried_out(*effects: Effect, fails: str = "") -> list[str]:
    """Return what a host does for one step's effects, in order, where `fails` finds the disk full."""
    done: list[str] = []

    def do(name: str) -> bool:
        if name == fails:
            raise DiskFull(name)
        done.append(name)
        return True

    async def get() -> object:
        is_idle.set()
        return await asyncio.Future()

    host, is_idle = object.__new__(Host), asyncio.Event()  # Its loop alone: all that it uses is named here.
    with ThreadPoolExecutor(1) as disk:
        parts = {
            "_actor": SimpleNamespace(step=lambda _event, _now_ms: effects),
            "_clock": SimpleNamespace(now_ms=lambda: 0),
            "_inbox": SimpleNamespace(get=get),
            "_disk": disk,
            "_vote_state": SimpleNamespace(save=lambda _record: do("record")),
            "_log": SimpleNamespace(sync=lambda: do("log")),
            "_transport": SimpleNamespace(send=lambda _peer, _data: do("send")),
            "is_done": asyncio.Event(),
        }
        for name, part in parts.items():
            setattr(host, name, part)
        try:
            async with asyncio.TaskGroup() as tasks:
                host._tasks = tasks
                tasks.create_task(host._work())
                await is_idle.wait()
                raise _Over
        except* _Over:
            pass
    return done


async def test_a_vote_leaves_after_its_record_and_then_its_log_are_durable() -> None:
    both = (RECORD, SyncLog(), Send((PEER,), VOTE))
    assert await carried_out(*both, *both) == ["record", "log", "send"] * 2


async def test_what_needs_no_log_leaves_after_the_record_alone() -> None:
    assert await carried_out(RECORD, Send((PEER,), VOTE), SyncLog()) == ["record", "send", "log"]


@pytest.mark.parametrize("fails", ["record", "log"])
async def test_where_the_disk_refuses_nothing_leaves(fails: str) -> None:
    with pytest.raises(BaseExceptionGroup) as refused:
        await carried_out(RECORD, SyncLog(), Send((PEER,), VOTE), fails=fails)
    assert refused.group_contains(DiskFull, match=fails)
