"""Learners in worker processes, the data they train on, and the way from arrays to the agreed vector."""
