"""Level 1 of the simulator: engines and signer's rules; signatures, values, collecting are oracles."""
