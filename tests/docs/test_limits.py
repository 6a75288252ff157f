"""The page of limits says what the code does."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec.structs import fields

from p2pfed.gossip import limits as gossip_limits
from p2pfed.net.limits import Limits
from p2pfed.runtime import inbox

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "limits.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| ([^|]+) \| ([\d,]+)( ms| KiB| MiB)? \| ([^|]+) \|$", re.M)
UNITS = {"": 1, " ms": 1, " KiB": 1 << 10, " MiB": 1 << 20}
ROWS = ROW.findall(PAGE)


def value_of(name: str) -> Any:
    """Return what the code has under a name of the page: a constant, or the default of a field."""
    module, _, last = f"p2pfed.{name}".rpartition(".")
    if module.endswith(".Limits"):
        return getattr(Limits(), last)
    return getattr(import_module(module), last)


def test_every_value_on_the_page_is_that_of_the_code() -> None:
    told = {name: int(number.replace(",", "")) * UNITS[unit] for name, _, number, unit, _ in ROWS}
    assert told == {name: value_of(name) for name in told}


def test_every_row_of_its_tables_is_one_that_is_checked() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROWS) == len({name for name, *_ in ROWS}) > 40


def test_no_limit_of_transports_gossip_inbox_and_pools_is_left_out() -> None:
    told = {name for name, *_ in ROWS}
    wanted = {f"net.limits.Limits.{field.name}" for field in fields(Limits)}
    for module in (gossip_limits, inbox):
        short = module.__name__.removeprefix("p2pfed.")
        wanted |= {f"{short}.{name}" for name in vars(module) if name.isupper() and "_MAX" in name}
    sources = (Path(__file__).parents[2] / "p2pfed" / "node").glob("*.py")
    constants = re.compile(r"^([A-Z_]+_MAX) = ", re.M)
    ours = {"DIRECT_MEMBERS_MAX", "MODEL_AGE_MAX", "BUSY_MS_MAX", "LISTEN_MS_MAX", "TRANSACTIONS_TOLD_MAX"}
    for path in sources:  # Those above bound what we do, not what others may.
        names = set(constants.findall(path.read_text(encoding="utf-8"))) - ours
        wanted |= {f"node.{path.stem}.{name}" for name in names}
    assert wanted - told == set()
