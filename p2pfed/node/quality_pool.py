"""Words on the newest model that wait for the next block: one a validator, of two heights at most."""

from __future__ import annotations

from p2pfed.chain.gate import is_gated, verify_speaker
from p2pfed.chain.state import ChainState
from p2pfed.errors import OutOfBounds
from p2pfed.types.quality import Quality


class QualityPool:
    """The first word of each validator on the last model, and on the next for who commits before us."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, bytes], Quality] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, word: Quality, state: ChainState) -> bool:
        """Verify and keep a word; False where it is known, late, or of a height that is far ahead.

        Raises:
            PeerFault: There is no gate, its sender has no vote, or the signature is wrong.
        """
        if not is_gated(state):
            raise OutOfBounds("a word on quality, and this network has no gate")
        place = (word.height, word.sender)
        if not 0 <= word.height - state.height <= 1 or place in self._held:
            return False
        is_last = word.height == state.height and state.header is not None
        verify_speaker(word, state.last_validators if is_last else state.validators, state.chain_id)
        self._held[place] = word
        return True

    def select(self, height: int) -> tuple[Quality, ...]:
        """Return the words on the model of `height`, by sender."""
        return tuple(word for (at, _), word in sorted(self._held.items()) if at == height)

    def prune(self, height: int) -> None:
        """Forget what is said of models before that of `height`."""
        self._held = {place: word for place, word in self._held.items() if place[0] >= height}
