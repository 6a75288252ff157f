"""The chart is well-formed, whatever is in its labels, and each curve can be told apart without colour."""

from __future__ import annotations

from math import nan
from xml.etree import ElementTree

import pytest

from p2pfed.runtime.demo.chart import HEIGHT, WIDTH, Curve, chart_svg

SVG = "{http://www.w3.org/2000/svg}"


def curves() -> tuple[Curve, ...]:
    return Curve("real network", (0.5, 0.9)), Curve("mean <&>", (0.1, 0.0, 1.0)), Curve("nothing", ())


def test_labels_are_text_and_never_markup() -> None:
    root = ElementTree.fromstring(chart_svg('7 peers, "<script>" & co', curves()))
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text == '7 peers, "<script>" & co'
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert [text for text in texts if ": " in text] == [
        "real network: 0.900",
        "mean <&>: 1.000",
        "nothing: none",
    ]
    assert not list(root.iter(f"{SVG}script"))


def test_points_lie_inside_the_picture_and_better_is_higher() -> None:
    root = ElementTree.fromstring(chart_svg("t", curves()))
    lines = [element.get("points") for element in root.iter(f"{SVG}polyline")]
    points = [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]
    assert [len(line) for line in points] == [2, 3, 0]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for line in points for x, y in line)
    assert points[0][0][1] > points[0][1][1]
    assert points[0][0][0] == points[1][0][0] < points[0][1][0] == points[1][1][0] < points[1][2][0]


def test_curves_differ_in_their_dashes() -> None:
    root = ElementTree.fromstring(chart_svg("t", curves()))
    assert len({line.get("stroke-dasharray") for line in root.iter(f"{SVG}polyline")}) == 3


def test_one_height_and_none_at_all_are_drawn() -> None:
    for figures in ((), (0.3,), tuple(0.01 * step for step in range(100))):
        ElementTree.fromstring(chart_svg("t", (Curve("one", figures),)))


def test_an_axis_of_ones_own_is_written_and_what_lies_beyond_it_stays_at_the_edge() -> None:
    root = ElementTree.fromstring(chart_svg("t", (Curve("one", (1.0, 4.0, 9.0, nan, -1.0)),), "loss <", 4.0))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts[:6] == ["0", "0.8", "1.6", "2.4", "3.2", "4"]
    assert "loss <" in texts
    (line,) = root.iter(f"{SVG}polyline")
    first, *edge, low = (float(pair.split(",")[1]) for pair in line.get("points").split())
    assert edge == [edge[0]] * 3
    assert low - first == pytest.approx((low - edge[0]) / 4, abs=0.1)
