"""A second implementation of `p2pfed verify`; `verify.py` runs alone and imports nothing of p2pfed."""
