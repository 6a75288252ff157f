"""p2pfed for programs: simulate a network, run a peer, read an agreed model."""
