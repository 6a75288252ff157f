"""A record counts only as its own key signed it for this network, with addresses that can be dialled."""

from __future__ import annotations

import pytest

from p2pfed.errors import BadSignature, MalformedMessage, OutOfBounds
from p2pfed.gossip.records import verify_record
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.params import ADDRESSES_PER_PEER_MAX
from p2pfed.types.peer import PeerRecord


def test_a_signed_record_gives_its_addresses(keys, make_record, chain_id) -> None:
    record = make_record(keys[0], port=7401)
    assert verify_record(record, chain_id) == (Multiaddr("10.0.0.1", 7401, keys[0].public),)


def test_a_peer_that_nobody_can_dial_may_say_so(keys, make_record, chain_id) -> None:
    assert verify_record(make_record(keys[0], addresses=()), chain_id) == ()


def test_each_field_is_covered_by_the_signature(keys, make_record, chain_id) -> None:
    record = make_record(keys[0], 5)
    spoiled = bytes([record.signature[0] ^ 1]) + record.signature[1:]
    for forged in (
        PeerRecord(record.key, 6, record.addresses, record.signature),
        PeerRecord(record.key, 5, (), record.signature),
        PeerRecord(record.key, 5, record.addresses, spoiled),
    ):
        with pytest.raises(BadSignature):
            verify_record(forged, chain_id)


def test_a_record_of_another_network_does_not_count(keys, make_record, chain_id) -> None:
    with pytest.raises(BadSignature, match="this network"):
        verify_record(make_record(keys[0], chain_id=bytes(32)), chain_id)


def test_an_address_with_another_key_or_none_is_refused(keys, make_record, chain_id) -> None:
    for address in (f"/ip4/10.0.0.1/tcp/1/p2p/{peer_id(keys[1].public)}", "/ip4/10.0.0.1/tcp/1"):
        with pytest.raises(OutOfBounds, match="another peer"):
            verify_record(make_record(keys[0], addresses=(address,)), chain_id)


def test_a_wildcard_is_no_address_to_dial(keys, make_record, chain_id) -> None:
    for host in ("ip4/0.0.0.0", "ip6/::"):
        address = f"/{host}/tcp/7400/p2p/{peer_id(keys[0].public)}"
        with pytest.raises(OutOfBounds, match="not one to dial"):
            verify_record(make_record(keys[0], addresses=(address,)), chain_id)


def test_an_address_that_does_not_parse_is_refused(keys, make_record, chain_id) -> None:
    with pytest.raises(MalformedMessage):
        verify_record(make_record(keys[0], addresses=("/ip4/10.0.0.1/udp/7400",)), chain_id)


def test_as_many_addresses_as_are_allowed_are_let_in(keys, make_record, chain_id) -> None:
    addresses = tuple(
        str(Multiaddr("10.0.0.1", port, keys[0].public)) for port in range(1, 1 + ADDRESSES_PER_PEER_MAX)
    )
    assert len(verify_record(make_record(keys[0], addresses=addresses), chain_id)) == ADDRESSES_PER_PEER_MAX


def test_addresses_are_bounded_even_where_no_decoder_was(keys, make_record, chain_id) -> None:
    address = str(Multiaddr("10.0.0.1", 7400, keys[0].public))
    with pytest.raises(OutOfBounds, match="at most 8"):
        verify_record(make_record(keys[0], addresses=(address,) * (ADDRESSES_PER_PEER_MAX + 1)), chain_id)


def test_a_key_that_is_no_point_is_refused(keys, make_record, chain_id) -> None:
    record = make_record(keys[0], addresses=())
    with pytest.raises(OutOfBounds, match="no public key"):
        verify_record(PeerRecord(b"\x05" * 33, 1, (), record.signature), chain_id)
