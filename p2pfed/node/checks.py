"""The pure checks of a node, as values: a simulator of many peers remembers what the first of them found."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from p2pfed.chain.check import CheckedBody, Known, check_body
from p2pfed.chain.state import ChainState
from p2pfed.types.block import Body, Header
from p2pfed.types.message import SignatureCheck, SignedMessage

BodyCheck = Callable[[ChainState, Header, Body, Known], CheckedBody]


class Checks(Struct, frozen=True):
    """How signatures of updates and of agreement are checked, and bodies (`chain.check.check_body`).

    Whatever takes their place answers and raises the very same.
    """

    is_signed_by: SignatureCheck = SignedMessage.is_signed_by
    check_body: BodyCheck = check_body


OWN_CHECKS = Checks()  # Of a peer that finds everything out itself, as all do but simulated ones.
