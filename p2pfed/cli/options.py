"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from p2pfed.storage.home import Home

F = TypeVar("F", bound=Callable[..., Any])


def default_home() -> Path:
    """Return P2PFED_HOME, else the folder that XDG names for state."""
    named = os.environ.get("P2PFED_HOME")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "p2pfed"


def _as_home(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Home:  # noqa: ARG001
    return Home(value or default_home())


def home_option(function: F) -> F:
    """Add `--home`, passed on as a Home."""
    option = click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_as_home,
        help="The peer's folder; else P2PFED_HOME, else ~/.local/state/p2pfed.",
    )
    return option(function)


def json_option(function: F) -> F:
    """Add `--json`, passed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")(function)
