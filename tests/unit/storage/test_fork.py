"""Two stores that hold different blocks convict who made them, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import tiny_chain
from support.tiny_chain import KEYS, Step, next_step, steps

from p2pfed.chain.state import ChainState
from p2pfed.errors import LocalError
from p2pfed.storage.audit import audit
from p2pfed.storage.fork import ForkReport, compare
from p2pfed.storage.home import Home
from p2pfed.types.certificate import PolkaCert

HEIGHT = 2  # Of the fork.
Homes = Callable[[Sequence[Step], Sequence[PolkaCert]], Home]


@pytest.fixture
def make(tmp_path: Path) -> Homes:
    """Return a maker of homes with these heights, and more polkas."""
    count = 0

    def made(heights: Sequence[Step], polkas: Sequence[PolkaCert] = ()) -> Home:
        nonlocal count
        count += 1
        home = Home(tmp_path / f"home{count}")
        store = tiny_chain.found(home)
        for polka in polkas:
            store.chain.save_polka(polka)
        for step in heights:
            tiny_chain.keep(store, step)
        store.close()
        return home

    return made


def state_of(home: Home) -> ChainState:
    report = audit(home, tiny_chain.genesis())
    assert report.problems == []
    assert report.state is not None
    return report.state


def branch(signers: tuple[int, ...], round_: int, valid_round: int = -1, length: int = 2) -> list[Step]:
    """Return a chain whose block of the fork's height is signed by `signers` only, in `round_`."""
    chain = list(steps(HEIGHT - 1))
    last = chain[-1]
    round0 = round_ if valid_round < 0 else valid_round
    chain.append(
        next_step(
            last.state, last.block, round_=round_, valid_round=valid_round, round0=round0, signers=signers
        )
    )
    while len(chain) < HEIGHT - 1 + length:
        chain.append(next_step(chain[-1].state, chain[-1].block))
    return chain


def kinds(report: ForkReport) -> dict[int, set[str]]:
    """Return the kinds of lies by the number of the culprit."""
    numbers = {key.public: number for number, key in enumerate(KEYS)}
    found: dict[int, set[str]] = {}
    for proof in report.proofs:
        assert proof.convict.height == HEIGHT
        found.setdefault(numbers[proof.convict.culprit], set()).add(type(proof.evidence).__name__)
    return found


@pytest.mark.parametrize("liars", [(0, 1), (1, 3)])
@pytest.mark.parametrize(
    ("round_", "kind"), [(0, "DuplicateVote"), (1, "Amnesia")], ids=["in one round", "across rounds"]
)
def test_a_fork_convicts_both_liars_of_four_and_nobody_honest(
    liars: tuple[int, int], round_: int, kind: str, make: Homes
) -> None:
    honest = [number for number in range(4) if number not in liars]
    ours, theirs = (
        make(branch(tuple(sorted((*liars, one))), at)) for one, at in zip(honest, (0, round_), strict=True)
    )
    for own, other in ((ours, theirs), (theirs, ours)):
        report = compare(own, [other], state_of(own))
        ((fork,), problems) = report.forks, report.problems
        assert (fork.height, problems) == (HEIGHT, [])
        assert {fork.ours.round, fork.theirs.round} == {0, round_}
        assert kinds(report) == {liar: {kind} for liar in liars}
        assert (report.convicted_power, report.total_power) == (2000, 4000)
        assert 3 * report.convicted_power > report.total_power


def test_only_the_chain_of_polkas_convicts_where_the_last_one_looks_lawful(make: Homes) -> None:
    """Decided in round 0; the liars forget in round 1, and round 2 decides by the polka of round 1."""
    signers = (0, 1, 2)
    ours = make(branch(signers, 0))
    other = branch((0, 1, 3), 2, valid_round=1)
    forgotten = tiny_chain.polka_of(other[HEIGHT - 1], round_=1, valid_round=-1)
    state = state_of(ours)
    without = compare(ours, [make(other)], state)
    assert [fork.height for fork in without.forks] == [HEIGHT]
    assert without.proofs == []
    assert without.forks[0].common == (KEYS[0].public, KEYS[1].public)
    whole = compare(ours, [make(other, [forgotten])], state)
    assert kinds(whole) == {0: {"Amnesia"}, 1: {"Amnesia"}}


def test_a_third_store_may_bring_what_the_two_lack(make: Homes) -> None:
    other = branch((0, 1, 3), 2, valid_round=1)
    forgotten = tiny_chain.polka_of(other[HEIGHT - 1], round_=1, valid_round=-1)
    ours, theirs = make(branch((0, 1, 2), 0)), make(other)
    witness = make(steps(HEIGHT - 1), [forgotten])  # It never got so far.
    assert compare(ours, [theirs, witness], state_of(ours)).proofs == []
    witness = make(branch((0, 1, 2), 0), [forgotten])
    assert set(kinds(compare(ours, [theirs, witness], state_of(ours)))) == {0, 1}


def test_equal_stores_show_no_fork_and_nobody_is_accused(make: Homes) -> None:
    ours, behind = make(steps(4)), make(steps(2))
    report = compare(ours, [behind, ours], state_of(ours))
    assert (report.forks, report.proofs, report.problems) == ([], [], [])
    assert compare(behind, [ours], state_of(behind)).forks == []


def test_another_block_without_a_good_certificate_is_no_fork(make: Homes) -> None:
    ours = make(steps(3))
    forged = branch((0, 1, 2), 0)
    step = forged[HEIGHT - 1]
    signatures = step.block.commit.signatures
    commit = tiny_chain.replaced(step.block.commit, signatures=(signatures[1], *signatures[1:]))
    forged[HEIGHT - 1] = Step(
        tiny_chain.replaced(step.block, commit=commit), step.polka, step.payloads, step.state
    )
    report = compare(ours, [make(forged[:HEIGHT])], state_of(ours))
    assert report.forks == []
    assert {p.what for p in report.problems} == {"another block than ours", "a certificate"}


def test_the_home_of_another_network_is_refused(make: Homes, tmp_path: Path) -> None:
    ours = make(steps(1))
    with pytest.raises(LocalError):
        compare(ours, [Home(tmp_path / "nowhere")], state_of(ours))
