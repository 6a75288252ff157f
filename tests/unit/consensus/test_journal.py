"""Every entry of the log comes back as it was, and a stranger finds it where the page says."""

from __future__ import annotations

import msgspec
import pytest
from support.consensus import Committee, Peer

from p2pfed.consensus import io
from p2pfed.consensus.journal import Began, Ended, Entry, Said, decode_entry, encode_entry, input_of
from p2pfed.errors import MalformedMessage

committee = Committee()
header = committee.header()
proposal = committee.proposal(0, header)
prevote = committee.prevote("B", 0, header.value_id)
polka = committee.polka("ABC", 0, header.value_id)

ENTRIES: list[tuple[str, Entry]] = [
    ("began", Began(1, 0, Peer(committee, "A").record)),
    ("began", Began(1, None, None)),
    ("said", Said(proposal)),
    ("said", Said(prevote)),
    ("said", Said(committee.precommit("A", 3, None))),
    ("proposal", io.ProposalReceived(committee.proposal(1, header, 0, polka))),
    ("vote", io.VoteReceived(prevote)),
    ("vote", io.VoteReceived(committee.precommit("C", 0, header.value_id))),
    ("polka", io.PolkaReceived(polka)),
    ("commit", io.CommitReceived(committee.commit("BCD", 0, header.value_id))),
    ("verdict", io.ValueReady(header.value_id, is_valid=False)),
    ("pending", io.ValuePending(header.value_id, 5, 7)),
    ("value", io.LocalValue(0, header)),
    ("collected", io.CollectEnded()),
    ("timeout", io.TimeoutFired("prevote", 2)),
    ("restarted", io.Restarted()),
    ("ended", Ended(9)),
]


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_an_entry_comes_back_as_it_was(kind: str, entry: Entry) -> None:
    name, body = encode_entry(entry)
    assert name == kind
    assert decode_entry(name, body) == entry
    msgspec.msgpack.decode(body)  # Plain msgpack: any reader opens it.


@pytest.mark.parametrize(
    ("kind", "body"),
    [("vote", b"\x05"), ("ended", b"\xcd\x00\x05"), ("ended", b"\x05\x05"), ("verdict", b"\x92\xc4\x00\xc3"),
     ("lied", b"\x05"), ("timeout", b"\x92\xa3now\x00")],
)  # fmt: skip
def test_what_no_log_holds_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_entry(kind, body)


def test_what_we_said_is_heard_as_what_it_is() -> None:
    assert input_of(proposal) == io.ProposalReceived(proposal)
    assert input_of(prevote) == io.VoteReceived(prevote)
