"""Transports: authenticated pipes between peers, and nothing more."""
