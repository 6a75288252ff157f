"""Who votes and who trains, as founders and scenarios spell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from p2pfed.errors import UsageError
from p2pfed.types.genesis import BOTH, Role

ROLES: tuple[Role, ...] = get_args(Role)


def parse_roles(texts: Sequence[str], members: int) -> tuple[Role, ...]:
    """Return the role of each member: COUNT:ROLE is dealt from the first on, who is left does both.

    Args:
        texts: Such as `64:validator` and then `128:trainer`.
        members: How many there are.

    Raises:
        UsageError: A count or role that makes no sense, or more roles than members.
    """
    roles: list[Role] = []
    for text in texts:
        count, _, name = text.partition(":")
        role = next((known for known in ROLES if known == name), None)
        if role is None or not (count.isascii() and count.isdigit() and 0 < int(count) <= members):
            raise UsageError(f"a role is COUNT:ROLE, one of {', '.join(ROLES)}, not {text!r}")
        roles.extend([role] * int(count))
    if len(roles) > members:
        raise UsageError(f"{len(roles)} roles for {members} members")
    return (*roles, *(BOTH,) * (members - len(roles)))
