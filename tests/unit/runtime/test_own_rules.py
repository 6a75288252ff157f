"""Rules of installed packages are found by entry point, and a broken one is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from p2pfed.aggregation import catalogue
from p2pfed.errors import LocalError
from p2pfed.runtime.own_rules import load_own_rules

MODULE = """
from p2pfed.aggregation.rule import Rule, Weighted, has_honest_majority

FIRST = Rule("first_row", "2f < n", has_honest_majority, lambda context: Weighted([1], 1))
KRUM = Rule("krum", "2f < n", has_honest_majority, lambda context: None)
"""


def install(path: Path, entry: str) -> None:
    """Put a package with one entry point on `path`, as pip would."""
    (path / "strange_rules.py").write_text(MODULE)
    info = path / "strange_rules-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-rules\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[p2pfed.rules]\n{entry}\n")


@pytest.fixture
def package_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalogue, "_RULES", dict(catalogue._RULES))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange_rules", raising=False)
    return tmp_path


def test_an_installed_rule_can_be_named(package_path: Path) -> None:
    with pytest.raises(LocalError, match="no aggregation rule 'first_row'"):
        catalogue.verify_rules(["first_row"])
    install(package_path, "first_row = strange_rules:FIRST")
    assert load_own_rules() == ("first_row",)
    catalogue.verify_rules(["nnm+first_row"])


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("lost = strange_rules:LOST", "'lost' .strange_rules:LOST. can't be loaded"),
        ("gone = nowhere_at_all:RULE", "can't be loaded: No module named 'nowhere_at_all'"),
        ("path = strange_rules:MODULE_NAME", "can't be loaded"),
        ("krum = strange_rules:KRUM", "there is an aggregation rule 'krum' already"),
        ("other = strange_rules:FIRST", "'other' .* has the name 'first_row'"),
        ("majority = strange_rules:has_honest_majority", "is a function, not a p2pfed.aggregation.rule.Rule"),
    ],
)
def test_a_broken_rule_is_named(package_path: Path, entry: str, text: str) -> None:
    install(package_path, entry)
    with pytest.raises(LocalError, match=text):
        load_own_rules()
