"""Virtual time: everything has its turn, at its time and in the order of its entry."""

from __future__ import annotations

from random import Random

from p2pfed.sim.agenda import Agenda


def test_actions_come_by_time_and_those_of_one_time_by_their_entry() -> None:
    dice, agenda = Random(3), Agenda(1_000)
    done: list[tuple[int, int]] = []
    entered: list[tuple[int, int]] = []

    def enter(left: int) -> None:
        for _ in range(dice.randint(0, 3) if left else 0):
            delay_ms, number = dice.randint(0, 4), len(entered)
            entered.append((agenda.now_ms + delay_ms, number))
            agenda.after(delay_ms, lambda at=entered[-1]: (done.append(at), enter(left - 1)))

    for _ in range(20):
        enter(5)
    while (action := agenda.pop()) is not None:
        before = len(done)
        action()
        assert done[before][0] == agenda.now_ms
    assert len(done) > 100
    assert done == sorted(entered)


def test_what_is_due_later_stays_where_it_is() -> None:
    agenda = Agenda(0)
    agenda.after(5, lambda: None)
    assert agenda.pop(4) is None
    assert agenda.now_ms == 0
    assert agenda.pop(5) is not None
    assert agenda.now_ms == 5
    assert agenda.pop() is None
