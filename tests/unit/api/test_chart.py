"""A chart of a program has a line for each curve, and says what it can't draw."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import p2pfed


def test_each_curve_has_its_line_its_label_and_its_last_figure() -> None:
    picture = p2pfed.chart({"one": (0.1, 0.25), "two": [3]}, "title", axis="loss", top=4, first=16)
    root = ElementTree.fromstring(picture)
    texts = ["".join(element.itertext()) for element in root]
    assert {"title", "loss", "one: 0.250", "two: 3.000", "16", "17"} <= set(texts)
    assert not {"1", "18"} & set(texts)
    assert picture.count("<polyline") == 2


@pytest.mark.parametrize(
    ("curves", "top", "text"),
    [
        ({}, 1.0, "0 curves; a chart shows 1 to 3"),
        ({str(number): (0.1,) for number in range(4)}, 1.0, "4 curves"),
        ({"one": (0.1,)}, 0.0, "top=0.0: the upper edge of a chart is a number above 0"),
        ({"one": (0.1,)}, float("nan"), "top=nan"),
    ],
)
def test_what_is_no_chart_is_refused(curves: dict[str, tuple[float, ...]], top: float, text: str) -> None:
    with pytest.raises(p2pfed.P2PFedError, match=text):
        p2pfed.chart(curves, top=top)
