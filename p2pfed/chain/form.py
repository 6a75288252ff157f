"""How a network's updates are spelled, from its genesis."""

from __future__ import annotations

from p2pfed.aggregation.payload import SPARSE, PayloadForm
from p2pfed.errors import LocalError
from p2pfed.types.genesis import Genesis
from p2pfed.types.params import CODEC_ONE_IN_MAX
from p2pfed.types.update import CODECS, CodecName


def payload_form(genesis: Genesis) -> PayloadForm:
    """Return the form of every payload of the network."""
    return PayloadForm(genesis.manifest, genesis.params.codec, genesis.params.codec_one_in)


def parse_codec(text: str) -> tuple[CodecName, int]:
    """Return codec and `one_in` of a text: `int8`, or `rand_k:100` for one coordinate in 100.

    Raises:
        LocalError: There is no such codec, or its number makes no sense.
    """
    name, colon, number = text.partition(":")
    codec = next((known for known in CODECS if known == name), None)
    if codec is None:
        raise LocalError(f"there is no codec {name!r}; choose from {', '.join(CODECS)}")
    if not colon and codec not in SPARSE:
        return codec, 1
    is_number = number.isascii() and number.isdigit() and len(number) <= 4
    if codec not in SPARSE or not (is_number and 2 <= int(number) <= CODEC_ONE_IN_MAX):
        raise LocalError(
            f"codec {text!r}: {' and '.join(SPARSE)} take how many coordinates there are for one that is "
            f"sent, 2 to {CODEC_ONE_IN_MAX}, like rand_k:100; the others take no number"
        )
    return codec, int(number)
