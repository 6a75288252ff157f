"""`p2pfed init`: found a network for members who made their keys on their own machines."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from p2pfed.chain.roles import ROLES
from p2pfed.cli.founding_options import founding_options, learner_config, network_params
from p2pfed.cli.options import home_option, parse_key
from p2pfed.errors import LocalError
from p2pfed.runtime.config import Config
from p2pfed.runtime.founding import found_network, share_of, write_home
from p2pfed.storage.files import read_small
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key, new_key
from p2pfed.types.genesis import BOTH, Participant

DEFAULT_STAKE = 10


@click.command()
@home_option
@click.option("--members", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
              help="A file with one member a line: public key or peer id, stake, balance, role.")  # fmt: skip
@click.option("--name", default="p2pfed", show_default=True, help="What people call this network.")
@click.option("--heights", type=click.IntRange(0), default=0, help="The network's last height; 0: none.")
@founding_options(preset="lan", app="digits:mlp")
def init(home: Home, members: Path, name: str, heights: int, **given: Any) -> None:
    """Found a network: the learner is asked once for its weights, and genesis binds them to the members.

    The founder's home is ready to run; the others join with the line that `p2pfed run` prints.
    """
    if home.genesis.exists():
        raise LocalError(f"{home.path} belongs to a network already; name another folder with --home")
    participants = read_members(members)
    key = load_key(home.key) if home.key.exists() else new_key()
    keys = sorted(participant.key for participant in participants)
    if key.public not in keys:
        where = home.key if home.key.exists() else "a new key"
        raise LocalError(
            f"your own key ({where}) is not among the {len(keys)} members of {members}; "
            f"make it with `p2pfed keys new --home {home.path}` and add the line it prints"
        )
    index, shares = share_of(participants, key.public)
    learner = msgspec.structs.replace(learner_config(given, shares), index=index)
    genesis, model = asyncio.run(
        found_network(
            learner,
            participants,
            name=name,
            time_ms=time.time_ns() // 1_000_000,
            transport=given["transport"],
            params=network_params(given, heights),
        )
    )
    write_home(home, genesis, model, Config(learner=learner), None if home.key.exists() else key)
    click.echo(f"network {name!r} of {len(keys)} members, chain {genesis.chain_id.hex()}", err=True)
    click.echo(f"p2pfed run --home {home.path}")


def read_members(path: Path) -> list[Participant]:
    """Return the members in a file: `KEY [STAKE [BALANCE]] [ROLE]` a line, `#` begins a comment.

    Raises:
        LocalError: A line is no member (names file and line), or the file is no text.
        StorageFault: The file can't be read.
    """
    participants = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        role = next((known for known in ROLES if known == words[-1]), None)
        words = words[:-1] if role else words
        amounts = (*words[1:], *(str(DEFAULT_STAKE), "0")[len(words) - 1 :])
        if not 1 <= len(words) <= 3 or not all(amount.isascii() and amount.isdigit() for amount in amounts):
            raise LocalError(
                f"{path}:{number}: {line.strip()!r} is not KEY [STAKE [BALANCE]] [ROLE], whole numbers and "
                f"{', '.join(ROLES)}; a stake of 0 has an account and no vote"
            )
        key = _key(words[0], f"{path}:{number}")
        participants.append(Participant(key, int(amounts[0]), int(amounts[1]), role or BOTH))
    if not participants:
        raise LocalError(f"{path} names no member; put the line that `p2pfed keys new` prints into it")
    return participants


def _text(path: Path) -> str:
    data = read_small(path) or b""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise LocalError(
            f"{path} is no text; --members takes a file with KEY [STAKE [BALANCE]] [ROLE] a line"
        ) from None


def _key(text: str, where: str) -> bytes:
    public = parse_key(text)
    if public is None:
        raise LocalError(f"{where}: {text!r} is neither a public key (66 hexadecimal digits) nor a peer id")
    return public
