"""The names of faults and liars, as options and reports spell them."""

from __future__ import annotations

from typing import Literal

FaultKind = Literal[
    "loss", "delay", "duplicate", "reorder", "one_way", "partition", "ring", "bridge", "flapping", "filter",
    "crash", "pause", "clock", "slow_check", "mute",
]  # fmt: skip
LiarKind = Literal[
    "silent", "nil_voter", "late_voter", "equivocator", "amnesiac", "replayer", "forger", "mutator",
    "withholder", "wrong_aggregate", "twins", "splitter", "turncoat", "hider",
]  # fmt: skip
