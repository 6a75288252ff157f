"""The pages for people, cut into what a test can compare or run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `mark` is the comment on the line before it, "" where there is none."""

    text: str
    mark: str


def blocks(page: Path, language: str = "sh") -> list[Block]:
    """Return the fenced blocks of a language, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["text"], m["mark"] or "") for m in found if m["language"] == language]


def guide(name: str) -> Path:
    return ROOT / "docs" / "guide" / name


def section(text: str, heading: str) -> str:
    """Return what stands under the line `heading` up to the next heading of its rank or a higher one."""
    rank = len(heading) - len(heading.lstrip("#"))
    _, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert found, f"there is no {heading!r}"
    return re.split(rf"\n#{{1,{rank}}} ", rest, maxsplit=1)[0]


def json_keys(schema: str) -> set[str]:
    """Return the keys that the page of the commands promises for a JSON schema, with `schema` itself."""
    page = section(guide("commands.md").read_text(encoding="utf-8"), "## JSON")
    rows = [line.split("|") for line in page.splitlines() if line.startswith(f"| `{schema}` |")]
    assert rows, f"{schema} is on no page"
    return {"schema"} | {name for row in rows for name in re.findall(r"`(\w+)`", row[3])}


def first_cells(table: str) -> set[str]:
    """Return the code in the first cell of each row."""
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
