"""p2pfed: coordinator-free federated learning with agreement on every aggregated model."""

__version__ = "0.1.0"
