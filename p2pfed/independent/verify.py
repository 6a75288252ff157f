"""Check a peer's home without p2pfed: `python -I verify.py HOME [--deep] [--json]`; exit code 5: damaged.

Written from docs/spec, with msgpack for bytes and ecdsa for signatures, so that a mistake of the main
implementation does not hide itself; one file, so that a stranger can copy and read it. It recomputes hashes,
links, roots, quorums and signatures, and it executes every block on a ledger of its own, whose root must be
the one that the quorum signed. It does not train. With --deep it merges the updates that are kept, in plain
integers, by the rules of MERGES, and says how many heights it could not merge, and why.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import re
import sqlite3
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from math import isqrt
from pathlib import Path
from typing import Any

import msgpack
from ecdsa import BadSignatureError, SECP256k1, VerifyingKey
from ecdsa.errors import MalformedPointError
from ecdsa.util import sigdecode_string

ZEROS = bytes(32)
EMPTY_ROOT = hashlib.sha256(b"").digest()
LEAF_BYTES = 1 << 14
PROPOSER_TABLE_MAX, ROUND_WITHOUT_UPDATES = 1024, 4
EPOCH, WINDOW, JAIL, PAUSE, PRESENCE = 64, 64, 10, 10, 100  # Heights.
SEATS, ACCOUNTS, CHANGES, WITHDRAWALS = 400, 512, 64, 16  # At most so many.
SHARES = {3: 200, 5: 100, 6: 20, 7: 200}  # Offence -> it costs one part in so many.
ORDER = SECP256k1.order

TABLES = {
    "meta": ("name value", (str, bytes), 1),
    "blocks": ("height value_id body_hash header body certificate", (int, *[bytes] * 5), 1),
    "ledgers": ("height ledger", (int, bytes), 1),
    "pending": ("value_id height header body", (bytes, int, bytes, bytes), 1),
    "polkas": ("height round value_id valid_round certificate", (int, int, bytes, int, bytes), 4),
    "blobs": ("height kind root status", (int, str, bytes, str), 3),
    "tallies": ("name count sum", (str, int, bytes), 1),
}
INDEXES = (
    "CREATE INDEX blocks_by_value ON blocks (value_id)",
    "CREATE INDEX blocks_by_body ON blocks (body_hash)",
    "CREATE INDEX blobs_by_root ON blobs (root)",
)
SQL_TYPES = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}
APPLICATION_ID, SCHEMA_VERSION = 0x70326665, 1

HEADER = (
    "version",
    "chain_id",
    "height",
    "round0",
    "time_ms",
    "prev_header_hash",
    "prev_commit_hash",
    "train_index",
    "flags",
    "proposer",
    "seed_reveal",
    "validators_hash",
    "next_validators_hash",
    "params_hash",
    "avail_root",
    "updates_root",
    "rule",
    "exponents_root",
    "aggregate_root",
    "model_root",
    "model_parent",
    "scores_root",
    "transactions_root",
    "receipts_root",
    "state_root",
    "evidence_root",
    "extensions_root",
    "body_hash",
)
# What genesis may leave out, and what it then stands for: not spelled at the end.
CHOICES: dict[str, Any] = {
    "update_lag": 1,
    "outer_momentum": 0,
    "outer_rate": 1 << 16,
    "emission": 0,
    "codec": "int16",
    "codec_one_in": 1,
    "height_first": 1,
    "gate_drop": 0,
    "gate_class_drop": 0,
    "gate_patience": 1,
    "role": "both",
}
PARAMS_LATER = [name for name in CHOICES if name != "role"]
GENESIS: dict[str, Any] = {  # Field -> the fields of an object in it; a tuple for a list of objects.
    **dict.fromkeys(("version", "name", "time_ms", "transport")),
    "params": dict.fromkeys(
        (
            "preset",
            "rules",
            "updates_min",
            "update_bits",
            "examples_cap",
            "height_final",
            "unbonding_ms",
            "unbonding_heights",
            "bond_min",
            *PARAMS_LATER,
        )
    ),
    "participants": (dict.fromkeys(("key", "bond", "balance", "role")),),
    "manifest": {"arrays": (dict.fromkeys(("name", "shape", "dtype", "kind", "nonnegative")),)},
    **dict.fromkeys(("model_root", "update_exponents", "model_exponents", "evaluation_root")),
}


class Damage(Exception):
    """A stored value that can't be right; the two values that disagree."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        super().__init__(what)
        self.what, self.expected, self.found = what, shown(expected), shown(found)


def shown(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 80 else text[:72] + "…"


def same(what: str, expected: object, found: object) -> None:
    if expected != found or type(expected) is not type(found):
        raise Damage(what, expected, found)


def pack(value: object) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def unpack(data: bytes, fields: int, what: str) -> list[Any]:
    """Return the array of `fields` values in `data`, which is its one canonical spelling."""
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, UnicodeError, RecursionError) as error:
        raise Damage(f"{what} does not decode", "msgpack", error) from None
    if not isinstance(value, list) or len(value) != fields:
        raise Damage(f"{what} has another shape", f"{fields} fields", value)
    same(f"{what} is not canonical", pack(value), data)
    return value


def tagged(tag: str, data: bytes) -> bytes:
    return hashlib.sha256(b"p2pfed/1/" + tag.encode() + b"\0" + data).digest()


