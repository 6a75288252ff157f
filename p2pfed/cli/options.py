"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from p2pfed.errors import MalformedMessage, UsageError
from p2pfed.primitives.digest import DIGEST_BYTES
from p2pfed.primitives.keys import is_public_key
from p2pfed.storage.home import Home
from p2pfed.types.address import public_key_of
from p2pfed.types.params import HEIGHT_MAX

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


def parse_digest(text: str, where: str, what: str) -> bytes:
    """Return the 32 bytes that `text` spells in hexadecimal.

    Raises:
        UsageError: Names `where` it stands and `what` belongs there.
    """
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise UsageError(f"{where} takes the 64 hexadecimal digits of {what}, not {text!r}")
    return digest


def parse_checkpoint(text: str) -> tuple[int, bytes]:
    """Return the height and the hash of `HEIGHT:HASH`; raises UsageError."""
    height, _, value_id = text.partition(":")
    if not (height.isascii() and height.isdigit() and 0 < int(height) <= HEIGHT_MAX):
        raise UsageError(f"--checkpoint takes HEIGHT:HASH, a height of 1 or more, not {text!r}")
    return int(height), parse_digest(value_id, "--checkpoint", "a block's hash after HEIGHT:")


def parse_key(text: str) -> bytes | None:
    """Return the public key that `text` spells, in 66 hexadecimal digits or as a peer id, else None."""
    try:
        public = bytes.fromhex(text) if len(text) == 66 else public_key_of(text)
    except (ValueError, MalformedMessage):
        return None
    return public if is_public_key(public) else None
