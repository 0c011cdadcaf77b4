"""Names for the plain values every file uses, and the limits a value must keep wherever it travels."""

from typing import NewType

Hash32 = NewType("Hash32", bytes)
"""A SHA-256 digest, 32 bytes."""

OrgId = NewType("OrgId", bytes)
"""An organisation for life: the raw Ed25519 public key of its identity, 32 bytes (RFC 8032)."""

NodeKey = NewType("NodeKey", bytes)
"""What an organisation's node signs with and is addressed by (libp2p): a raw Ed25519 public key, 32 bytes.

It may be rotated; which key is whose is on the ledger. An organisation that keeps no cold identity apart has one key,
and then both names are the same bytes."""

Signature = NewType("Signature", bytes)
"""An Ed25519 signature, 64 bytes."""

Height = NewType("Height", int)
View = NewType("View", int)
RequestId = NewType("RequestId", bytes)
"""A data request: the id (32 bytes) of the transaction that published it."""

ZERO_HASH = Hash32(bytes(32))

# Ratios (accuracy, reputation, quality) are integers in millionths, so every machine agrees on them.
MICRO = 1_000_000

# Amounts of tokens and counts of records stay far inside a signed 64-bit integer, sums of them included.
AMOUNT_MAX = 2**53 - 1

# Block times, milliseconds since 1970: a deadline of a year (`transactions.Duration`) after one is an amount too.
TIME_MAX = AMOUNT_MAX - 366 * 86_400_000

# A league of companies; beyond this direct streams to everybody stop being sensible (DESIGN D12).
MEMBERS_MAX = 256
# Votes are O(n^2): 31 seats are 1 890 messages a block, the most that DESIGN D7 allows.
COMMITTEE_MAX = 31

TRANSACTION_BYTES_MAX = 32 * 1024
BLOCK_BYTES_MAX = 4 * 1024 * 1024
BLOCK_TRANSACTIONS_MAX = 4096
# A full-precision ResNet-18 is 45 MB as int32; twice that is the largest model the league carries.
BLOB_BYTES_MAX = 96 * 1024 * 1024
