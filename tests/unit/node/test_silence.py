"""A proposer that is gone is waited for a quarter as long, and one that is back as long as anybody."""

from __future__ import annotations

import pytest
from support.chain import World
from support.lab import Lab

from p2pfed.consensus.timeouts import PRESETS
from p2pfed.node.effects import Effect, ScheduleTimeout
from p2pfed.node.events import (
    BlocksFetched,
    ModelFetched,
    PayloadFetched,
    PeerConnected,
    PeerDisconnected,
    Timer,
    TimerFired,
)
from p2pfed.node.facts import CollectEnded
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import Digest

PRESET = PRESETS["local"]
FULL_MS = PRESET.propose_ms(0)


class Table:
    """A lab at height 1 whose proposers of rounds 0 and 4 are the same peer, and never the lab's own."""

    def __init__(self) -> None:
        self.world = World((10, 10, 10, 10))
        first = self.world.state.validators.index_of(self.world.proposer())
        assert first is not None
        self.absent = first
        self.absent_key = self.world.key(first).public
        self.own = (first + 1) % 4
        self.lab = Lab(world=self.world, key=self.world.key(self.own), is_learning=False)
        self.lab.start()

    def begin(self) -> list[Effect]:
        """Enter round 0 by availability votes of all that are present."""
        effects: list[Effect] = []
        for place in self.present:
            effects += self.lab.hear(self.world.avail(place, []))
        return effects

    @property
    def present(self) -> list[int]:
        return [place for place in range(4) if place not in (self.own, self.absent)]

    def skip_to(self, round_: int) -> list[Effect]:
        """Let the others pull the lab into a round."""
        effects: list[Effect] = []
        for place in self.present:
            effects += self.say(place, round_)
        return effects

    def say(self, place: int, round_: int) -> list[Effect]:
        return self.lab.hear(
            self.world.sign(Prevote(1, round_, None, -1, place, bytes(64)), self.world.key(place))
        )


@pytest.fixture
def table() -> Table:
    return Table()


def propose_waits(effects: list[Effect]) -> list[int]:
    """Return how long the timers of proposals among these effects wait, in ms."""
    return [
        effect.delay_ms
        for effect in effects
        if isinstance(effect, ScheduleTimeout) and effect.timer.kind == "propose"
    ]


def lose(table: Table, place: int) -> None:
    table.lab.step(PeerDisconnected(table.world.key(place).public))


def fire(table: Table, round_: int) -> list[Effect]:
    return table.lab.step(TimerFired(Timer("propose", 1, round_)))


def nil_prevotes(table: Table) -> list[int]:
    """Return the rounds in which the lab itself gave up waiting."""
    said = [vote for vote in table.lab.sent(Prevote) if vote.validator_index == table.own]
    assert all(vote.value_id is None for vote in said)
    return sorted({vote.round for vote in said})


def test_who_has_shown_nothing_amiss_is_waited_for_in_full(table: Table) -> None:
    table.lab.hear(table.world.avail(table.absent, []))
    assert propose_waits(table.begin()) == [FULL_MS]


def test_a_proposer_whose_connection_ended_is_waited_for_a_quarter_as_long(table: Table) -> None:
    lose(table, table.absent)
    table.lab.step(TimerFired(Timer("collect", 1, 0)))
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4) // 4]
    assert propose_waits(fire(table, 4)) == []
    assert nil_prevotes(table) == [4]


def test_one_that_speaks_within_the_quarter_gets_the_rest(table: Table) -> None:
    lose(table, table.absent)
    table.skip_to(4)
    table.say(table.absent, 4)
    assert propose_waits(fire(table, 4)) == [PRESET.propose_ms(4) - PRESET.propose_ms(4) // 4]
    assert nil_prevotes(table) == []
    assert propose_waits(fire(table, 4)) == []
    assert nil_prevotes(table) == [4]


def test_one_that_connects_again_is_waited_for_in_full(table: Table) -> None:
    lose(table, table.absent)
    table.lab.step(PeerConnected(table.world.key(table.absent).public, None))
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4)]


def test_one_that_missed_its_slot_gets_a_quarter_at_the_next(table: Table) -> None:
    table.lab.hear(table.world.avail(table.absent, []))
    table.begin()
    fire(table, 0)
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4) // 4]


