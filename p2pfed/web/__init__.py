"""The local HTTP API of a peer: status and events, on loopback only."""
