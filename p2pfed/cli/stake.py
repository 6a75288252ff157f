"""`p2pfed bond`, `unbond`, `unjail`, `transfer`: signed with the key of a home, sent by its running peer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, TypeVar

import click
import msgspec

from p2pfed.cli.options import home_option, json_option, parse_key
from p2pfed.cli.reading import TIMEOUT_S, api_address, ask_status
from p2pfed.errors import LocalError, UsageError
from p2pfed.primitives import codec
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.api_token import load_token
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.types.params import STAKE_TOTAL_MAX
from p2pfed.types.transaction import Bond, Transaction, Transfer, Unbond, Unjail

F = TypeVar("F", bound=Callable[..., Any])

UNSIGNED = bytes(64)
POLL_S = 0.1
MISSED = 6  # Exit code, as of `watch --until`.

_amount = click.argument("amount", type=click.IntRange(1, STAKE_TOTAL_MAX))


def _sending(function: F) -> F:
    """Add the options of every command that sends a transaction."""
    for option in (
        click.option("--timeout", type=click.FloatRange(0), default=60, show_default=True, metavar="SECONDS",
                     help="Wait so long for the block; 0: send only."),
        click.option("--fee", type=click.IntRange(0, STAKE_TOTAL_MAX), default=0, show_default=True,
                     help="Half of it goes to the proposer, the rest is burned."),
        json_option,
        home_option,
    ):  # fmt: skip
        function = option(function)
    return function


@click.command()
@_amount
@_sending
def bond(amount: int, home: Home, fee: int, **how: Any) -> None:
    """Put AMOUNT of the balance at stake: this peer votes and trains with it, two heights later."""
    _send(home, lambda key, nonce: Bond(key, amount, fee, nonce, UNSIGNED), **how)


@click.command()
@_amount
@_sending
def unbond(amount: int, home: Home, fee: int, **how: Any) -> None:
    """Take AMOUNT of the bond home; with all of it this peer stops voting. It is free after a while."""
    _send(home, lambda key, nonce: Unbond(key, amount, fee, nonce, UNSIGNED), **how)


@click.command()
@_sending
def unjail(home: Home, fee: int, **how: Any) -> None:
    """Vote again after this peer was jailed for being away."""
    _send(home, lambda key, nonce: Unjail(key, fee, nonce, UNSIGNED), **how)


@click.command()
@click.argument("recipient", metavar="KEY")
@_amount
@_sending
def transfer(recipient: str, amount: int, home: Home, fee: int, **how: Any) -> None:
    """Send AMOUNT to KEY, a public key or peer id; a key without an account gets one."""
    public = parse_key(recipient)
    if public is None:
        raise UsageError(f"KEY is a public key (66 hexadecimal digits) or a peer id, not {recipient!r}")
    _send(home, lambda key, nonce: Transfer(key, public, amount, fee, nonce, UNSIGNED), **how)


def _send(home: Home, make: Callable[[bytes, int], Transaction], *, as_json: bool, timeout: float) -> None:
    key, genesis = load_key(home.key), read_genesis(home)
    status = ask_status(home)
    if status is None:
        raise LocalError(
            f"no peer of {home.path} runs that could send it, or its HTTP API is off; "
            "start it with `p2pfed run`"
        )
    nonce = status["account"]["next_nonce"] if status["account"] else 0
    unsigned = make(key.public, nonce)
    signature = key.sign(unsigned.digest(genesis.chain_id))
    transaction = msgspec.structs.replace(unsigned, signature=signature)
    _post(home, codec.encode(transaction))
    kind = type(transaction).__name__.lower()
    account = asyncio.run(_wait(home, nonce, timeout)) if timeout else None
    row = {"schema": "p2pfed.transaction/1", "kind": kind, "nonce": nonce, "final": account is not None}
    if as_json:
        click.echo(json.dumps({**row, "account": account}))
    elif account is not None:
        amounts = ", ".join(f"{name} {account[name]}" for name in ("balance", "bond", "power", "unbonding"))
        click.echo(f"{kind} is final: {amounts}")
    else:
        click.echo(f"{kind} waits for a block; `p2pfed status` shows the account")
    if timeout and account is None:
        raise click.exceptions.Exit(MISSED)


def _post(home: Home, data: bytes) -> None:
    """Hand a transaction to the running peer.

    Raises:
        LocalError: The peer refuses it, in its own words, or is gone.
    """
    address = api_address(home)
    if address is None:
        raise LocalError(f"the peer of {home.path} has just stopped")
    headers = {"authorization": f"Bearer {load_token(home.api_token)}"}
    connection = HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request("POST", "/v1/transactions", data, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        raise LocalError(f"the peer of {home.path} does not answer: {error}") from None
    finally:
        connection.close()
    if response.status != 202:
        raise LocalError(text)


async def _wait(home: Home, nonce: int, timeout_s: float) -> dict[str, Any] | None:
    """Return the account once a block holds the transaction; None where the time is over before."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = ask_status(home)
        if status is not None and status["account"] and status["account"]["nonce"] > nonce:
            account: dict[str, Any] = status["account"]
            return account
        await asyncio.sleep(POLL_S)
    return None
