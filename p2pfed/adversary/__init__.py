"""Liars, one sin per file: each wraps an honest node and speaks over the real wire."""
