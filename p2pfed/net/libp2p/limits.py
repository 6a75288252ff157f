"""Limits that only the libp2p transport needs, each with its reason; `net.limits` has what all share."""

from __future__ import annotations

from p2pfed.types.params import KIB, MIB

GREETING_BYTE = 0x13  # Multistream's first byte: the length of "/multistream/1.0.0\n".
TLS_HANDSHAKE_BYTE = 0x16  # A side channel, or the other transport ...
TLS_BYTES = (0x15, TLS_HANDSHAKE_BYTE)  # ... which answers us with an alert.

READ_BYTES_MAX = 1 * MIB  # Nothing honest asks for more at once; a stranger's length prefix may ask for 2^64.
NEGOTIATION_BYTES_MAX = 1 * KIB  # The names of protocols have a dozen characters.
RECEIVE_BYTES = 256 * KIB  # One system call brings four full frames.
WINDOW_BYTES_MAX = 1 * MIB  # One chunk; the library would grow a stream's window to 16 MiB.
BUFFERED_BYTES_MAX = 2 * WINDOW_BYTES_MAX  # An honest peer keeps to the window; the library only warns.
UNSENT_BYTES_MAX = 8 * MIB  # Beyond it a peer floods us with frames that want an answer and reads none.
CONTROL_UNSENT_BYTES = 512 * KIB  # Control frames wait behind at most this much ...
BULK_UNSENT_BYTES = 128 * KIB  # ... and bulk behind less, so control never waits behind bulk.
ANSWERS_AT_ONCE = 2  # Windows in flight to one peer: what a vote finds queued in the peer's kernel.
FRAME_BYTES_MAX = 60 * KIB  # One piece is one yamux frame and one noise message (65,535 with overhead).

STREAMS_SPARE = 8  # Inbound streams beyond requests in flight: control, identify, and those just ending.
INBOX_MESSAGES_MAX = 64  # Control messages read ahead of the owner; then the pipe is not read.
INBOX_BYTES_MAX = 1 * MIB
