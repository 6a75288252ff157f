"""Attackers who fill the address book don't keep a peer from those who are honest."""

from __future__ import annotations

import pytest
from support.eclipse import honest_links


@pytest.mark.parametrize("are_members", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_honest_links_at_least_among_fifty_attackers(seed: int, are_members: bool) -> None:
    first, restarted = honest_links(seed, are_members=are_members, seconds=6)
    assert first >= 2
    assert restarted >= 2
