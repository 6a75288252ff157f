"""What a peer keeps on its own disk: blocks, blobs, votes, keys; durable before anyone hears of it."""
