"""The transport `libp2p`: the only place that knows Trio and py-libp2p; importing it loads neither."""
