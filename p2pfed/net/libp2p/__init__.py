"""The transport `libp2p`: the only place that knows Trio and py-libp2p; importing it loads neither."""

from __future__ import annotations

LIBP2P_MISSING = (
    "this network speaks libp2p, which is not installed: run `pip install 'p2pfed[libp2p]'` "
    "(it compiles fastecdsa, so on Debian first `apt-get install gcc libgmp-dev`)"
)
