"""The demonstration: a real network with liars on this machine, judged by checks that can fail."""
