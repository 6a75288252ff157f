"""Multiplies updates with each other as they come: little is left when a block must be built or checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from p2pfed.aggregation.catalogue import named_rule
from p2pfed.aggregation.group import ParallelMap
from p2pfed.aggregation.growing import GrowingGram, Tables
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import MIB, UPDATES_MAX
from p2pfed.types.update import UpdateHeader

KEPT_BYTES_MAX = 512 * MIB  # Payloads in memory between heights; a merge beyond that loads and measures them.


class Measuring:
    """The payloads that train from the newest model, in memory, and their inner products.

    All but `expect` and `came` runs in one thread, the one that builds and checks blocks: what waits there in
    front of a block is work that the block needs.

    Args:
        genesis: Its rules, or scores of updates, say whether anybody looks at products.
        load: Returns the checked payload of an update.
        parallel: How to map over pieces of groups.
    """

    def __init__(
        self, genesis: Genesis, load: Callable[[UpdateHeader], Int16Vector], parallel: ParallelMap
    ) -> None:
        self._manifest = genesis.manifest
        self._load = load
        self._parallel = parallel
        is_scored = genesis.params.emission > 0
        self._is_wanted = is_scored or any(named_rule(rule).uses_products for rule in genesis.params.rules)
        self._rows_max = min(UPDATES_MAX, KEPT_BYTES_MAX // (2 * self._manifest.size))
        self._expected: dict[bytes, UpdateHeader] = {}
        self._waiting: deque[UpdateHeader] = deque()
        self._base_height = -1
        self._growing = GrowingGram(self._manifest.groups)

    def expect(self, header: UpdateHeader) -> None:
        """Remember the header of a payload that is on its way."""
        if self._is_wanted:
            self._expected[header.update_id] = header

    def came(self, update_id: bytes) -> bool:
        """Note that a payload is whole, valid and durable; answer whether `work` has something to do."""
        header = self._expected.pop(update_id, None)
        if header is not None:
            self._waiting.append(header)
        return header is not None

    def passed(self, height: int) -> None:
        """Forget what trains from models before the one of `height`, which is final."""
        self._expected = {
            name: header for name, header in self._expected.items() if header.base_height >= height
        }

    def work(self) -> None:
        """Measure what came since."""
        fresh: list[UpdateHeader] = []
        while self._waiting:
            fresh.append(self._waiting.popleft())
        self._measure(fresh)

    def row(self, header: UpdateHeader) -> Int16Vector:
        """Return the payload of an update."""
        name = header.update_id
        return self._growing.row(name) if name in self._growing else self._load(header)

    def products(self, headers: Sequence[UpdateHeader]) -> Tables | None:
        """Return the products of these updates' payloads; None: a merge had better measure them itself."""
        if not self._is_wanted:
            return None
        self._measure(headers)
        names = [header.update_id for header in headers]
        return self._growing.of(names) if all(name in self._growing for name in names) else None

    def _measure(self, headers: Sequence[UpdateHeader]) -> None:
        """Add those that train from the newest model that anybody trained from, while there is room."""
        newest = max((header.base_height for header in headers), default=-1)
        if newest > self._base_height:
            self._base_height = newest
            self._growing = GrowingGram(self._manifest.groups)
        fresh = {
            header.update_id: header
            for header in headers
            if header.base_height == self._base_height and header.update_id not in self._growing
        }
        room = max(0, self._rows_max - len(self._growing))
        rows = {name: self._load(header) for name, header in list(fresh.items())[:room]}
        self._growing.add(rows, self._parallel)