def test_one_that_said_nothing_in_a_whole_height_is_silent(table: Table) -> None:
    """A stopped process keeps its connections."""
    table.begin()
    assert table.lab.node.work is not None
    table.lab.node.work.waits.close()
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4) // 4]


@pytest.mark.parametrize("word", ["avail", "vote", "update"])
def test_one_that_said_anything_in_it_is_not(table: Table, word: str) -> None:
    if word == "avail":
        table.lab.hear(table.world.avail(table.absent, []))
    if word == "update":
        table.lab.hear(split(table)[0])
    table.begin()
    if word == "vote":
        table.say(table.absent, 0)
    assert table.lab.node.work is not None
    table.lab.node.work.waits.close()
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4)]


def test_a_word_of_the_round_that_it_missed_does_not_bring_it_back(table: Table) -> None:
    """Others pass on what it said before it fell silent."""
    table.lab.hear(table.world.avail(table.absent, []))
    table.begin()
    fire(table, 0)
    table.say(table.absent, 0)
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4) // 4]


def test_a_later_word_does(table: Table) -> None:
    table.lab.hear(table.world.avail(table.absent, []))
    table.begin()
    fire(table, 0)
    vote = Precommit(1, 1, None, table.absent, bytes(64))
    table.lab.hear(table.world.sign(vote, table.world.key(table.absent)))
    assert propose_waits(table.skip_to(4)) == [PRESET.propose_ms(4)]


def test_others_are_waited_for_in_full(table: Table) -> None:
    lose(table, table.absent)
    table.skip_to(2)
    assert propose_waits(table.lab.effects) == [PRESET.propose_ms(2)]


def held(table: Table, header: UpdateHeader) -> list[str]:
    """Let the lab hold an update; return why COLLECT ended, if it has."""
    table.lab.hear(header)
    table.lab.step(PayloadFetched(header.update_id, is_valid=True))
    return [fact.reason for fact in table.lab.facts(CollectEnded)]


def split(table: Table) -> tuple[UpdateHeader, list[UpdateHeader]]:
    """Return the update of the absent one, and those of the others."""
    key = table.absent_key
    updates = table.world.updates()
    own = next(each for each in updates if each.trainer == key)
    return own, [each for each in updates if each is not own]


def test_the_update_of_one_that_is_gone_is_not_waited_for(table: Table) -> None:
    lose(table, table.absent)
    assert [held(table, header) for header in split(table)[1]] == [[], [], ["all"]]


def test_a_header_of_the_height_that_it_left_is_none_to_wait_for(table: Table) -> None:
    """It may be a copy, and the payload went with its sender."""
    lose(table, table.absent)
    own, others = split(table)
    table.lab.hear(own)
    assert [held(table, header) for header in others] == [[], [], ["all"]]


def test_one_that_sends_an_update_at_a_later_height_is_waited_for(table: Table) -> None:
    lab, world = table.lab, table.world
    lose(table, table.absent)
    blocks = world.advance(), world.advance()
    lab.hear(Digest(3, 0, 0, -1, -1, (), b"\0", b"\0"))  # Others are at height 3, so blocks are asked for.
    lab.step(BlocksFetched(lab.others[0], blocks))
    lab.step(ModelFetched(2, world.state.model))
    own, others = split(table)
    lab.hear(own)
    assert [held(table, header) for header in others] == [[], [], []]
    assert held(table, own) == ["all"]


def test_a_peer_does_not_hurry_itself() -> None:
    """It may have been slow; its own next block is built no faster for being waited for less."""
    world = World((10, 10, 10, 10))
    own = world.state.validators.index_of(world.proposer())
    assert own is not None
    lab = Lab(world=world, key=world.key(own), is_learning=False)
    lab.start()
    others = [place for place in range(4) if place != own]
    for place in others:
        lab.hear(world.avail(place, []))
    lab.step(TimerFired(Timer("propose", 1, 0)))
    effects: list[Effect] = []
    for place in others[:2]:
        effects += lab.hear(world.sign(Prevote(1, 4, None, -1, place, bytes(64)), world.key(place)))
    assert propose_waits(effects) == [PRESET.propose_ms(4)]
