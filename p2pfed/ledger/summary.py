"""What accounts have, for people: flat rows of whole numbers; keys as in docs/guide/commands.md."""

from __future__ import annotations

from p2pfed.ledger.modules.accounts import Account
from p2pfed.ledger.stake import Stake, new_stake

Row = dict[str, int | bool]


def account_row(account: Account, stake: Stake | None) -> Row:
    """Return what `account` owns and has at stake."""
    return {
        "balance": account.balance,
        **stake_row(stake or new_stake(account.key)),
        "nonce": account.nonce,
    }


def stake_row(stake: Stake) -> Row:
    """Return what one key has at stake. `power` is that of the newest set that is fixed."""
    return {
        "bond": stake.bond,
        "power": stake.power,
        "exiting": stake.exiting,
        "unbonding": stake.total - stake.bond,
        "jailed_at": stake.jailed_at,
        "tombstoned": stake.tombstoned,
    }
