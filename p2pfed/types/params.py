"""Every limit of the protocol, each with its reason. What genesis chooses is in `types.genesis`."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20

# --- numbers (spec/numerics.md section 1) ---
COORDINATE_MAX = 32767  # An update element is int16; -32768 is refused so that a sign flip can't overflow.
GROUP_ELEMENTS_MAX = 1 << 22  # 2^22 * 2^30 < 2^52: a group's sum of squares is exact in float64.
MODEL_ELEMENTS_MAX = (1 << 31) - 1
UPDATES_MAX = 512  # Rows of one aggregation; 512 * 2^15 = 2^24: a float32 sum of 0/1 times int16 is exact.
UPDATE_EXPONENT_MIN, UPDATE_EXPONENT_MAX = -8, 30
MODEL_EXPONENT_MIN, MODEL_EXPONENT_MAX = 0, 30
CODEC_ONE_IN_MAX = 4096  # Of so many coordinates a sparse update sends one at least.
OUTER_ONE = 1 << 16  # Momentum and rate of the outer step are in units of 2^-16.
OUTER_RATE_MAX = 1 << 20
NESTEROV = (52429, 45875)  # .8 and .7, what a founder gets; why these two: ADR 15.
EXPONENT_GAP_MAX = 14  # m - e: an update of 2^15 times 2^14 stays below 2^30 in model units.
ARRAYS_MAX = 4096
ARRAY_NAME_MAX = 256
ARRAY_RANK_MAX = 8

# --- stake and sets ---
STAKE_TOTAL_MAX = 1 << 60  # Three times a total still fits 62 bits.
VALIDATORS_MAX = 400
PARTICIPANTS_MAX = 512

# --- messages ---
CONTROL_BYTES_MAX = 256 * KIB  # Hard cap of the control plane; votes never wait behind bulk.
BODY_BYTES_MAX = 4 * MIB
EVIDENCE_BYTES_MAX = 64 * KIB
HEADER_BYTES_MAX = 2 * KIB  # As evidence carries one: thirty fields, most of them digests.
EVIDENCE_PER_BLOCK_MAX = 32
TRANSACTIONS_PER_BLOCK_MAX = 512
TRANSACTION_BYTES_MAX = 512
TRANSACTION_POOL_MAX = 4096
GENESIS_BYTES_MAX = 1 * MIB
PEER_RECORDS_PER_MESSAGE_MAX = 64
ADDRESSES_PER_PEER_MAX = 8
ADDRESS_CHARACTERS_MAX = 256
PEERS_KNOWN_MAX = 1024
BLOCKS_PER_RESPONSE_MAX = 32
PROOF_KEY_BYTES_MAX = 128  # `part/name` of the state: the longest is a public key with its offence.
PROOF_LEAF_BYTES_MAX = 64 * KIB  # The longest leaf of the state is a validator set: 400 entries of 44 bytes.

# --- agreement (spec/consensus.md section 21) ---
ROUNDS_AHEAD_MAX = 8  # Votes of further rounds are dropped; a certificate moves us there instead.
ROUND_MAX = (1 << 32) - 1
HEIGHT_FIRST_MAX = 1 << 40  # Of a network's first block: more than enough stays for those to come.
HEIGHT_MAX = (1 << 63) - 1  # msgpack could hold more; signed 64-bit keeps SQLite and other languages safe.
UPDATE_LAG_MAX = (
    4  # tau: an update trains from the model of one of so many heights before its block, at most.
)
PROPOSER_TABLE_MAX = 1024
INVALID_SIGNATURES_MAX = 3  # Then the connection ends.

# --- staking (spec/ledger.md, S1 to S12); what a network may choose itself is in `types.genesis` ---
EPOCH_HEIGHTS = 64  # Power moves by at most an eighth of the whole an epoch …
CHURN_DENOMINATOR = 8  # … so that who follows by few headers still knows more than a third of the voters.
ACTIVATION_HEIGHTS = 2  # The output of block h is the set of height h + 2.
POWER_CHANGES_MAX = 64  # Of one key in an unbonding period: what is remembered of it stays below a kilobyte.
WITHDRAWALS_MAX = 16  # Of one key at a time; what leaves then waits with the youngest.
MARKS_PER_PERIOD = 64  # The unbonding period is measured in steps of a 64th: so few times are remembered.
UNBONDING_MS = 7 * 24 * 3_600_000  # Until then who signed a false header can still lose its bond for it.
UNBONDING_HEIGHTS = 4096
PRESENCE_HEIGHTS = 100  # A validator that showed no sign of life in more than half of them is jailed.
ABSENCES_MAX = 50
JAIL_HEIGHTS = 10
PAUSE_HEIGHTS = 10  # A trainer whose update was invalid (E5) sits out so long.
SLASH_WINDOW_HEIGHTS = 64  # Who lies within one window lies together (correlated slashing).

# --- contribution (spec/contribution.md) ---
QUALITY_CLASSES_MAX = 64  # Classes that a word on quality tells apart.
QUALITY_WINDOW = 20  # A model is measured against the best of so many heights.
GATE_RETURN_HEIGHTS = 6  # The gate goes back to one of so many: peers keep the models of 8.
GATE_PATIENCE_MAX = 8
EMISSION_MAX = 1 << 40  # Units that a block may create; 2^20 blocks of the most reach the limit of all stake.
SKETCH_BYTES = 256  # 128 sums: the cosine of two vectors that are alike is known to a hundredth.

# --- light clients (spec/light.md) ---
CLOCK_DRIFT_MS = 10_000  # A header may be so far ahead of a light client's clock.

# --- snapshots (spec/consensus.md section 17) ---
PARTS_MAX = 8  # Kinds of a snapshot; four exist, an optimizer's state will be another.
PART_NAME_MAX = 32
PART_BYTES_MAX = 1 << 33  # 2^31 weights of 4 bytes: the largest model.