def merkle(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, from its recursive definition."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + merkle(leaves[:split]) + merkle(leaves[split:])).digest()


def chunk_root(data: bytes) -> bytes:
    return merkle([data[start : start + LEAF_BYTES] for start in range(0, len(data), LEAF_BYTES)])


def opened_root(leaf: bytes, index: int, count: int, path: list[bytes]) -> bytes:
    """The root of the tree of `count` leaves that has `leaf` at `index`, from its recursive definition."""
    if count == 1:
        if path:
            raise Damage("path of a leaf", "shorter", len(path))
        return hashlib.sha256(b"\0" + leaf).digest()
    if not path:
        raise Damage("path of a leaf", "longer", 0)
    split = 1
    while 2 * split < count:
        split *= 2
    if index < split:
        left, right = opened_root(leaf, index, split, path[:-1]), path[-1]
    else:
        left, right = path[-1], opened_root(leaf, index - split, count - split, path[:-1])
    return hashlib.sha256(b"\1" + left + right).digest()


def list_root(values: Sequence[object]) -> bytes:
    return merkle([pack(value) for value in values])


class Signatures:
    """Low-S ECDSA over secp256k1. Certificates are stored twice, so answers are kept."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._keys: dict[bytes, VerifyingKey] = {}
        self._answers: dict[tuple[bytes, bytes, bytes], bool] = {}
        self.count = 0

    def verify(self, who: bytes, kind: str, body: Sequence[object], signature: bytes) -> None:
        digest = tagged("sig/" + kind, self._chain_id + pack(list(body)))
        question = (who, digest, signature)
        if question not in self._answers:
            self._answers[question] = self._holds(*question)
        if not self._answers[question]:
            raise Damage(f"signature of a {kind}", f"one of {who.hex()}", signature)
        self.count += 1

    def _holds(self, who: bytes, digest: bytes, signature: bytes) -> bool:
        if len(signature) != 64 or 2 * int.from_bytes(signature[32:], "big") > ORDER:
            return False
        try:
            if who not in self._keys:
                self._keys[who] = VerifyingKey.from_string(who, curve=SECP256k1)
            return bool(self._keys[who].verify_digest(signature, digest, sigdecode=sigdecode_string))
        except (BadSignatureError, MalformedPointError):
            return False


class Validators:
    """(key, power) pairs in ascending order of key."""

    def __init__(self, pairs: Sequence[Sequence[Any]]) -> None:
        self.pairs = [list(pair) for pair in pairs]
        self.total = sum(power for _, power in self.pairs)
        self.hash = tagged("vals", pack([self.pairs]))

    def key(self, index: int) -> bytes:
        if not 0 <= index < len(self.pairs):
            raise Damage("validator index", f"below {len(self.pairs)}", index)
        key: bytes = self.pairs[index][0]
        return key

    def power(self, key: bytes) -> int:
        return sum(power for of, power in self.pairs if of == key)

    def proposer(self, seed: bytes, height: int, round_: int) -> bytes:
        """Smooth weighted round robin: all gain their power, the richest is picked and pays the total."""
        picks: list[int] = []
        credit = [0] * len(self.pairs)
        for _ in range(min(PROPOSER_TABLE_MAX, 4 * len(self.pairs))):
            credit = [have + power for have, (_, power) in zip(credit, self.pairs, strict=True)]
            richest = max(credit)
            rich = [index for index, have in enumerate(credit) if have == richest]
            chosen = min(rich, key=lambda index: tagged("slot", seed + self.key(index)))
            credit[chosen] -= self.total
            picks.append(chosen)
        return self.key(picks[(height + round_) % len(picks)])


def bits(bitmap: bytes, size: int) -> list[int]:
    found = [index for index in range(8 * len(bitmap)) if bitmap[index // 8] >> (index % 8) & 1]
    if len(bitmap) != (size + 7) // 8 or (found and found[-1] >= size):
        raise Damage("bitmap", f"{size} bits", bitmap)
    return found


def verify_quorum(kind: str, cert: list[Any], validators: Validators, signatures: Signatures) -> None:
    """Check a certificate [tag, height, round, value, (valid round), bitmap, signatures]."""
    *head, bitmap, signed = cert[1:]
    signers = bits(bitmap, len(validators.pairs))
    same("signatures of a certificate", len(signers), len(signed))
    power = sum(validators.pairs[index][1] for index in signers)
    if 3 * power <= 2 * validators.total:
        raise Damage("power behind a certificate", f"more than 2/3 of {validators.total}", power)
    for index, signature in zip(signers, signed, strict=True):
        signatures.verify(validators.key(index), kind, [*head, index], signature)


class Stake:
    """What one key has at stake (S1)."""

    def __init__(self) -> None:
        self.bond = self.exiting = self.since = self.jailed_at = 0
        self.tombstoned = False
        self.missed: set[int] = set()  # Heights mod 100.
        self.powers: list[list[int]] = []  # [from height, power], ascending.
        self.waiting: list[list[int]] = []  # [amount, last height], ascending.

    def power(self, height: int | None = None) -> int:
        known = [power for start, power in self.powers if height is None or start <= height]
        return known[-1] if known else 0

    def leaf(self, key: bytes) -> list[Any]:
        bits = sum(1 << place for place in self.missed).to_bytes((PRESENCE + 7) // 8, "little")
        flags = [self.since, self.jailed_at, self.tombstoned, bits]
        return [key, self.bond, self.exiting, *flags, self.powers, self.waiting]

    def may_serve(self, least: int) -> bool:
        return (self.bond >= least or self.exiting > 0) and not self.tombstoned and not self.jailed_at


class Ledger:
    """Balances, stake, trainers and convictions, as docs/spec/ledger.md has them (L, S)."""

    def __init__(self, genesis: list[Any], chain_id: bytes) -> None:
        self.period_ms, self.period, self.least = genesis[4][6:9]
        self.emission = choice(genesis, "emission")
        self.older = choice(genesis, "update_lag") - 1  # So many models before the last may be trained from.
        self.models: list[list[Any]] = []  # These: [height, root, new models so far].
        first = choice(genesis, "height_first")
        self.seed, self.burned = chain_id, 0
        self.accounts = {key: [balance, 0] for key, _, balance, *_ in genesis[5]}  # [balance, nonce]
        self.stakes: dict[bytes, Stake] = {}
        for key, bond, *_ in genesis[5]:
            if bond:
                self.stakes[key] = Stake()
                self.stakes[key].bond, self.stakes[key].powers = bond, [[first, bond]]
        self.oldest, self.marks = first, list[list[int]]()
        self.only_train = [key for key, _, _, *role in genesis[5] if role == ["trainer"]]
        self.only_vote = [key for key, _, _, *role in genesis[5] if role == ["validator"]]
        self.epochs = self._epochs()  # Of who votes, and of who only trains.
        self.bases: dict[bytes, int] = {}
        self.last_trainers: list[bytes] = []
        self.paused: dict[bytes, int] = {}
        self.convicted: dict[tuple[bytes, int], list[Any]] = {}
        self.standings: dict[bytes, list[int]] = {}  # [earned, last score]
        self.past: list[bytes] = []
        total = sum(bond + balance for _, bond, balance, *_ in genesis[5])
        self.left = (1 << 60) - total if self.emission else 0
        self.gate = [choice(genesis, name) for name in ("gate_drop", "gate_class_drop", "gate_patience")]
        self.window: list[list[Any]] = []  # Good: [height, model root, exponents root, score, shares].
        self.strikes, self.floor = 0, 0
        self.back_to: list[Any] | None = None  # The model that the next block goes back to.

    def validators(self, height: int) -> Validators:
        pairs = self.members(height).pairs
        return Validators([pair for pair in pairs if pair[0] not in self.only_train])

    def members(self, height: int) -> Validators:
        """Everybody with power, to vote or to train."""
        if height < self.oldest:
            raise Damage("validators of a height", f"{self.oldest} at least", height)
        powers = [(key, self.stakes[key].power(height)) for key in sorted(self.stakes)]
        return Validators([pair for pair in powers if pair[1]])

    def may_train(self, key: bytes, height: int) -> bool:
        stake = self.stakes.get(key)
        has_power = stake is not None and stake.power(height) > 0 and not stake.tombstoned
        return has_power and key not in self.only_vote and self.paused.get(key, 0) < height

    def trainers(self, height: int) -> dict[bytes, int]:
        return {key: power for key, power in self.members(height).pairs if self.may_train(key, height)}

    def _epochs(self) -> list[list[int]]:
        """Begin an epoch: [power, added, removed] for the vote, and for who trains without one."""
        powers = {key: stake.power() for key, stake in self.stakes.items()}
        groups = (self.only_train, self.only_vote)
        return [[sum(powers[key] for key in powers if key not in group), 0, 0] for group in groups]

    def convict(self, key: bytes, offence: int, at: int, height: int) -> None:
        """L6: once for each key and kind; lies against agreement cost more where many lie together."""
        voters = self.members(at) if offence in (5, 6) else self.validators(at)
        kind = 1 if offence in (1, 2, 4) else offence
        if (key, kind) in self.convicted:
            raise Damage("a conviction", "the first of its kind", f"E{offence} of {key.hex()} again")
        entry = [key, offence, at, voters.power(key), voters.total, 0]
        self.convicted[key, kind] = entry
        if kind != 1:
            entry[5] = max(1, entry[3] // SHARES[offence])
            self._slash(key, entry[5])
            if offence == 5:
                self.paused[key] = height + PAUSE
            return
        place = (at - 1) // WINDOW
        together = [
            one
            for (_, of), one in sorted(self.convicted.items())
            if of == 1 and (one[2] - 1) // WINDOW == place
        ]
        lying = sum(one[3] for one in together)
        for one in together:
            power, total, paid = one[3:]
            one[5] = max(paid, 1, min(power, max(power // 20, 3 * power * lying // total)))
            self._slash(one[0], one[5] - paid)
        self.stakes[key].tombstoned = True

    def _slash(self, key: bytes, amount: int) -> None:
        stake = self.stakes[key]
        taken = min(amount, stake.bond)
        stake.bond -= taken
        stake.exiting = min(stake.exiting, stake.bond)
        for entry in stake.waiting:
            more = min(amount - taken, entry[0])
            entry[0] -= more
            taken += more
        stake.waiting = [entry for entry in stake.waiting if entry[0]]
        self.burned += taken

    def transact(self, transaction: list[Any], height: int, proposer: bytes) -> None:
        tag, sender, *fields = transaction[:-1]
        fee, nonce = fields[-2:]
        amount = 0 if tag == 18 else fields[-3]
        if sender not in self.accounts:
            raise Damage("sender of a transaction", "an account", sender)
        same("nonce of a transaction", self.accounts[sender][1], nonce)
        cost = fee + (amount if tag in (10, 16) else 0)
        if self.accounts[sender][0] < cost or (tag != 18 and amount + fee == 0):
            raise Damage("cost of a transaction", f"up to {self.accounts[sender][0]}, and something", cost)
        self.accounts[sender] = [self.accounts[sender][0] - cost, nonce + 1]
        if tag == 10:
            recipient = fields[0]
            if recipient not in self.accounts:
                if amount < self.least or len(self.accounts) >= ACCOUNTS:
                    raise Damage("recipient of a transfer", "an account, or enough to open one", recipient)
                try:
                    VerifyingKey.from_string(recipient, curve=SECP256k1)
                except MalformedPointError:
                    raise Damage("recipient of a transfer", "a point of the curve", recipient) from None
                self.accounts[recipient] = [0, 0]
            self.accounts[recipient][0] += amount
        else:
            self._stake(tag, sender, amount, height)
        self.accounts[proposer][0] += fee // 2
        self.burned += fee - fee // 2

    def _stake(self, tag: int, sender: bytes, amount: int, height: int) -> None:
        stake = self.stakes.get(sender) or Stake()
        free = stake.bond - stake.exiting
        if tag == 16:
            is_right = amount > 0 and not stake.tombstoned and stake.bond + amount >= self.least
            stake.bond += amount
        elif tag == 17:
            is_right = 0 < amount <= free and (
                free - amount == 0 or free - amount >= self.least or stake.tombstoned
            )
            stake.exiting += amount
        else:
            is_right = tag == 18 and stake.jailed_at > 0 and height >= stake.jailed_at + JAIL
            stake.jailed_at = 0
        if not is_right:
            raise Damage("a change of stake", "one that the rules allow", [tag, sender, amount])
        stake.since = height
        self.stakes[sender] = stake

    def finish(
        self,
        height: int,
        time_ms: int,
        count: tuple[dict[bytes, int], list[bytes], bool],
        present: set[bytes],
        reward: Reward,
    ) -> None:
        """Note the update set, pay, then jail, move the set, and free what no evidence can reach."""
        bases, counted, is_empty = count
        self.bases.update(bases)
        if not is_empty:
            self.last_trainers = counted
        if self.emission:
            self._pay(reward)
        self._jail(height, present)
        if (height - 1) % EPOCH == 0:
            self.epochs = self._epochs()
        voting = [key for key in sorted(self.stakes) if key not in self.only_train]
        powers = self._powers(voting, self.epochs[0], 0)
        training = sorted(set(self.stakes) - set(voting))
        powers |= self._powers(training, self.epochs[1], sum(powers.values()))
        self._age(height, time_ms)
        for key in sorted(self.stakes):
            self._settle(key, self.stakes[key], powers[key], height)
        for name, entry in list(self.convicted.items()):
            if name[1] != 1 and entry[2] < self.oldest:
                del self.convicted[name]
        self.paused = {key: until for key, until in self.paused.items() if until > height}

    def judge(self, height: int, model: list[Any], voters: list[list[Any]], words: list[Any]) -> None:
        """Q3 to Q8: what the words of a block make of the model of the last one."""
        if not self.gate[0]:
            return
        if self.back_to:
            older = [good for good in self.window if good[0] < self.back_to[0]]
            self.window = [*older, [height, *self.back_to[1:]]][-20:]
            self.strikes, self.back_to, self.floor = 0, None, height
            return
        powers, total = dict(map(tuple, voters)), sum(power for _, power in voters)
        said = [(word[3], powers[word[2]]) for word in words]
        if not model or 3 * sum(power for _, power in said) <= 2 * total:
            return
        score = lower_median(said)
        drop, class_drop, patience = self.gate
        shares = [[word[2], word[4]] for word in words] if class_drop else []
        self.window = [good for good in self.window if good[0] > model[0] - 20]
        best = max(self.window, key=lambda good: (good[3], good[0]), default=None)
        is_worse = best is not None and (
            score << 16 < best[3] * (65536 - drop)
            or any(lost_classes(shares, dict(best[4]), powers, total, class_drop))
        )
        if not is_worse:
            self.window = [*self.window, [*model, score, shares]][-20:]
            self.strikes = 0
            return
        recent = [good for good in self.window if good[0] > model[0] - 6]
        self.strikes += 1
        if recent and self.strikes >= patience:
            self.strikes, self.back_to = 0, max(recent, key=lambda good: (good[3], good[0]))

    def _pay(self, reward: Reward) -> None:
        """K8 to K11: trainers by their scores, voters by their votes, the proposer by what it gathered."""
        pay: Counter[bytes] = Counter()
        whole = sum(reward.trainers.values())
        for key, value in reward.scores.items():
            pay[key] += self.emission * 70 // 100 * reward.trainers[key] * value // (whole << 16)
        for voted, voters in reward.votes:
            power = sum(power for key, power in voters.pairs if key in voted)
            for key in voted:
                pay[key] += self.emission * 20 // 100 * voters.power(key) // (2 * voters.total)
            share = max(0, 3 * power - 2 * voters.total)
            pay[reward.proposer] += self.emission * 5 // 100 * share // (2 * voters.total)
        if pay.total() > self.left:
            pay.clear()
        for key, amount in pay.items():
            if amount:
                self.standings.setdefault(key, [0, 0])[0] += amount
                self.accounts[key][0] += amount
        for key, value in reward.scores.items():
            self.standings.setdefault(key, [0, 0])[1] = value
        self.past = reward.sketches or self.past
        self.left -= pay.total()

    def _jail(self, height: int, present: set[bytes]) -> None:
        for key, stake in self.stakes.items():
            if stake.power(height):
                stake.missed.discard(height % PRESENCE)
                if key not in present and key not in self.only_train:
                    stake.missed.add(height % PRESENCE)
        voting = [key for key in sorted(self.stakes) if self._is_voting(key)]
        for key in list(voting):
            if 2 * len(self.stakes[key].missed) > PRESENCE and len(voting) > 1:
                self.stakes[key].jailed_at, self.stakes[key].missed = height, set()
                voting.remove(key)

    def _is_voting(self, key: bytes) -> bool:
        is_able = self.stakes[key].may_serve(self.least) and self.stakes[key].power() > 0
        return is_able and key not in self.only_train

    def _powers(self, group: list[bytes], epoch: list[int], beside: int) -> dict[bytes, int]:
        """S5, S6: what can't wait at once, the rest as far as the epoch allows, first come first served."""
        stakes, least = {key: self.stakes[key] for key in group}, self.least
        able = [key for key in sorted(stakes) if stakes[key].may_serve(least)]
        powers = {key: min(stakes[key].power(), stakes[key].bond) * (key in able) for key in stakes}
        if not any(powers.values()) and not beside:
            powers = {key: stakes[key].power() for key in stakes}
        wanted = {key: stakes[key].bond - stakes[key].exiting for key in able}
        seated = sorted(able, key=lambda key: (-wanted[key], key))[:SEATS]
        aims = {key: wanted[key] if key in seated and wanted[key] >= least else 0 for key in able}
        queue = sorted(
            (key for key in able if len(stakes[key].powers) < CHANGES),
            key=lambda key: (stakes[key].since, key),
        )
        budget = max(1, epoch[0] // 8)
        for key in queue:
            step = min(powers[key] - aims[key], budget - epoch[2])
            if 0 < step < sum(powers.values()) + beside:
                powers[key] -= step
                epoch[2] += step
        for key in queue:
            step = min(aims[key] - powers[key], budget - epoch[1])
            if step > 0 and (powers[key] or sum(map(bool, powers.values())) < SEATS):
                powers[key] += step
                epoch[1] += step
        return powers

    def _age(self, height: int, time_ms: int) -> None:
        """S9: evidence counts until both periods are over; times are known of some blocks only."""
        last = self.marks[-1] if self.marks else [-(1 << 63), -(1 << 63)]
        if height - last[0] >= max(1, self.period // 64) and time_ms - last[1] >= self.period_ms // 64:
            self.marks.append([height, time_ms])
        over = [at for at, ms in self.marks if at <= height - self.period and ms <= time_ms - self.period_ms]
        if over:
            self.oldest = over[-1] + 1
            self.marks = [mark for mark in self.marks if mark[0] > over[-1]]

    def _settle(self, key: bytes, stake: Stake, power: int, height: int) -> None:
        if power != stake.power():
            stake.powers.append([height + 2, power])
        if not power:
            stake.missed = set()
        leaving = stake.bond - max(power, stake.bond - stake.exiting)
        if leaving > 0:
            stake.bond -= leaving
            stake.exiting = max(0, stake.exiting - leaving)
            if stake.waiting and (len(stake.waiting) == WITHDRAWALS or stake.waiting[-1][1] == height + 1):
                stake.waiting[-1] = [stake.waiting[-1][0] + leaving, height + 1]
            else:
                stake.waiting.append([leaving, height + 1])
        while len(stake.powers) > 1 and stake.powers[1][0] <= self.oldest:
            stake.powers.pop(0)
        if stake.powers and stake.powers[0][0] <= self.oldest and stake.powers[0][1] == 0:
            stake.powers.pop(0)
        self.accounts[key][0] += sum(amount for amount, last in stake.waiting if last < self.oldest)
        stake.waiting = [entry for entry in stake.waiting if entry[1] >= self.oldest]
        if not (stake.bond or stake.waiting or stake.powers or stake.tombstoned):
            del self.stakes[key]

    def restore(self, stored: list[Any]) -> None:
        """Take in a stored ledger."""
        self.seed, (accounts, self.burned), staking, training, convictions, *more = stored
        standings: list[list[Any]]
        standings, self.past, self.left = more[0] if more else ([], [], 0)
        self.window, self.strikes, self.back_to, self.floor = more[1] if more[1:] else ([], 0, None, 0)
        self.standings = {key: [earned, score] for key, earned, score in standings}
        self.accounts = {key: [balance, nonce] for key, balance, nonce in accounts}
        stakes, _, self.oldest, self.marks, epoch, *roles = staking
        if roles:
            self.only_train, self.only_vote, other_epoch = roles[0]
            self.epochs = [epoch, other_epoch]
        else:
            self.only_train, self.only_vote, self.epochs = [], [], [epoch, [0, 0, 0]]
        self.stakes = {}
        for key, bond, exiting, since, jailed_at, tombstoned, missed, powers, waiting in stakes:
            stake = self.stakes[key] = Stake()
            stake.bond, stake.exiting, stake.since, stake.jailed_at = bond, exiting, since, jailed_at
            stake.tombstoned, stake.powers, stake.waiting = tombstoned, powers, waiting
            stake.missed = {place for place in range(PRESENCE) if missed[place // 8] >> place % 8 & 1}
        bases, self.last_trainers, paused, *models = training
        self.models = models[0] if models else []
        self.bases, self.paused = dict(bases), dict(paused)
        self.convicted = {
            (entry[0], 1 if entry[1] in (1, 2, 4) else entry[1]): entry for entry in convictions[0]
        }

    def root(self) -> bytes:
        leaves = {b"seed": self.seed, b"accounts/burned": pack(self.burned)}
        leaves |= {b"accounts/" + key: pack([key, *account]) for key, account in self.accounts.items()}
        leaves |= {b"staking/present": pack([]), b"staking/oldest": pack(self.oldest)}
        leaves |= {b"staking/marks": pack(self.marks), b"staking/epoch": pack(self.epochs[0])}
        if self.only_train or self.only_vote:
            leaves[b"staking/roles"] = pack([self.only_train, self.only_vote, self.epochs[1]])
        leaves |= {b"staking/" + key: pack(stake.leaf(key)) for key, stake in self.stakes.items()}
        leaves |= {b"training/last_trainers": pack(self.last_trainers)}
        leaves |= {b"training/paused": pack([[key, self.paused[key]] for key in sorted(self.paused)])}
        leaves |= {b"training/" + key: pack(base) for key, base in self.bases.items()}
        leaves |= {b"training/bases": pack(self.models)} if self.models else {}
        leaves |= {b"slashing/" + key + bytes([kind]): pack(e) for (key, kind), e in self.convicted.items()}
        paid = [[key, *self.standings[key]] for key in sorted(self.standings)]
        leaves |= pay_leaves(paid, self.past, self.left)
        leaves |= gate_leaves(self.window, self.strikes, self.back_to, self.floor)
        return list_root([[key, leaves[key]] for key in sorted(leaves)])


def pay_leaves(standings: list[list[Any]], past: list[bytes], left: int) -> dict[bytes, bytes]:
    if not (standings or past or left):
        return {}
    leaves = {b"contribution/left": pack(left)}
    leaves |= {b"contribution/past" + struct.pack(">H", at): pack(one) for at, one in enumerate(past)}
    return leaves | {b"contribution/" + standing[0]: pack(standing) for standing in standings}


def gate_leaves(
    window: list[list[Any]], strikes: int, back_to: list[Any] | None, floor: int
) -> dict[bytes, bytes]:
    if [window, strikes, back_to, floor] == [[], 0, None, 0]:
        return {}
    bare = [[*good[:4], []] for good in window]
    leaves = {b"quality/state": pack([bare, strikes, back_to and [*back_to[:4], []], floor])}
    apart = {b"quality/shares" + struct.pack(">H", at): good[4] for at, good in enumerate(window)}
    apart |= {b"quality/back_to": back_to[4]} if back_to else {}
    return leaves | {key: pack(shares) for key, shares in apart.items() if shares}


def lost_classes(
    shares: list[list[Any]], before: dict[bytes, bytes], powers: dict[bytes, int], total: int, class_drop: int
) -> Iterator[bool]:
    """Q6 for each class: whether most of the power that knows it saw more lost than `class_drop`."""
    for place in range(64):
        falls = []
        for sender, classes in shares:
            pair = [*classes[place : place + 1], *before.get(sender, b"")[place : place + 1]]
            if len(pair) == 2 and 255 not in pair:
                falls.append((powers[sender], pair[1] - pair[0] << 16 > class_drop * 254))
        known = sum(power for power, _ in falls)
        yield 3 * known > 2 * total and 2 * sum(power for power, has_fallen in falls if has_fallen) > known


class Reward:
    """Who worked for a block: trainers that might, scores, (who voted, validators) twice, the proposer."""

    def __init__(self, trainers: dict[bytes, int], proposer: bytes) -> None:
        self.trainers, self.proposer = trainers, proposer
        self.scores: dict[bytes, int] = {}
        self.sketches: list[bytes] = []
        self.votes: list[tuple[set[bytes], Validators]] = []


class Chain:
    """The state, replayed from genesis."""

    def __init__(self, genesis: list[Any]) -> None:
        self.chain_id = tagged("genesis", pack(genesis))
        self.params_hash = tagged("params", pack(genesis[4]))
        self.signatures = Signatures(self.chain_id)
        self.first = choice(genesis, "height_first")
        self.height, self.time_ms, self.train_index = self.first - 1, genesis[2], 0
        self.value_id = ZEROS
        self.model_root, self.exponents_root = genesis[7], chunk_root(first_exponents(genesis))
        self.evaluation_root = genesis[10]
        self.form = Form(genesis)
        self.ledger = Ledger(genesis, self.chain_id)
        self.state_roots: dict[int, bytes] = {}
        self.trainer_bonds: list[int] = []  # Of the last block: what f came from.
        self.ages: dict[int, int] = {}  # And how many models older an update of it is, by base height.
        self.scored: list[Any] = []  # And its scores, the bonds of its set, the sketches before.
        self.seed = self.chain_id  # And the seed of the state before it.
        self.is_new = False  # Whether the last block has a new model.

    def validators(self, height: int) -> Validators:
        if height > self.height + 2:
            raise Damage("validators of a height", f"at most {self.height + 2}", height)
        return self.ledger.validators(height)

    def apply(self, height: int, head: dict[str, Any], body: list[Any], cert: list[Any]) -> None:
        """Check one block against the state and move on to it."""
        avails, candidates, updates, transactions, evidence, last_commit = body
        scores = self._scores(head, transactions)
        words = self._words(transactions, bool(scores))
        voters, value_id = self.validators(height), tagged("hdr", pack(list(head.values())))
        self.trainer_bonds = list(self.ledger.trainers(height).values())
        models = [*self.ledger.models, [self.height, self.model_root, self.train_index]]
        self.ages = {base: self.train_index - count for base, _, count in models if base >= self.ledger.floor}
        self.seed = self.ledger.seed
        same("certificate is for", [7, height, value_id], [cert[0], cert[1], cert[3]])
        verify_quorum("precommit", cert, voters, self.signatures)
        if height == self.first:
            same("last commit of the first block", None, last_commit)
        else:
            same("last commit is for", [7, height - 1, self.value_id], [*last_commit[:2], last_commit[3]])
            verify_quorum("precommit", last_commit, self.validators(height - 1), self.signatures)
        convicted = self._convicted(evidence, height)
        times, support = self._availability(height, avails, candidates, voters)
        self._updates(updates, support, voters.total)
        for transaction in transactions[: len(transactions) - len(words) - bool(scores)]:
            kind = {10: "tx", 16: "bond", 17: "unbond", 18: "unjail"}[transaction[0]]
            self.signatures.verify(transaction[1], kind, transaction[1:-1], transaction[-1])
        is_empty = head["rule"] == ""
        if not is_empty and head["round0"] >= ROUND_WITHOUT_UPDATES:
            raise Damage("a model", f"none from round {ROUND_WITHOUT_UPDATES} on", head["round0"])
        expected = {
            "version": 1,
            "chain_id": self.chain_id,
            "height": height,
            "time_ms": max(self.time_ms + 1, median(times, voters)),
            "prev_header_hash": self.value_id,
            "prev_commit_hash": ZEROS if last_commit is None else tagged("commit", pack(last_commit)),
            "train_index": self.train_index + (not is_empty),
            "flags": int(is_empty),
            "proposer": voters.proposer(self.chain_id, height, head["round0"]),
            "seed_reveal": b"",
            "validators_hash": voters.hash,
            "next_validators_hash": self.validators(height + 1).hash,
            "params_hash": self.params_hash,
            "avail_root": list_root(avails),
            "updates_root": list_root(updates),
            "model_parent": self.ledger.back_to[0] if self.ledger.back_to else height - 1,
            "scores_root": list_root(scores[1]) if scores else EMPTY_ROOT,
            "transactions_root": list_root(transactions),
            "receipts_root": list_root([0] * len(transactions)),
            "evidence_root": list_root(evidence),
            "extensions_root": EMPTY_ROOT,
            "body_hash": chunk_root(pack(body)),
        }
        if is_empty:
            expected |= {"exponents_root": self.exponents_root, "aggregate_root": EMPTY_ROOT}
            expected |= {"model_root": self.model_root}
        if self.ledger.back_to:  # Q8: the gate goes back, whatever updates there are.
            _, model_root, exponents_root, _, _ = self.ledger.back_to
            expected |= {"flags": 1, "aggregate_root": EMPTY_ROOT, "train_index": self.train_index}
            expected |= {"model_root": model_root, "exponents_root": exponents_root}
        for name, value in expected.items():
            same(name, value, head[name])
        self._execute(head, body, convicted, scores, words)
        same("state_root", self.ledger.root(), head["state_root"])
        self._advance(head, value_id)

    def begin(self, head: dict[str, Any], cert: list[Any], ledger: bytes) -> None:
        """Start at a snapshot: `ledger` is the one under its state root, its validators signed the block."""
        height, value_id = head["height"], tagged("hdr", pack(list(head.values())))
        same("chain id", self.chain_id, head["chain_id"])
        same("root of the ledger", head["state_root"], ledger_root(ledger))
        self.ledger.restore(unpack_ledger(ledger))
        same("root of the ledger as it is understood", head["state_root"], self.ledger.root())
        self.height = height
        voters = self.validators(height)
        same("validators_hash", voters.hash, head["validators_hash"])
        same("next_validators_hash", self.validators(height + 1).hash, head["next_validators_hash"])
        same("certificate is for", [7, height, value_id], [cert[0], cert[1], cert[3]])
        verify_quorum("precommit", cert, voters, self.signatures)
        self._advance(head, value_id)

    def _advance(self, head: dict[str, Any], value_id: bytes) -> None:
        height = head["height"]
        self.height, self.time_ms, self.train_index = height, head["time_ms"], head["train_index"]
        self.value_id = value_id
        self.model_root, self.exponents_root = head["model_root"], head["exponents_root"]
        self.is_new = head["rule"] != ""
        self.state_roots[height] = head["state_root"]

    def _execute(
        self,
        head: dict[str, Any],
        body: list[Any],
        convicted: list[tuple[bytes, int, int]],
        scores: list[Any],
        words: list[Any],
    ) -> None:
        """L4: seed, evidence, transactions, who sent two updates, update set, then what falls due."""
        avails, _, updates, transactions, _, last_commit = body
        ledger, height, proposer = self.ledger, head["height"], head["proposer"]
        voters = self.validators(height)
        bonds = ledger.trainers(height)
        reward = Reward(bonds, proposer)
        reward.votes.append(({voters.key(entry[0]) for entry in avails}, voters))
        if last_commit is not None:
            last = self.validators(height - 1)
            reward.votes.append(({last.key(index) for index in bits(last_commit[4], len(last.pairs))}, last))
        present = {update[1] for update in updates}.union(*(voted for voted, _ in reward.votes))
        ledger.seed = tagged("seed", ledger.seed + self.value_id)
        for culprit, offence, at in convicted:
            ledger.convict(culprit, offence, at, height)
        for transaction in transactions[: len(transactions) - len(words) - bool(scores)]:
            ledger.transact(transaction, height, proposer)
        merged, dropped = update_set(updates)
        for key in dropped:
            if (key, 6) not in ledger.convicted:
                ledger.convict(key, 6, height, height)
        if head["round0"] >= ROUND_WITHOUT_UPDATES:
            merged = []
        counted = [update[1] for update in merged]
        bases = {key: max(update[2] for update in updates if update[1] == key) for key in counted + dropped}
        if ledger.older:
            ledger.models = [*ledger.models, [self.height, self.model_root, self.train_index]][
                -ledger.older :
            ]
        self.scored = [scores, [bonds[key] for key in counted], ledger.past] if scores else []
        if scores:
            same("scores", len(counted), len(scores[1]))
            reward.scores = dict(zip(counted, (value for value, _ in scores[1]), strict=True))
            reward.sketches = [scores[2], *(one for _, one in scores[1])]
        ledger.finish(height, head["time_ms"], (bases, counted, head["rule"] == ""), present, reward)
        last_voters = self.validators(max(self.height, self.first)).pairs
        model = [self.height, self.model_root, self.exponents_root] if self.is_new else []
        ledger.judge(height, model, last_voters, words)

    def _words(self, transactions: list[Any], has_scores: bool) -> list[Any]:
        """Q2: what validators say of the last model, between the transactions and the scores."""
        words = [transaction for transaction in transactions if transaction[0] == 46]
        end = len(transactions) - has_scores
        same("words on quality after the transactions", words, transactions[end - len(words) : end])
        senders = [word[2] for word in words]
        same("senders of words on quality", sorted(set(senders)), senders)
        if words and not (self.ledger.gate[0] and self.is_new and not self.ledger.back_to):
            raise Damage("words on quality", "none: there is no new model to judge", len(words))
        voters = dict(self.validators(self.height).pairs) if words else {}
        for word in words:
            same("height of a word on quality", self.height, word[1])
            if word[2] not in voters:
                raise Damage("sender of a word on quality", "a validator of the last block", word[2])
            self.signatures.verify(word[2], "quality", word[1:-1], word[-1])
        return words

    def _scores(self, head: dict[str, Any], transactions: list[Any]) -> list[Any]:
        """K12: the scores among the transactions, [] where the block must have none."""
        lists = [transaction for transaction in transactions if transaction[0] == 44]
        if not head["rule"] or not self.ledger.emission:
            same("lists of scores", 0, len(lists))
            return []
        same("list of scores at the end", lists, transactions[-1:])
        _, scores, aggregate = lists[0]
        for value, one in [*scores, [0, aggregate]]:
            if not 0 <= value <= 1 << 16 or len(one) != 256:
                raise Damage("a score", "at most 65536, and a sketch of 256 bytes", [value, one])
        return [44, scores, aggregate]

    def _availability(
        self, height: int, avails: list[Any], candidates: list[bytes], voters: Validators
    ) -> tuple[list[tuple[int, int]], dict[bytes, int]]:
        """Return (time, validator index) of each vote and the power behind each update id."""
        indices = [entry[0] for entry in avails]
        same("order of availability votes", sorted(set(indices)), indices)
        same("order of candidates", sorted(set(candidates)), candidates)
        support = dict.fromkeys(candidates, 0)
        for index, attempt, time_ms, count, bitmap, signature in avails:
            ids = [candidates[place] for place in bits(bitmap, len(candidates))]
            same("count of an availability vote", len(ids), count)
            same("attempt of an availability vote", 0, attempt)
            if time_ms <= self.time_ms:
                raise Damage("time of an availability vote", f"after {self.time_ms}", time_ms)
            list_hash = tagged("list", b"".join(ids))
            body = [height, attempt, index, list_hash, count, time_ms]
            self.signatures.verify(voters.key(index), "avail", body, signature)
            for update_id in ids:
                support[update_id] += voters.pairs[index][1]
        if not all(support.values()):
            raise Damage("candidates", "each in a list", "one in none")
        power = sum(voters.pairs[index][1] for index in indices)
        if 3 * power <= 2 * voters.total:
            raise Damage("power behind the availability votes", f"more than 2/3 of {voters.total}", power)
        return [(entry[2], entry[0]) for entry in avails], support

    def _updates(self, updates: list[Any], support: dict[bytes, int], total: int) -> None:
        ids = [tagged("upd", pack(update[1:-1])) for update in updates]
        same("updates of the block", [u for u, power in sorted(support.items()) if 3 * power > total], ids)
        for update in updates:
            tag, trainer, base_height, base_root, payload_bytes, _, codec, _, signature = update
            roots = {self.height: self.model_root} | {model[0]: model[1] for model in self.ledger.models}
            if base_height not in roots or base_height <= self.ledger.bases.get(trainer, -1):
                raise Damage("base of an update", f"one of {sorted(roots)}, and a newer one", base_height)
            expected = [1, roots[base_height], self.form.length, self.form.number]
            same("fields of an update", expected, [tag, base_root, payload_bytes, codec])
            if not self.ledger.may_train(trainer, self.height + 1):
                raise Damage("trainer of an update", "a member that may train", trainer)
            self.signatures.verify(trainer, "update", update[1:-1], signature)

    def _convicted(self, evidence: list[Any], height: int) -> list[tuple[bytes, int, int]]:
        """Check each proof; return (culprit, offence, height of the lie) of each."""
        encoded = [pack(item) for item in evidence]
        same("order of evidence", sorted(set(encoded)), encoded)
        convicted = []
        for kind, *parts in evidence:
            at = parts[2][1] if kind == 45 else parts[0][2] + 1 if kind in (40, 41) else parts[0][1]
            if not self.ledger.oldest <= at <= height:
                raise Damage("height of evidence", f"{self.ledger.oldest} to {height}", at)
            if kind in (40, 41) and not self.ledger.members(at).power(parts[0][1]):
                raise Damage("trainer that is accused", f"a member of height {at}", parts[0][1])
            if kind == 40:
                self._broken_update(*parts)
                convicted.append((parts[0][1], 5, at))
                continue
            if kind == 45:
                if not self.validators(at).power(parts[0]):
                    raise Damage("signer that is accused", f"a validator of height {at}", parts[0])
                self._attacked(*parts)
                convicted.append((parts[0], 4, at))
                continue
            first, second = parts
            allowed = {11: (4, 5), 12: (8,), 43: (5,), 41: (1,), 42: (2,)}[kind]
            if first[0] not in allowed:
                raise Damage("kind of evidence", f"about {allowed}", first[0])
            if kind == 43:
                same("kind of the later vote", 4, second[0])
                if None in (first[3], second[3]) or not second[4] < first[2] < second[2]:
                    raise Damage("evidence", "a lock forgotten", "none")
            else:
                places = 4 if kind == 42 else 3
                same("place of evidence", first[:places], second[:places])
                if first[places:-1] == second[places:-1] or pack(first) >= pack(second):
                    raise Damage("evidence", "two different messages in order", "none")
            if kind in (11, 12, 43):
                same("culprit of evidence", [first[1], first[-2]], [second[1], second[-2]])
            key = first[1] if kind == 41 else self.validators(at).key(first[3 if kind == 42 else -2])
            names = {1: "update", 2: "avail", 4: "prevote", 5: "precommit", 8: "proposal"}
            for message in (first, second):
                self.signatures.verify(key, names[message[0]], message[1:-1], message[-1])
            convicted.append((key, {11: 1, 43: 2, 12: 3, 41: 6, 42: 7}[kind], at))
        return convicted

    def _attacked(
        self, signer: bytes, header: bytes, vote: list[Any], other: bytes, later: list[Any]
    ) -> None:
        """E4: precommits of two headers that don't go together, or of one that contradicts genesis."""
        heads = []
        for data, signed in ((header, vote), (other, later)):
            if signed is None:
                same("a header without its precommit", b"", data)
                continue
            head = dict(zip(HEADER, unpack(data, len(HEADER), "header of an attack"), strict=True))
            claimed = [head["chain_id"], head["height"], tagged("hdr", data)]
            same("header of an attack", [self.chain_id, signed[1], signed[3]], claimed)
            same("kind of evidence", 5, signed[0])
            self.signatures.verify(signer, "precommit", signed[1:-1], signed[-1])
            heads.append(head)
        if len(heads) == 1:
            if heads[0]["params_hash"] == self.params_hash:
                raise Damage("an attack", "other parameters than those of genesis", "the same")
            return
        first, second = heads
        same("height of an attack", first["height"], second["height"])
        names = ("prev_header_hash", "validators_hash", "next_validators_hash", "params_hash")
        if all(first[name] == second[name] for name in names) or pack(vote) >= pack(later):
            raise Damage("an attack", "two headers that don't go together, in order", "none")

    def _broken_update(self, update: list[Any], index: int, leaf: bytes, path: list[bytes]) -> None:
        """E5: another length or codec than the network's, or a leaf of the payload that no payload has."""
        _, trainer, _, _, payload_bytes, root, codec, *_ = update
        self.signatures.verify(trainer, "update", update[1:-1], update[-1])
        if [payload_bytes, codec] != [self.form.length, self.form.number]:
            same("an opening that nobody needs", [0, b"", []], [index, leaf, path])
            return
        length = min(LEAF_BYTES, payload_bytes - index * LEAF_BYTES)
        same("length of an opened leaf", length, len(leaf))
        count = -(-payload_bytes // LEAF_BYTES)
        same("root of an opened leaf", root, opened_root(leaf, index, count, path))
        if not self.form.is_broken(leaf, index * LEAF_BYTES):
            raise Damage("an opened leaf", "bytes that no payload has", "none")


def choice(genesis: list[Any], name: str) -> Any:
    """What a network chose, or what the absence of a choice stands for."""
    place = 9 + PARAMS_LATER.index(name)
    return genesis[4][place] if place < len(genesis[4]) else CHOICES[name]


def lower_median(values: list[tuple[int, int]]) -> int:
    """The first value, ascending, up to which half of the power lies."""
    passed, whole = 0, sum(power for _, power in values)
    for value, power in sorted(values):
        passed += power
        if 2 * passed >= whole:
            return value
    raise Damage("a median", "of something", [])


def chacha20(key: bytes, size: int) -> bytes:
    """RFC 8439 with a counter and nonce of zero."""

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            words[x] = (words[x] + words[y]) & 0xFFFFFFFF
            mixed = words[z] ^ words[x]
            words[z] = (mixed << by | mixed >> (32 - by)) & 0xFFFFFFFF

    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key)]
    stream = b""
    for counter in range(-(-size // 64)):
        first = [*start, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        words = list(first)
        for _ in range(10):
            for place in range(4):
                quarter(place, place + 4, place + 8, place + 12)
            for place in range(4):
                quarter(place, 4 + (place + 1) % 4, 8 + (place + 2) % 4, 12 + (place + 3) % 4)
        stream += struct.pack("<16I", *((w + f) & 0xFFFFFFFF for w, f in zip(words, first, strict=True)))
    return stream[:size]


class Form:
    """How updates are spelled (numerics N13): scales of blocks and packed values, or few coordinates."""

    def __init__(self, genesis: list[Any]) -> None:
        self.codec, self.one_in = choice(genesis, "codec"), choice(genesis, "codec_one_in")
        names = ("int16", "int8", "int4", "rand_k", "top_k", "sign")
        self.number, self.bits = names.index(self.codec), {"int8": 8, "int4": 4, "sign": 1}.get(self.codec, 0)
        self.groups: list[tuple[int, int]] = []
        start = 0
        for array in genesis[6][0]:
            end = start + elements(array)
            self.groups += [(begin, min(begin + (1 << 22), end)) for begin in range(start, end, 1 << 22)]
            start = end
        self.size = start
        self.scales = (2 if self.bits == 1 else 1) * len(self.blocks(1024))
        self.tops = [(a, b, -(-(b - a) // self.one_in)) for a, b in self.blocks(1 << 16)]
        self.length = {
            "int16": 2 * self.size,
            "rand_k": 2 * len(self.blocks(self.one_in)),
            "top_k": 4 * sum(entries for _, _, entries in self.tops),
        }.get(self.codec, self.scales + -(-self.size * self.bits // 8))

    def blocks(self, most: int) -> list[tuple[int, int]]:
        return [(at, min(at + most, stop)) for start, stop in self.groups for at in range(start, stop, most)]

    def is_broken(self, piece: bytes, offset: int) -> bool:
        """Whether bytes of a payload, of which only these are known, are such that none has them there."""
        places = range(offset, offset + len(piece))
        if not self.bits:
            words = struct.unpack(f"<{len(piece) // 2}h", piece)
            if self.codec != "top_k":
                return -32768 in words
            return self._has_broken_word(words, offset // 2)
        last, spare = self.length - 1, -self.size * self.bits % 8
        for place, byte in zip(places, piece, strict=True):
            if place < self.scales:
                limit = {8: 8, 4: 12}.get(self.bits, 127 if place % 2 else 255)
                if byte > limit:
                    return True
            elif (
                (self.bits == 8 and byte == 128)
                or (self.bits == 4 and 8 in (byte & 15, byte >> 4))
                or (place == last and byte >> (8 - spare))
            ):
                return True
        return False

    def _has_broken_word(self, words: Sequence[int], offset: int) -> bool:
        at = -offset
        for start, stop, entries in self.tops:
            indices = [word & 0xFFFF for word in words[max(at, 0) : max(at + entries, 0)]]
            if any(index >= stop - start for index in indices) or indices != sorted(set(indices)):
                return True
            if -32768 in words[max(at + entries, 0) : max(at + 2 * entries, 0)]:
                return True
            at += 2 * entries
        return False

    def decode(self, data: bytes, seed: bytes) -> list[int]:
        """The update of a payload, whole."""
        if len(data) != self.length or self.is_broken(data, 0):
            raise Damage("a payload", f"{self.length} bytes of {self.codec}", len(data))
        if self.bits:
            return self._packed(data[: self.scales], data[self.scales :])
        words = list(struct.unpack(f"<{len(data) // 2}h", data))
        if self.codec == "int16":
            return words
        update = [0] * self.size
        if self.codec == "rand_k":
            stretches = self.blocks(self.one_in)
            dice = chacha20(tagged("dice", seed + b"rand_k"), 4 * len(stretches))
            drawn = struct.unpack(f"<{len(stretches)}I", dice)
            for (start, stop), word, value in zip(stretches, drawn, words, strict=True):
                update[start + word % (stop - start)] = value
            return update
        at = 0
        for start, _, entries in self.tops:
            values = words[at + entries : at + 2 * entries]
            for index, value in zip(words[at : at + entries], values, strict=True):
                update[start + (index & 0xFFFF)] = value
            at += 2 * entries
        return update

    def _packed(self, scales: bytes, values: bytes) -> list[int]:
        whole, update = int.from_bytes(values, "little"), []
        sizes = struct.unpack(f"<{len(scales) // 2}H", scales) if self.bits == 1 else scales
        for (start, stop), scale in zip(self.blocks(1024), sizes, strict=True):
            part = (whole >> (start * self.bits)) & ((1 << ((stop - start) * self.bits)) - 1)
            for _ in range(start, stop):
                value = part & ((1 << self.bits) - 1)
                part >>= self.bits
                if self.bits == 1:
                    update.append(-scale if value else scale)
                else:
                    update.append((value - (value >> (self.bits - 1) << self.bits)) << scale)
        return update


def first_exponents(genesis: list[Any]) -> bytes:
    """e, m, and the e of older models, as if genesis' model had been there before."""
    groups = [*genesis[8], *genesis[9], *genesis[8] * (choice(genesis, "update_lag") - 1)]
    return struct.pack(f"{len(groups)}b", *groups)


def update_set(updates: list[Any]) -> tuple[list[Any], list[bytes]]:
    """The rows to merge, and who is out for two updates of one base; of several bases the newest counts."""
    places = [(update[1], update[2]) for update in updates]
    dropped = sorted({place[0] for place in places if places.count(place) > 1})
    newest = {update[1]: update for update in sorted(updates, key=lambda update: update[2])}
    return [newest[key] for key in sorted(newest) if key not in dropped], dropped


def elements(array: list[Any]) -> int:
    count = 0 if array[3] == "local" else 1
    for side in array[1]:
        count *= side
    return count


def median(times: list[tuple[int, int]], voters: Validators) -> int:
    power = sum(voters.pairs[index][1] for _, index in times)
    cumulative = 0
    for time_ms, index in sorted(times):
        cumulative += voters.pairs[index][1]
        if 2 * cumulative >= power:
            return time_ms
    raise Damage("availability votes", "some", "none")


def ledger_root(data: bytes) -> bytes:
    """Return the root over the leaves of a stored ledger."""
    seed, accounts, staking, training, slashing, *more = unpack_ledger(data)
    leaves = [(b"seed", seed), (b"accounts/burned", pack(accounts[1]))]
    leaves += [(b"accounts/" + account[0], pack(account)) for account in accounts[0]]
    leaves += [(b"staking/" + stake[0], pack(stake)) for stake in staking[0]]
    names = (b"present", b"oldest", b"marks", b"epoch", b"roles")[: len(staking) - 1]
    leaves += [(b"staking/" + name, pack(value)) for name, value in zip(names, staking[1:], strict=True)]
    leaves += [(b"training/last_trainers", pack(training[1])), (b"training/paused", pack(training[2]))]
    leaves += [(b"training/" + key, pack(base)) for key, base in training[0]]
    leaves += [(b"training/bases", pack(models)) for models in training[3:]]
    for entry in slashing[0]:
        kind = 1 if entry[1] in (1, 2, 4) else entry[1]
        leaves.append((b"slashing/" + entry[0] + bytes([kind]), pack(entry)))
    leaves += list(pay_leaves(*more[0]).items()) if more else []
    leaves += list(gate_leaves(*more[1]).items()) if more[1:] else []
    return list_root([list(leaf) for leaf in sorted(leaves)])


def unpack_ledger(data: bytes) -> list[Any]:
    """A ledger has a sixth part where work is paid or models are judged, and a seventh where they are."""
    parts = data[0] & 15 if data[:1] in (b"\x96", b"\x97") else 5
    return unpack(data, parts, "ledger")


class Report:
    """Problems, and counts of what holds."""

    def __init__(self) -> None:
        self.heights = self.blobs = self.signatures = self.merged = 0
        self.not_merged: Counter[str] = Counter()  # Reason -> heights.
        self.problems: list[dict[str, str]] = []

    def add(self, where: str, what: str, expected: object, found: object) -> None:
        values = {"expected": shown(expected), "found": shown(found)}
        self.problems.append({"where": where, "what": what, **values})

    def guard(self, where: str, check: Callable[[], object]) -> bool:
        """Run a check; answer whether it held. What does not even have the right shape is damage too."""
        try:
            check()
        except Damage as damage:
            self.add(where, damage.what, damage.expected, damage.found)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            self.add(where, "shape", "that of the spec", repr(error))
        except (OSError, sqlite3.Error) as error:
            self.add(where, "can't be read", "bytes", error)
        else:
            return True
        return False


def rows(connection: sqlite3.Connection, name: str, report: Report) -> list[tuple[Any, ...]]:
    """Return the rows of a table whose types and seals hold, ascending by key; compare its tally."""
    columns, types, keys = TABLES[name]
    sound, count, total = [], 0, 0
    names = columns.replace(" ", ", ")
    order = ", ".join(columns.split()[:keys])
    for *row, seal in connection.execute(f"SELECT {names}, seal FROM {name} ORDER BY {order}"):  # noqa: S608
        where = f"{name} {', '.join(shown(value) for value in row[:keys])}"
        if [type(value) for value in row] != list(types):
            report.add(where, "types of the columns", names, [type(value).__name__ for value in row])
            continue
        expected = tagged("row", pack([name, *row]))
        count, total = count + 1, (total + int.from_bytes(expected, "big")) % (1 << 256)
        if seal == expected:
            sound.append(tuple(row))
        else:
            report.add(where, "seal of the row", expected, seal)
    if name != "tallies":
        stated = connection.execute("SELECT count, sum FROM tallies WHERE name = ?", (name,)).fetchone()
        if stated != (count, total.to_bytes(32, "big")):
            report.add(name, "rows lost, changed or too many", stated, count)
    return sound


def verify_database(connection: sqlite3.Connection) -> None:
    for pragma, expected in (("application_id", APPLICATION_ID), ("user_version", SCHEMA_VERSION)):
        same(pragma, expected, connection.execute(f"PRAGMA {pragma}").fetchone()[0])
    same("integrity check", [("ok",)], connection.execute("PRAGMA integrity_check(16)").fetchall())
    wanted = list(INDEXES)
    for name, (columns, types, keys) in TABLES.items():
        names = columns.split()
        typed = ", ".join(
            f"{column} {SQL_TYPES[of]} NOT NULL" for column, of in zip(names, types, strict=True)
        )
        key = ", ".join(names[:keys])
        wanted.append(f"CREATE TABLE {name} ({typed}, seal BLOB NOT NULL, PRIMARY KEY ({key}))")
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql").fetchall()
    same("schema", sorted(wanted), [sql for (sql,) in found])


def verify_log(data: bytes) -> None:
    """Check SQLite's write-ahead log: a damaged frame would silently undo what was committed."""
    if not data:
        return
    magic, _, page, _, *salts = struct.unpack(">6I", data[:24])
    order = {0x377F0682: "<", 0x377F0683: ">"}[magic]

    def add(chunk: bytes, state: tuple[int, int]) -> tuple[int, int]:
        first, second = state
        words = struct.unpack(f"{order}{len(chunk) // 4}I", chunk)
        for place in range(0, len(words), 2):
            first = (first + words[place] + second) % (1 << 32)
            second = (second + words[place + 1] + first) % (1 << 32)
        return first, second

    state = add(data[:24], (0, 0))
    same("checksum of the log", struct.unpack(">2I", data[24:32]), state)
    live, size = True, 24 + page
    for start in range(32, len(data) - size + 1, size):
        frame = data[start : start + size]
        found = list(struct.unpack(">2I", frame[8:16]))
        if live and found == salts:
            state = add(frame[24:], add(frame[:8], state))
            same(f"frame of the log at {start}", struct.unpack(">2I", frame[16:24]), state)
            continue
        live = False
        if found[0] == salts[0] or found[1] == salts[1]:
            raise Damage(f"frame of the log at {start}", salts, found)


def keeps_model(height: int, tip: int) -> bool:
    """Kept: genesis, the last 8 heights, the last 4 multiples of 32."""
    return height == 0 or height > tip - 8 or (height % 32 == 0 and height // 32 > tip // 32 - 4)


def verify_blocks(
    home: Path, chain: Chain, connection: sqlite3.Connection, report: Report, merger: Merger | None
) -> None:
    meta = rows(connection, "meta", report)
    # A store that began with a snapshot says so; without the row its first block is that of genesis.
    base = int.from_bytes(meta.pop(0)[1], "big") if meta and meta[0][0] == "base" else 0
    ledgers = dict(rows(connection, "ledgers", report))
    if meta != [("chain_id", chain.chain_id)]:
        report.add("meta", "chain id", chain.chain_id, meta)
    rows(connection, "tallies", report)
    named = {(0, "model", chain.model_root), (0, "exponents", chain.exponents_root)}
    optional = {(0, "evaluation", chain.evaluation_root)} - {(0, "evaluation", EMPTY_ROOT)}
    tip, whole = (base or chain.first) - 1, True
    for height, value_id, body_hash, *parts in rows(connection, "blocks", report):
        where = f"blocks {height}"
        if height != tip + 1:
            report.add(where, "blocks are missing", tip + 1, height)
            whole = False
        tip = height
        block: list[Any] = []
        if not report.guard(where, lambda: block.extend(decode_block(parts, height, value_id, body_hash))):  # noqa: B023
            whole = False
            continue
        head, body, cert = block
        named |= {(height, "payload", update[5]) for update in body[2]}
        named |= {(height, "model", head["model_root"]), (height, "exponents", head["exponents_root"])}
        if height == base:
            whole = report.guard(where, lambda: chain.begin(head, cert, ledgers[base]))  # noqa: B023
        else:
            whole = whole and report.guard(where, lambda: chain.apply(height, head, body, cert))  # noqa: B023
        if whole and merger is not None:
            if height != base:
                merger.ages, merger.seed = chain.ages, chain.seed
                merger.check(home, head, body[2], chain, report)
            merger.before = head["model_root"], head["exponents_root"]
        if whole:
            report.heights += 1
            if sys.stderr.isatty():
                print(f"block {height} holds", file=sys.stderr)
    wanted = {
        height
        for height in range(max(base, chain.first), tip + 1)
        if keeps_model(height, tip) or height == base
    }
    # A ledger may be missing where the model is recorded as absent: after a rollback.
    blobs = rows(connection, "blobs", report)
    wanted -= {row[0] for row in blobs if row[1:4:2] == ("model", "absent")} - set(ledgers)
    if set(ledgers) != wanted:
        report.add("ledgers", "heights", sorted(wanted), sorted(ledgers))
    for height, data in ledgers.items():
        root = chain.state_roots.get(height)
        report.guard(f"ledgers {height}", lambda: same("root", root, ledger_root(data)))  # noqa: B023
    for value_id, height, *parts in rows(connection, "pending", report):
        report.guard(f"pending {value_id.hex()}", lambda: verify_pending(value_id, height, parts, tip))  # noqa: B023
    for *key, data in rows(connection, "polkas", report):
        report.guard(f"polkas {key[:2]}", lambda: verify_polka(key, data, chain))  # noqa: B023
    verify_blobs(home, named, optional, tip, blobs, report)


# --- merging: rows are lists of integers, fractions are a list of sums and one denominator ---

MERGE_STEPS_MAX = 1 << 26  # n^2 d: about a minute in plain Python. Larger models: `p2pfed verify --deep`.
Row = list[int]


class Rows:
    """Rows as they are added, `scale` times too large, and as measured, before the clip rounded them."""

    def __init__(
        self, added: list[Row], measured: list[Row], scale: int, unit: int, weights: Row | None
    ) -> None:
        self.added, self.measured, self.scale, self.unit, self.weights = added, measured, scale, unit, weights
        self.count = len(added)

    def products(self) -> list[Row]:
        return [[dot(a, b) for b in self.measured] for a in self.measured]

    def distances(self) -> list[Row]:
        table, every = self.products(), range(self.count)
        return [[table[i][i] + table[j][j] - 2 * table[i][j] for j in every] for i in every]

    def average(self, some: Sequence[int]) -> tuple[Row, int]:
        return [sum(column) for column in zip(*(self.added[row] for row in some), strict=True)], len(some)


def dot(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(map(int.__mul__, first, second))


def ranked(keys: Row) -> Row:
    return sorted(range(len(keys)), key=lambda row: (keys[row], row))


def shares(values: Row, whole: int) -> Row:
    total = sum(values)
    result = [value * whole // total for value in values]
    for row in sorted(range(len(values)), key=lambda row: (-(values[row] * whole % total), row)):
        if sum(result) == whole:
            break
        result[row] += 1
    return result


def clipped(rows: Rows, place: int) -> Rows:
    """Shorten rows to the norm that is `place`-th in ascending order."""
    norms = [isqrt(dot(row, row)) for row in rows.measured]
    limit = sorted(norms)[place]
    factors = [1 << 15 if norm <= limit else (limit << 15) // norm for norm in norms]
    measured = [[factor * q for q in row] for factor, row in zip(factors, rows.measured, strict=True)]
    added = [[(value + (1 << 14)) >> 15 for value in row] for row in measured]
    return Rows(added, measured, 1, 1 << 30, rows.weights)


def nearest_mixed(rows: Rows, f: int) -> Rows:
    kept = rows.count - f
    near = [ranked(between)[:kept] for between in rows.distances()]
    added, measured = (
        [[sum(column) for column in zip(*(of[row] for row in some), strict=True)] for some in near]
        for of in (rows.added, rows.measured)
    )
    return Rows(added, measured, rows.scale * kept, rows.unit, None)


def mean(rows: Rows, _f: int) -> tuple[Row, int]:
    if rows.weights is None:
        return rows.average(range(rows.count))
    weights = rows.weights
    return [dot(weights, list(column)) for column in zip(*rows.added, strict=True)], 1 << 30


def ranks(rows: Rows, start: int, stop: int) -> tuple[Row, int]:
    return [sum(sorted(column)[start:stop]) for column in zip(*rows.added, strict=True)], stop - start


def near_median(rows: list[Row], kept: int) -> tuple[Row, int]:
    sums = []
    for column in zip(*rows, strict=True):
        values = sorted(column)
        twice = values[(len(values) - 1) // 2] + values[len(values) // 2]
        sums.append(
            sum(value for _, value in sorted((abs(2 * value - twice), value) for value in values)[:kept])
        )
    return sums, kept


def by_score(between: list[Row], some: Sequence[int], f: int) -> Row:
    scores = [sum(sorted(between[row][other] for other in some)[: len(some) - f]) for row in some]
    return [some[place] for place in ranked(scores)]


def bulyan(rows: Rows, f: int) -> tuple[Row, int]:
    between, left, chosen = rows.distances(), list(range(rows.count)), Row()
    while len(chosen) < rows.count - 2 * f:
        chosen.append(by_score(between, left, f)[0])
        left.remove(chosen[-1])
    return near_median([rows.added[row] for row in chosen], rows.count - 4 * f)


def monna(rows: Rows, f: int) -> tuple[Row, int]:
    between, kept = rows.distances(), rows.count - f
    return rows.average(ranked(between[ranked([sorted(row)[kept - 1] for row in between])[0]])[:kept])


def lengths_from(rows: Rows, weights: Row) -> Row:
    point = [dot(weights, list(column)) for column in zip(*rows.measured, strict=True)]
    return [
        isqrt(sum(((q << 30) - at) ** 2 for q, at in zip(row, point, strict=True))) for row in rows.measured
    ]


def weighed(rows: Rows, weights: Row) -> tuple[Row, int]:
    return [dot(weights, list(column)) for column in zip(*rows.added, strict=True)], 1 << 21


def geometric_median(rows: Rows, _f: int) -> tuple[Row, int]:
    weights = shares([1] * rows.count, 1 << 30)
    for _ in range(8):
        lengths = [max(1, length) for length in lengths_from(rows, weights)]
        weights = shares([(max(lengths) << 30) // length for length in lengths], 1 << 30)
    return weighed(rows, shares(weights, 1 << 21))


def centred_clipping(rows: Rows, _f: int) -> tuple[Row, int]:
    n, one, weights = rows.count, 1 << 30, [0] * rows.count
    for _ in range(3):
        lengths = lengths_from(rows, weights)
        radius = sorted(lengths)[n // 2]
        pulls = [one if length <= radius else radius * one // length for length in lengths]
        rest = n * one - sum(pulls)
        weights = [(w * rest + pull * one) // (n * one) for w, pull in zip(weights, pulls, strict=True)]
    return weighed(rows, shares(weights, sum(weights) >> 9))


def sign_majority(rows: Rows, _f: int) -> tuple[Row, int]:
    square = sorted(dot(row, row) for row in rows.measured)[rows.count // 2]
    step = isqrt((square << 16) // (rows.unit * len(rows.added[0])))
    votes = [sum((q > 0) - (q < 0) for q in column) for column in zip(*rows.added, strict=True)]
    return [step * ((vote > 0) - (vote < 0)) for vote in votes], 1 << 8


PREPARES: dict[str, Callable[[Rows, int], Rows]] = {
    "clip": lambda rows, _f: clipped(rows, rows.count // 2),
    "arc": lambda rows, f: clipped(rows, rows.count - 1 - 2 * f * (rows.count - f) // rows.count),
    "nnm": nearest_mixed,
}
MERGES: dict[str, Callable[[Rows, int], tuple[Row, int]]] = {
    "mean": mean,
    "median": lambda rows, _f: ranks(rows, (rows.count - 1) // 2, rows.count // 2 + 1),
    "trimmed_mean": lambda rows, f: ranks(rows, f, rows.count - f),
    "meamed": lambda rows, f: near_median(rows.added, rows.count - f),
    "krum": lambda rows, f: rows.average(by_score(rows.distances(), range(rows.count), f)[:1]),
    "multi_krum": lambda rows, f: rows.average(
        by_score(rows.distances(), range(rows.count), f)[: rows.count - f]
    ),
    "bulyan": bulyan,
    "monna": monna,
    "geometric_median": geometric_median,
    "centred_clipping": centred_clipping,
    "sign_majority": sign_majority,
}


def sketch_of(chain_id: bytes, groups: list[tuple[int, int]], exponents: Row, vector: Row) -> bytes:
    """K5: 128 sums of signed coordinates in the finest unit, the largest brought to 32767."""
    sums, key = [0] * 128, tagged("signs", chain_id)
    for (start, stop), exponent in zip(groups, exponents, strict=True):
        for at in range(start, stop):
            if at % 256 == 0 or at == start:
                bits = hashlib.sha256(key + struct.pack(">Q", at // 256)).digest()
            sign = -1 if bits[at % 256 // 8] >> at % 8 & 1 else 1
            sums[at % 128] += sign * vector[at] << (max(exponents) - exponent)
    largest = max(map(abs, sums))
    return struct.pack("<128h", *(value * 32767 // largest if largest else 0 for value in sums))


def cosine(inner: int, squares: int) -> int:
    return min(1 << 16, (inner << 16) // isqrt(squares)) if squares else 0


def middle(entries: list[tuple[int, int]], share: int, of: int, whole: int) -> int:
    """The first value, ascending, up to which the weights are `share` of `of` of the whole."""
    ordered = sorted(entries)
    return next(
        value
        for place, (value, _) in enumerate(ordered)
        if of * sum(weight for _, weight in ordered[: place + 1]) >= share * whole
    )


def scores_of(
    chain_id: bytes,
    groups: list[tuple[int, int]],
    updated: Row,
    rows: list[Row],
    ages: list[tuple[int, int]],
    bonds: Row,
    past: list[bytes],
) -> list[Any]:
    """What updates in units of `updated` score, and their sketches (K1 to K7); `ages` as shares."""
    n = len(rows)
    one, whole, finest = 1 << 16, sum(bonds), max(updated)
    units = [
        1 << (finest - e)
        for (start, stop), e in zip(groups, updated, strict=True)
        for _ in range(start, stop)
    ]
    common = [[unit * q for unit, q in zip(units, row, strict=True)] for row in rows]
    near = [[cosine(dot(a, b), dot(a, a) * dot(b, b)) for b in common] for a in common]
    sketches = [sketch_of(chain_id, groups, updated, row) for row in rows]
    replays = []
    for own in (struct.unpack("<128h", of) for of in sketches):
        old = [struct.unpack("<128h", of) for of in past]
        found = [cosine(dot(own, of), dot(own, own) * dot(of, of)) for of in old]
        replays.append(max(found, default=0))
    usual = max(one * 9 // 10, middle(list(zip(replays, bonds, strict=True)), 2, 3, whole))
    scores = []
    for i in range(n):
        others = [(near[i][j], bonds[j]) for j in range(n) if j != i]
        agreed = middle(others, 1, 2, whole - max(bonds)) if others else 0
        fresh = min(one, (one - replays[i]) * one // (one - usual)) if usual < one else one
        worth, of = ages[i]
        scores.append((max(0, agreed - one // isqrt(len(units))) * fresh >> 16) * worth // of)
    cap = middle(list(zip(scores, bonds, strict=True)), 2, 3, whole)
    scores = [min(cap, score) for score in scores]
    pairs = [(i, j) for i in range(n) for j in range(i)]
    weights = [bonds[i] * bonds[j] for i, j in pairs]
    typical = (
        middle([(near[i][j], w) for (i, j), w in zip(pairs, weights, strict=True)], 1, 2, sum(weights))
        if pairs
        else 0
    )
    alike = {i: {i} for i in range(n)}
    for i, j in pairs:
        if near[i][j] > one * 98 // 100 and 10 * (one - near[i][j]) < one - typical:
            both = alike[i] | alike[j]
            alike |= dict.fromkeys(both, both)
    parts = [bond * score for bond, score in zip(bonds, scores, strict=True)]
    shared = [
        score * max(parts[j] for j in alike[i]) // max(1, sum(parts[j] for j in alike[i]))
        for i, score in enumerate(scores)
    ]
    return [[value, of] for value, of in zip(shared, sketches, strict=True)]


class Merger:
    """Merges the updates of heights whose payloads, model and ledger are kept."""

    def __init__(self, genesis: list[Any]) -> None:
        self.bits, self.cap, self.form = genesis[4][3], genesis[4][4], Form(genesis)
        self.momentum, self.rate = choice(genesis, "outer_momentum"), choice(genesis, "outer_rate")
        self.lag = choice(genesis, "update_lag")
        self.before = genesis[7], chunk_root(first_exponents(genesis))
        self.ages: dict[int, int] = {}  # Base height -> how many new models came since.
        self.seed = ZEROS  # Of the state before the block.
        self.groups: list[tuple[int, int, bool, bool]] = []  # Start, stop, must not be negative, a statistic.
        start = 0
        for array in genesis[6][0]:
            end = start + elements(array)
            for begin in range(start, end, 1 << 22):
                self.groups.append((begin, min(begin + (1 << 22), end), array[4], array[3] == "statistic"))
            start = end

    def check(
        self, home: Path, head: dict[str, Any], updates: list[Any], chain: Chain, report: Report
    ) -> None:
        """Merge one height and compare three roots, and the scores where there are any."""
        height, rule = head["height"], head["rule"]
        if not rule:
            return
        merged, _ = update_set(updates)
        why = self._obstacle(rule, len(merged))
        roots = (*self.before, *(update[5] for update in merged))
        blobs = [data for data in (blob(home, root) for root in roots) if data is not None]
        if why or len(blobs) < len(roots):
            report.not_merged[why or "the model before them or a payload is not kept"] += 1
            return
        weights = list(struct.unpack(f"<{len(blobs[0]) // 4}i", blobs[0]))
        exponents = list(struct.unpack(f"{len(blobs[1])}b", blobs[1]))
        rows = [self.form.decode(data, self.seed) for data in blobs[2:]]
        claims = [update[7] for update in merged]
        ages = [self.ages[update[2]] for update in merged]
        found = self._merge(rule, rows, claims, lying(chain.trainer_bonds), weights, exponents, ages)
        report.merged += 1
        if chain.scored:
            claimed, bonds, past = chain.scored
            aggregate = list(struct.unpack(f"<{len(found[0]) // 4}i", found[0]))
            ours = self._scores(chain.chain_id, exponents, rows, ages, aggregate, bonds, past)
            report.guard(f"blocks {height}", lambda: same("scores", ours, claimed))
        for name, root in zip(("aggregate_root", "model_root", "exponents_root"), found, strict=True):
            report.guard(f"blocks {height}", lambda: same(name, chunk_root(root), head[name]))  # noqa: B023

    def _obstacle(self, rule: str, count: int) -> str:
        *before, last = parts_of(rule)
        for part in [part for part in before if part not in PREPARES] + [last] * (last not in MERGES):
            return f"this program has no {part}, which rule {rule} needs; p2pfed verify --deep has it"
        if count * count * self.groups[-1][1] > MERGE_STEPS_MAX:
            return (
                f"{count} updates of {self.groups[-1][1]} elements would take long; use p2pfed verify --deep"
            )
        return ""

    def _merge(
        self, rule: str, rows: list[Row], claims: Row, f: int, weights: Row, exponents: Row, ages: Row
    ) -> tuple[bytes, bytes, bytes]:
        if self.cap:
            claims = [min(claim, self.cap * sorted(claims)[len(claims) // 2]) for claim in claims]
        *before, last = parts_of(rule)
        aggregate, after, velocity, updated, models = Row(), Row(), Row(), Row(), Row()
        weights, speeds = weights[: self.groups[-1][1]], weights[self.groups[-1][1] :]
        for index, (start, stop, positive, is_statistic) in enumerate(self.groups):
            e, m, *older = exponents[index :: len(self.groups)]
            pieces = [
                aligned(row[start:stop], e - older[age - 1]) if age else row[start:stop]
                for row, age in zip(rows, ages, strict=True)
            ]
            peaks = [max(map(abs, piece)) for piece in pieces]
            pieces = [shrunk(piece, age) for piece, age in zip(pieces, ages, strict=True)]
            prepared = Rows(pieces, pieces, 1, 1, shares(claims, 1 << 30))
            for part in before:
                prepared = PREPARES[part](prepared, f)
            sums, den = MERGES[last](prepared, f)
            den = den * prepared.scale << max(0, e - m)
            change = [((value << max(0, m - e)) + den // 2) // den for value in sums]
            speed, taken = speeds[start:stop], change
            if not is_statistic:
                speed, taken = self._outer(speed, change)
            low, high = 0 if positive else 1 - (1 << 31), (1 << 31) - 1
            moved = [min(high, max(low, w + a)) for w, a in zip(weights[start:stop], taken, strict=True)]
            e = self._adapted(e, peaks, f)
            while (max(map(abs, moved + speed)) >= 1 << 29 and m >= 2) or m - e > 14:
                moved, speed, m = [(w + 2) >> 2 for w in moved], [(v + 2) >> 2 for v in speed], m - 2
            aggregate, after, velocity = aggregate + change, after + moved, velocity + speed
            updated.append(e)
            models.append(m)
        past = exponents[: len(self.groups)] + exponents[2 * len(self.groups) :]
        both = [*updated, *models, *past[: len(exponents) - 2 * len(self.groups)]]
        return (
            struct.pack(f"<{len(aggregate)}i", *aggregate),
            struct.pack(f"<{len(after) + len(velocity)}i", *after, *velocity),
            struct.pack(f"{len(both)}b", *both),
        )

    def _scores(
        self,
        chain_id: bytes,
        exponents: Row,
        rows: list[Row],
        ages: Row,
        aggregate: Row,
        bonds: Row,
        past: list[bytes],
    ) -> list[Any]:
        """Return the list of scores that a block must carry."""
        groups = [group[:2] for group in self.groups]
        updated, models = exponents[: len(groups)], exponents[len(groups) : 2 * len(groups)]
        straight = []
        for row, age in zip(rows, ages, strict=True):
            then = exponents[(1 + age) * len(groups) :] if age else updated
            pieces = [aligned(row[a:b], e - old) for (a, b), e, old in zip(groups, updated, then)]  # noqa: B905
            straight.append([q for piece in pieces for q in piece])
        shares = [(self.lag + 1 - age, self.lag + 1) for age in ages]
        scores = scores_of(chain_id, groups, updated, straight, shares, bonds, past)
        return [44, scores, sketch_of(chain_id, groups, models, aggregate)]

    def _outer(self, speed: Row, change: Row) -> tuple[Row, Row]:
        """Nesterov's step with momentum and rate in units of 2^-16; without momentum there is no speed."""
        high, taken = (1 << 31) - 1, change
        if self.momentum:
            kept = [(abs(v) * self.momentum >> 16) * (1 if v > 0 else -1) for v in speed]
            speed = [min(high, max(-high, v + a)) for v, a in zip(kept, change, strict=True)]
            taken = [
                ((a << 16) + v * self.momentum + (1 << 15)) >> 16 for v, a in zip(speed, change, strict=True)
            ]
        return speed, [(a * self.rate + (1 << 15)) >> 16 for a in taken]

    def _adapted(self, e: int, peaks: Row, f: int) -> int:
        k = max(f, (len(peaks) - 1) // 3)
        size = sorted(peaks, reverse=True)[k].bit_length() if k < len(peaks) else 0
        if size > self.bits + 1:
            e -= min(4, size - self.bits)
        elif 0 < size < self.bits - 1:
            e += min(2, self.bits - size)
        return min(30, max(-8, e))


def aligned(row: Row, shift: int) -> Row:
    """A row of an older unit in today's."""
    moved = [q << shift if shift >= 0 else (q + (1 << -shift - 1)) >> -shift for q in row]
    return [max(-32767, min(32767, q)) for q in moved]


def shrunk(row: Row, age: int) -> Row:
    factor = (32768, 23170, 18919, 16384)[age]
    return [(q * factor + (1 << 14)) >> 15 for q in row]


def parts_of(rule: str) -> list[str]:
    return ("clip+nnm+trimmed_mean" if rule == "clip_nnm_trimmed_mean" else rule).split("+")


def lying(bonds: list[int]) -> int:
    """The most trainers whose bonds together are less than a third."""
    return sum(3 * sum(sorted(bonds)[: count + 1]) < sum(bonds) for count in range(len(bonds)))


def blob(home: Path, root: bytes) -> bytes | None:
    try:
        return (home / "data/blobs/sha256" / root.hex()[:2] / root.hex()).read_bytes()
    except FileNotFoundError:
        return None


def decode_block(parts: Sequence[bytes], height: int, value_id: bytes, body_hash: bytes) -> list[Any]:
    head = dict(zip(HEADER, unpack(parts[0], len(HEADER), "header"), strict=True))
    body, cert = unpack(parts[1], 6, "body"), unpack(parts[2], 6, "certificate")
    same("height", height, head["height"])
    same("value id", value_id, tagged("hdr", parts[0]))
    same("body hash", body_hash, head["body_hash"])
    return [head, body, cert]


def verify_pending(value_id: bytes, height: int, parts: Sequence[bytes], tip: int) -> None:
    head = unpack(parts[0], len(HEADER), "header")
    unpack(parts[1], 6, "body")
    same("value id", value_id, tagged("hdr", parts[0]))
    same("height", height, head[HEADER.index("height")])
    same("body hash", head[-1], chunk_root(parts[1]))
    if height <= tip:
        raise Damage("a pending value that is decided", f"above {tip}", height)


def verify_polka(key: Sequence[Any], data: bytes, chain: Chain) -> None:
    polka = unpack(data, 7, "polka")
    same("key", [6, *key], polka[:5])
    if polka[4] >= polka[2]:
        raise Damage("valid round", f"below {polka[2]}", polka[4])
    verify_quorum("prevote", polka, chain.validators(polka[1]), chain.signatures)


def verify_blobs(
    home: Path, named: set[Any], optional: set[Any], tip: int, found: Sequence[Any], report: Report
) -> None:
    stated = {row[:3]: row[3] for row in found}
    for height, kind, root in sorted((named - set(stated)) | (set(stated) - named - optional)):
        report.add(f"blobs {height}, {kind}", "rows", "those that blocks name", root)
    present = set()
    for path in sorted((home / "data/blobs/sha256").glob("*/*")):
        if not re.fullmatch("[0-9a-f]{64}", path.name) or path.name[:2] != path.parent.name:
            report.add(str(path.relative_to(home)), "name", "a root", path.name)
            continue
        present.add(bytes.fromhex(path.name))
        report.guard(str(path.relative_to(home)), lambda: verify_blob(path))  # noqa: B023
        report.blobs += 1
    for (height, kind, root), status in sorted(stated.items()):
        kept = tip - 8 < height if kind == "payload" else keeps_model(height, tip)
        if (status == "held" and not kept) or (status == "pruned" and kept):
            report.add(f"blobs {height}, {kind}", "retention", "kept" if kept else "pruned", status)
        if status == "held" and root not in present and not is_pruned_since(home, height, kind, root):
            report.add(f"blobs {height}, {kind}", "the blob is missing, not pruned", root, "no file")


def is_pruned_since(home: Path, *name: object) -> bool:
    """Answer whether a running peer pruned a blob after our view of its chain began."""
    query = "SELECT status FROM blobs WHERE height = ? AND kind = ? AND root = ?"
    try:
        with closing(reader(home)) as now:
            return bool(now.execute(query, name).fetchone() == ("pruned",))
    except sqlite3.Error:
        return False  # Damage that is reported elsewhere.


def verify_blob(path: Path) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return  # Pruned while we read.
    same("the blob", path.name, chunk_root(data).hex())


def reader(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(home / 'data/chain.db').absolute().as_uri()}?mode=ro", uri=True)


def canonical_json(data: bytes, content: object) -> None:
    same("spelling", (json.dumps(content, indent=2) + "\n").encode(), data)


def verify_small_files(home: Path, chain: Chain, report: Report) -> None:
    checks: dict[str, Callable[[bytes], None]] = {
        "vote_state.json": verify_vote_state,
        "key.json": verify_key,
        "peers.json": lambda data: verify_peers(data, chain.signatures),
    }
    for name, check in checks.items():
        path = home / name
        if path.exists():
            report.guard(name, lambda: check(path.read_bytes()))  # noqa: B023
    key = home / "key.json"
    if key.exists() and key.stat().st_mode & 0o077:
        report.add(key.name, "mode", "600", f"{key.stat().st_mode & 0o777:o}")


def verify_vote_state(data: bytes) -> None:
    record = bytes.fromhex(json.loads(data)["record"])
    checksum = hashlib.sha256(record).hexdigest()
    canonical_json(data, {"version": 1, "record": record.hex(), "checksum": checksum})


def verify_key(data: bytes) -> None:
    secret = bytes.fromhex(json.loads(data)["secret"])
    number = int.from_bytes(secret, "big")
    if not 0 < number < ORDER:
        raise Damage("secret", "a number of the group", "another")
    public = VerifyingKey.from_public_point(SECP256k1.generator * number, SECP256k1).to_string("compressed")
    canonical_json(data, {"version": 1, "public": public.hex(), "secret": secret.hex()})


def verify_peers(data: bytes, signatures: Signatures) -> None:
    listed = [unpack(bytes.fromhex(row["record"]), 5, "peer") for row in json.loads(data)["peers"]]
    listing = [{"addresses": peer[3], "record": pack(peer).hex()} for peer in listed]
    canonical_json(data, {"version": 1, "peers": listing})
    for _, key, sequence, addresses, signature in listed:
        signatures.verify(key, "peer", [key, sequence, addresses], signature)


def genesis_array(shape: Any, value: Any) -> Any:
    """Return JSON data in the order of the spec's fields, with "0x…" as bytes."""
    if isinstance(shape, tuple):
        return [genesis_array(shape[0], item) for item in value]
    if isinstance(shape, dict):
        left_out = {name for name in shape if name in CHOICES and name not in value}
        if set(value) | left_out != set(shape):
            raise KeyError(f"the keys are {sorted(value)} and not {sorted(shape)}")
        given = {name: value.get(name, CHOICES.get(name)) for name in shape}
        names = list(shape)
        while names[-1] in CHOICES and given[names[-1]] == CHOICES[names[-1]]:
            names.pop()
        return [genesis_array(shape[name], given[name]) for name in names]
    is_bytes = isinstance(value, str) and value.startswith("0x")
    return bytes.fromhex(value[2:]) if is_bytes else value


def is_running(home: Path) -> bool:
    try:
        with (home / "LOCK").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def verify(home: Path, deep: bool = False) -> Report:
    """Check everything in `home`; raises OSError, ValueError or KeyError where genesis.json can't be used."""
    report = Report()
    genesis = json.loads((home / "genesis.json").read_bytes())
    if genesis.get("name", "").startswith("0x"):
        raise ValueError("a network's name starts with 0x")
    chain = Chain(genesis_array(GENESIS, genesis))
    database = home / "data/chain.db"
    log = database.with_name("chain.db-wal")
    if log.exists() and not is_running(home):
        report.guard(log.name, lambda: verify_log(log.read_bytes()))
    verify_small_files(home, chain, report)
    if not database.is_file():
        report.add(database.name, "there is no chain", "a file", "nothing")
        return report
    with closing(reader(home)) as connection:
        report.guard(database.name, lambda: connection.execute("PRAGMA cell_size_check = ON"))
        report.guard(database.name, lambda: connection.execute("BEGIN"))
        report.guard(database.name, lambda: verify_database(connection))
        merger = Merger(genesis_array(GENESIS, genesis)) if deep else None
        report.guard(database.name, lambda: verify_blocks(home, chain, connection, report, merger))
    report.signatures = chain.signatures.count
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a p2pfed home without p2pfed.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--deep", action="store_true", help="also merge the updates that are kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        report = verify(arguments.home, arguments.deep)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        print(f"{arguments.home / 'genesis.json'} can't be used: {error}", file=sys.stderr)
        return 3
    counts = {"heights": report.heights, "signatures": report.signatures, "blobs": report.blobs}
    if arguments.deep:
        counts["merged"] = report.merged
    if arguments.json:
        result = {"schema": "p2pfed.verify-independent/1", "sound": not report.problems, **counts}
        if arguments.deep:
            result["not_merged"] = dict(report.not_merged)
        print(json.dumps({**result, "problems": report.problems}))
    else:
        for problem in report.problems:
            print("{where}: {what}: expected {expected}, found {found}".format(**problem))
        for reason, heights in report.not_merged.items():
            print(f"{heights} heights are not merged: {reason}")
        print(", ".join(f"{count} {name}" for name, count in counts.items()), end="; ")
        print(f"{len(report.problems)} problems" if report.problems else "everything holds")
    return 5 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
