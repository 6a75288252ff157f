"""Real worker processes and all that a learner can do to them: the peer always gets an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from support.workers import Write, edit, ready, refusal, train, worker

from p2pfed.learning.client import (
    REQUESTS_WAITING_MAX,
    WorkerClient,
    WorkerFailed,
    restart_delay_ms,
)
from p2pfed.learning.learner import AppContext
from p2pfed.learning.session import Trained
from p2pfed.learning.shared import nameless_file
from p2pfed.primitives.merkle import EMPTY_ROOT


async def test_a_worker_tells_its_arrays_trains_and_evaluates(app: Write) -> None:
    async with worker(app()) as client:
        started = await ready(client)
        assert [(a.shape, a.dtype, a.kind) for a in started.manifest.arrays] == [
            ((2, 3), "float32", "trained"),
            ((1,), "int64", "local"),
        ]
        assert started.manifest.size == 6
        assert started.initial.tolist() == [0] * 6
        assert started.evaluation_root == EMPTY_ROOT
        trained = await train(client)
        assert isinstance(trained, Trained)
        assert trained.delta.tolist() == [1] * 6
        assert trained.examples == 5
        figures = await client.evaluate(np.full(6, 2, np.float32), height=1, train_index=0)
        assert figures == {"sum": 12.0, "counter": 8}


async def test_integer_arrays_stay_in_the_worker_and_live_on(app: Write) -> None:
    async with worker(app()) as client:
        counters = [(await train(client, height)).metrics["counter"] for height in (1, 2, 3)]  # type: ignore[union-attr]
        assert counters == [7, 8, 9]


async def test_a_print_never_reaches_the_pipe(app: Write, tmp_path: Path) -> None:
    lines = 'print("hello" * 100000); os.write(1, b"raw"); os.system("echo from a child"); sys.stdin.read()'
    with (tmp_path / "stderr").open("wb") as stderr:
        async with worker(app(lines), stderr=stderr) as client:
            assert isinstance(await train(client), Trained)
    text = (tmp_path / "stderr").read_text()
    assert "hellohello" in text
    assert "raw" in text
    assert "from a child" in text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("w[0, 0] = float('nan')", "array0 holds NaN or infinity"),
        ("w[0, 0] = float('inf')", "array0 holds NaN or infinity"),
        ("w = w.reshape(3, 2)", "array0 came back with shape (3, 2); the model has (2, 3)"),
        ("w = w.astype(np.int64)", "array0 came back as int64; the model has float32"),
        ("w = w.astype(object)", "array0 came back as object; the model has float32"),
        (
            "w = np.zeros(5_000_000, np.float32)",
            "array0 came back with shape (5000000,); the model has (2, 3)",
        ),
        ("return TrainResult([w], 5)", "1 arrays came back; the model has 2"),
        ("return TrainResult([w, counter], 0)", "no examples to train on"),
        ("return TrainResult([w, counter], -1)", "examples is -1"),
        ("return TrainResult([w, counter], 2.5)", "examples is float, not a whole number"),
        ("return TrainResult(w, 5)", "weights must be a list of arrays, not ndarray"),
        ("return TrainResult([w, counter], 5, {'loss': 'low'})", "the metric loss is str, not a number"),
        ("return TrainResult([w, counter], 5, [1])", "metrics must be a dict"),
        ("return TrainResult([w, counter], 5, {'m' * 65: 1})", "a metric's name must be a text"),
        ("return None", "train() returned NoneType, not TrainResult"),
        (
            "raise ValueError('line one\\n\\x1b[31mline two')",
            "the learner raised ValueError at mine.py:13: line one [31m",
        ),
        ("sys.exit(4)", "the learner raised SystemExit at mine.py:13: 4"),
        ("raise MemoryError", "the learner raised MemoryError at mine.py:13"),
        ("raise ValueError('long ' * 1000)", "…"),
    ],
)
async def test_what_a_learner_does_wrong_is_one_line_and_the_worker_goes_on(
    app: Write, line: str, reason: str
) -> None:
    once = f"if context.height == 1: {line}"
    async with worker(app(once), stderr=subprocess.DEVNULL) as client:
        await ready(client)
        first = client.pid
        assert reason in await refusal(client)
        assert isinstance(await train(client, 2), Trained)
        assert client.pid == first
        assert first is not None
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, first) == min(19, own + 5)  # Votes go first.


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.abort()", f"signal {int(signal.SIGABRT)}"),
        ("os.kill(os.getpid(), 9)", "killed; out of memory is the usual reason"),
        ("os.close(4), time.sleep(0.05), os._exit(4)", "exit code 4"),
    ],
)
async def test_a_worker_that_died_is_named_and_started_again(app: Write, line: str, reason: str) -> None:
    async with worker(app(f"if context.height == 1: {line}"), stderr=subprocess.DEVNULL) as client:
        await ready(client)
        first = client.pid
        assert reason in await refusal(client)
        assert client.pid is None
        assert isinstance(await train(client, 2), Trained)
        assert client.pid != first


async def test_a_worker_that_is_killed_between_two_turns_is_missed_at_the_next(app: Write) -> None:
    async with worker(app()) as client:
        await ready(client)
        assert client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        assert "killed" in await refusal(client)
        assert isinstance(await train(client), Trained)


@pytest.mark.parametrize("hang", ["time.sleep(600)", "os.kill(os.getpid(), 19)  # SIGSTOP: it hears nothing"])
async def test_a_worker_that_hangs_is_killed_at_its_deadline(app: Write, hang: str) -> None:
    async with worker(app(f"if context.height == 1: {hang}")) as client:
        await ready(client)
        pid = client.pid
        assert pid is not None
        failed = await client.train(np.zeros(6, np.float32), height=1, train_index=0, timeout_ms=200)
        assert failed == WorkerFailed("the worker was killed: no answer within 200 ms")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert isinstance(await train(client, 2), Trained)


async def test_a_learner_that_crashes_each_time_is_started_ever_more_seldom(app: Write) -> None:
    now = [100.0]
    async with worker(app("os._exit(3)"), clock=lambda: now[0]) as client:
        assert "exit code 3" in await refusal(client)
        assert "exit code 3" in await refusal(client)
        assert await refusal(client) == "the worker failed 2 times in a row; it restarts in 1 s"
        now[0] += 1.0
        assert "exit code 3" in await refusal(client)
        assert await refusal(client) == "the worker failed 3 times in a row; it restarts in 2 s"


def test_the_pause_between_restarts_doubles_up_to_a_minute() -> None:
    assert [restart_delay_ms(failures) for failures in range(1, 10)] == [
        0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000,
    ]  # fmt: skip
    assert restart_delay_ms(10**9) == 60_000


async def test_success_ends_the_series_of_failures(app: Write) -> None:
    now = [0.0]
    async with worker(app("if context.height == 1: os._exit(3)"), clock=lambda: now[0]) as client:
        for _ in range(4):
            assert "exit code 3" in await refusal(client)
            assert isinstance(await train(client, 2), Trained)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("{dir}/none.py:learner", "no file"),
        ("{dir}/mine.py:other", "mine.py has no other; it has Mine, TrainResult, learner, np, os, sys, time"),
        ("{dir}/mine.py:np", "np in {dir}/mine.py is neither a learner nor a function that returns one"),
        ("{dir}/mine.py:TrainResult", "the learner raised TypeError"),
        ("mine", "'mine' names no learner"),
        ("letters:mlp", "no data set 'letters'"),
        ("digits:forest", "no model 'forest'"),
        ("mnist:mlp", "MNIST needs --data-dir"),
    ],
)
async def test_an_app_that_can_not_be_loaded_is_one_sentence(
    app: Write, tmp_path: Path, spec: str, reason: str
) -> None:
    app()
    async with worker(spec.format(dir=tmp_path), stderr=subprocess.DEVNULL) as client:
        failed = await client.start()
        assert isinstance(failed, WorkerFailed)
        assert reason.format(dir=tmp_path) in failed.reason
        assert client.pid is None


async def test_a_file_that_does_not_compile_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def learner(:\n")
    async with worker(f"{tmp_path}/bad.py:learner", stderr=subprocess.DEVNULL) as client:
        failed = await client.start()
        assert isinstance(failed, WorkerFailed)
        assert "SyntaxError" in failed.reason


async def test_a_learner_whose_arrays_change_on_restart_is_refused(app: Write) -> None:
    spec = app("os._exit(3)")
    async with worker(spec) as client:
        await ready(client)
        assert "exit code 3" in await refusal(client)
        edit(spec, "(2, 3)", "(3,  2)")  # Python takes a file of one second and size for the same.
        assert "other arrays than before" in await refusal(client)


async def test_weights_of_the_wrong_length_never_reach_the_learner(app: Write) -> None:
    async with worker(app()) as client:
        failed = await client.train(np.zeros(7, np.float32), height=1, train_index=0)
        assert failed == WorkerFailed("7 weights were sent; the model has 6")


async def test_the_worker_computes_in_one_thread_whatever_the_peer_was_told(
    app: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    line = "raise ValueError(os.environ['OMP_NUM_THREADS'] + os.environ['OPENBLAS_NUM_THREADS'] + '!')"
    async with worker(app(line), stderr=subprocess.DEVNULL) as client:
        assert "11!" in await refusal(client)


async def test_calls_wait_their_turn_up_to_a_limit_and_a_cancelled_one_is_skipped(
    app: Write, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with worker(app(f"print(context.height, file=open({str(log)!r}, 'a'))")) as client:
        await ready(client)
        calls = [asyncio.create_task(train(client, height)) for height in range(1, 8)]
        await asyncio.sleep(0)  # All are queued now; the owner has not run yet.
        calls[2].cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds == [Trained, Trained, asyncio.CancelledError, Trained, *3 * [WorkerFailed]]
    assert answers[6] == WorkerFailed("the worker is busy and 4 requests wait")
    assert log.read_text().split() == ["1", "2", "4"]


async def test_closing_answers_whoever_waits(app: Write) -> None:
    client = WorkerClient(app("time.sleep(600)"), AppContext())
    await ready(client)
    calls = [asyncio.create_task(train(client)) for _ in range(3)]
    await asyncio.sleep(0)
    await client.close()
    assert await asyncio.gather(*calls) == [WorkerFailed("the worker is closed")] * 3
    assert await train(client) == WorkerFailed("the worker is closed")


async def test_closing_in_mid_training_answers_the_caller_and_ends_the_worker(
    app: Write, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    client = WorkerClient(app(f"open({str(begun)!r}, 'w').close(), time.sleep(600)"), AppContext())
    await ready(client)
    pid = client.pid
    assert pid is not None
    call = asyncio.create_task(train(client))
    # Reading the pipe waits for the learner to open it: it trains now.
    await asyncio.to_thread(begun.read_bytes)
    await client.close()
    assert await asyncio.wait_for(call, 20) == WorkerFailed("the worker is closed")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_trainings_go_before_evaluations_and_the_oldest_of_these_make_room(
    app: Write, tmp_path: Path
) -> None:
    """A learner slower than the heights must not lose its update for figures that nobody waits for."""
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    os.mkfifo(begun)
    os.mkfifo(gate)
    block = f"context.height == 1 and (open({str(begun)!r}, 'w').close(), open({str(gate)!r}).read())"
    done: list[str] = []

    async def run(name: str, call: Awaitable[object]) -> object:
        result = await call
        done.append(name)
        return result

    async with worker(app(block)) as client, asyncio.TaskGroup() as tasks:
        await ready(client)
        first = tasks.create_task(run("train 1", train(client, 1)))
        await asyncio.to_thread(begun.read_bytes)
        evaluations = [
            tasks.create_task(
                run(
                    f"evaluate {value}",
                    client.evaluate(np.full(6, value, np.float32), height=1, train_index=0),
                )
            )
            for value in range(REQUESTS_WAITING_MAX + 1)
        ]
        await asyncio.sleep(0)
        second = tasks.create_task(run("train 2", train(client, 2)))
        await asyncio.sleep(0)
        evaluations[2].cancel()  # Nobody waits for it: its place is free.
        await asyncio.sleep(0)
        last = tasks.create_task(
            run("evaluate 9", client.evaluate(np.ones(6, np.float32), height=2, train_index=1))
        )
        await asyncio.sleep(0)
        await asyncio.to_thread(gate.write_bytes, b"on")
    assert isinstance(first.result(), Trained)
    assert isinstance(second.result(), Trained)
    assert done == [
        "evaluate 0",
        "evaluate 1",
        "train 1",
        "train 2",
        "evaluate 3",
        "evaluate 4",
        "evaluate 9",
    ]
    busy = WorkerFailed("the worker is busy and newer requests wait")
    assert [task.result() for task in evaluations[:2]] == [busy, busy]
    assert evaluations[3].result() == {"sum": 18.0, "counter": 9}
    assert last.result() == {"sum": 6.0, "counter": 9}


def worker_process() -> subprocess.Popen[bytes]:
    descriptor = nameless_file()
    command = [sys.executable, "-m", "p2pfed.learning.worker", str(descriptor)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": (descriptor,)}
    try:
        return subprocess.Popen(command, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]
    finally:
        os.close(descriptor)


def test_a_worker_whose_peer_is_gone_ends(app: Write) -> None:
    process = worker_process()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) in (0, -signal.SIGKILL)


def test_a_worker_whose_peer_dies_in_mid_training_ends_with_all_it_started(
    app: Write, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    line = (
        "import subprocess as s; c = s.Popen(['sleep', '600']); "
        f"print(c.pid, file=open({str(pids)!r}, 'w')); c.wait()"
    )
    parent = f"""
import asyncio, os, numpy as np
from p2pfed.learning.client import WorkerClient
from p2pfed.learning.learner import AppContext
async def main():
    client = WorkerClient({app(line)!r}, AppContext())
    await client.start()
    print(client.pid, flush=True)
    await client.train(np.zeros(6, np.float32), height=1, train_index=0)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: is_gone(pid) and is_gone(int(pids.read_text())))


def is_gone(pid: int) -> bool:
    """Answer whether a process ended; a zombie that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


async def test_a_leak_meets_its_limit_and_the_worker_begins_anew(app: Write) -> None:
    leak = "kept = globals().setdefault('kept', []); kept.append(np.ones(48 << 20, np.uint8))"
    async with worker(app(leak), memory_mb=128, stderr=subprocess.DEVNULL) as client:
        await ready(client)
        first, outcomes = client.pid, [await train(client, height) for height in range(1, 5)]
        failed = [outcome.reason for outcome in outcomes if isinstance(outcome, WorkerFailed)]
        assert 1 <= len(failed) < len(outcomes)
        assert all("the learner raised MemoryError at " in reason for reason in failed)
        assert client.pid != first
