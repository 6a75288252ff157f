"""Learners for the libraries that people train with; each heavy import stays behind its own file."""
