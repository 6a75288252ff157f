"""What an account has, for people: one flat row of whole numbers."""

from __future__ import annotations

from p2pfed.ledger.modules.accounts import Account
from p2pfed.ledger.stake import Stake, new_stake


def account_row(account: Account, stake: Stake | None) -> dict[str, int | bool]:
    """Return what `account` owns and has at stake; keys as in docs/guide/commands.md."""
    stake = stake or new_stake(account.key)
    return {
        "balance": account.balance,
        "bond": stake.bond,
        "power": stake.power,
        "exiting": stake.exiting,
        "unbonding": stake.total - stake.bond,
        "jailed_at": stake.jailed_at,
        "tombstoned": stake.tombstoned,
        "nonce": account.nonce,
    }
