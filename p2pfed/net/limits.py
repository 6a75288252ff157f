"""What every transport holds a peer to, in one place; tests shorten the times."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.types.params import CONTROL_BYTES_MAX, KIB, MIB

PROTOCOL_VERSION = 1
BULK_PIECE_BYTES = 64 * KIB  # A vote waits behind at most one piece (and what the kernel holds unsent) …
BULK_PIECE_BYTES_MAX = (
    256 * KIB
)  # … which grows to this where a piece leaves within PIECE_MS, and shrinks else.
PIECE_MS = 5
REASON_CHARACTERS_MAX = 200  # A goodbye is one clause.


class Limits(Struct, frozen=True):
    """Limits of one transport. Times in ms; each number carries its reason."""

    handshake_ms: int = 5_000  # A slow loris holds a socket no longer; six trips round the world are 2 s.
    heartbeat_ms: int = 1_000  # Each end says "alive" this often, whatever else it does.
    silence_ms: int = 5_000  # No byte for this long: it is gone. Five heartbeats, so a busy one stays.
    stall_ms: int = 20_000  # It takes none of our bytes for this long: it holds our memory for nothing.
    close_ms: int = 500  # Time to flush a goodbye.
    control_queue_bytes: int = 16 * CONTROL_BYTES_MAX  # 4 MiB: seconds of gossip; then the peer is too slow.
    bulk_queue_bytes: int = 4 * MIB  # No further request of a peer is served while this much waits for it.
    requests_in_flight: int = 16  # Twice the window of chunks a peer is asked for.
    pipes: int = 512  # Each way: strangers who fill the inbound ones can't keep us from dialling.
    pipes_per_address: int = 128  # Inbound, per host: generous to NAT and test clusters, a quarter of all.
    handshakes_per_second: int = 8  # Inbound, per host: who dials all the time costs a few % of a core ...
    handshakes_at_once: int = 128  # ... after so many, for a cluster that starts.
    refused_ms: int = 5_000  # A key that was sent away is not greeted again so soon; the shortest ban.
    keys_refused: int = 1024  # So many are remembered.
    addresses_remembered: int = (
        1024  # Whose handshakes are counted; the one heard of longest ago is forgotten.
    )


DEFAULT_LIMITS = Limits()
