"""Which updates a block merges: a function of the availability votes in it, never the proposer's choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from p2pfed.consensus.quorum import has_honest_voice
from p2pfed.types.availability import AvailEntry
from p2pfed.types.update import UpdateHeader
from p2pfed.types.validators import ValidatorSet

# From this round on a block merges nothing, so that the ledger goes on when the data plane does not.
ROUND_WITHOUT_UPDATES = 4


class UpdateSet(Struct, frozen=True):
    """U, and who is out of it for sending two updates of one base that both have an honest voice.

    updates: Sorted by trainer key, one a trainer: the rows of the aggregation.
    dropped: Trainer keys and the newest base height that is used up, ascending.
    """

    updates: tuple[UpdateHeader, ...]
    dropped: tuple[tuple[bytes, int], ...]


def supported_ids(
    lists: Iterable[tuple[int, Sequence[bytes]]], validators: ValidatorSet
) -> tuple[bytes, ...]:
    """Return the ids with 3 * support > P, ascending.

    Args:
        lists: (validator index, ids that it holds), each validator once and each id once in a list.
        validators: The set of the height.
    """
    support: dict[bytes, int] = {}
    for index, ids in lists:
        power = validators.validators[index].power
        for update_id in ids:
            support[update_id] = support.get(update_id, 0) + power
    total = validators.total_power
    return tuple(sorted(update_id for update_id, power in support.items() if has_honest_voice(power, total)))


def update_set(headers: Iterable[UpdateHeader], round0: int) -> UpdateSet:
    """Return U of the supported `headers`, which are candidates with distinct ids.

    Of a trainer's updates the one of the newest base counts; none where two are of one base.
    """
    by_trainer: dict[bytes, list[UpdateHeader]] = {}
    for header in headers:
        by_trainer.setdefault(header.trainer, []).append(header)
    ordered: Mapping[bytes, list[UpdateHeader]] = dict(sorted(by_trainer.items()))
    newest = {key: max(owned, key=lambda header: header.base_height) for key, owned in ordered.items()}
    is_honest = {
        key: len({header.base_height for header in owned}) == len(owned) for key, owned in ordered.items()
    }
    dropped = tuple((key, header.base_height) for key, header in newest.items() if not is_honest[key])
    updates = tuple(header for key, header in newest.items() if is_honest[key])
    return UpdateSet(updates if round0 < ROUND_WITHOUT_UPDATES else (), dropped)


def median_time_ms(entries: Iterable[AvailEntry], validators: ValidatorSet) -> int:
    """Return the stake-weighted lower median of the times of `entries`: a minority can't move it alone."""
    ordered = sorted(
        (entry.time_ms, entry.validator_index, validators.validators[entry.validator_index].power)
        for entry in entries
    )
    whole, cumulative = sum(power for _, _, power in ordered), 0
    for time_ms, _, power in ordered:
        cumulative += power
        if 2 * cumulative >= whole:
            return time_ms
    raise AssertionError("no availability votes")
