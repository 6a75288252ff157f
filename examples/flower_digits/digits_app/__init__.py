"""A Flower app that knows nothing of p2pfed."""
