"""One peer, silent: `Node.step(event, now_ms) -> effects`, without clock, dice, logs or I/O."""
