"""Codec, digests, Merkle trees, keys and fixed-point arithmetic: what every floor above stands on."""
