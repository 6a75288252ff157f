"""Codec, digests, Merkle trees and keys: what every floor above stands on."""
