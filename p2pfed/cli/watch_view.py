"""What `p2pfed watch` shows on a terminal: the curve, who is connected, and what happened last."""

from __future__ import annotations

import shutil
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from p2pfed.cli.curves import LABEL, curve
from p2pfed.cli.text import printable
from p2pfed.learning.learner import ACCURACY_PUBLIC, LOSS_PUBLIC
from p2pfed.runtime.feed import Entry
from p2pfed.runtime.logs import TextLog, short

HEIGHTS_MAX = 1_000  # Of the curves; older ones leave at the left.
LINES_MAX = 200
_CURVES = (("accuracy", ACCURACY_PUBLIC), ("loss", LOSS_PUBLIC))
_QUIET = frozenset({"height.started", "collect.ended", "round.started", "update.received", "update.made",
                    "proposal.built", "pledges.ended", "model.judged"})  # fmt: skip


class View:
    """Everything that was seen, and how it looks on a terminal of some size.

    One thread reads events while another draws.
    """

    def __init__(self, address: str, target: str = "") -> None:
        self.address, self.target = address, target
        self.height = 0
        self.step = "waits for the first block"
        self.figures: dict[str, dict[int, float]] = {name: {} for _, name in _CURVES}
        self.connected: dict[str, None] = {}
        self.stake = ""
        self.updates = ""
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._text = TextLog(self._lines.append)

    def remember(self, history: dict[str, Any]) -> None:
        """Take over the figures of `/v1/history`: the stream of events begins later than the chain."""
        for height, found in history.get("figures", {}).items():
            for name, values in self.figures.items():
                if name in found:
                    values[int(height)] = float(found[name])

    def take(self, entry: Entry) -> None:
        """Note one event of the peer."""
        with self._lock:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        data = entry.data
        match entry.event:
            case "peer.joined" | "peer.left":
                if entry.event == "peer.joined":
                    self.connected[data["peer"]] = None
                else:
                    self.connected.pop(data["peer"], None)
                self.stake = f"{data['connected_power']} of {data['total_power']} connected"
            case "height.started":
                self.step = f"height {data['height']}: collects updates"
            case "round.started":
                self.step = f"height {data['height']}, round {data['round']}: votes"
            case "block.committed":
                self.height = data["height"]
                self.updates = f"{data['updates']} of {data['expected']}"
                self.step = f"height {data['height']} is final"
            case "block.evaluated":
                for name, values in self.figures.items():
                    if name in data:
                        values[data["height"]] = float(data[name])
                        for old in [height for height in values if height <= data["height"] - HEIGHTS_MAX]:
                            del values[old]
            case "network.finished":
                self.step = "the network has finished"
        if entry.event not in _QUIET:
            self._text(entry)

    def frame(self, width: int, rows: int, *, is_plain: bool = False) -> list[str]:
        """Return the lines of the picture, at most `rows` of at most `width` columns; ASCII if `is_plain`."""
        with self._lock:
            lines = [printable(line)[:width] for line in self._frame(width, rows, is_plain=is_plain)][:rows]
        return [line.encode("ascii", "replace").decode() for line in lines] if is_plain else lines

    def _frame(self, width: int, rows: int, *, is_plain: bool) -> list[str]:
        head = [
            f"p2pfed  {self.address}  height {self.height}"
            + (f"  until {self.target}" if self.target else "")
        ]
        head.append(f"{'step':<{LABEL}}{self.step}")
        names = " ".join(short(peer) for peer in self.connected) or "none"
        head.append(f"{'peers':<{LABEL}}{len(self.connected)} connected: {names}")
        for name, text in (("stake", self.stake), ("updates", self.updates)):
            if text:
                head.append(f"{name:<{LABEL}}{text}")
        drawn = [(title, self.figures[name]) for title, name in _CURVES if self.figures[name]]
        left = rows - len(head) - len(drawn)
        each = max(0, min(8, (left - 4) // len(drawn))) if drawn else 0
        for title, values in drawn:
            newest = max(values)
            head.append(f"{title:<{LABEL}} {values[newest]:.3f} at height {newest}, from {min(values)} on")
            head += curve(values, width, each, is_plain=is_plain)
        return head + list(self._lines)[-max(1, rows - len(head)) :]


def is_wanted(*, is_plain: bool) -> bool:
    """Answer whether the picture can be drawn: standard output is a terminal and lines were not asked for."""
    return not is_plain and sys.stdout.isatty()


@contextmanager
def drawn(view: View) -> Iterator[None]:
    """Draw `view` some times a second while inside; the last picture stays, and the cursor comes back."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    is_plain = not (console.encoding or "").lower().startswith("utf")

    def picture() -> Text:
        size = shutil.get_terminal_size()  # Asked each time: windows are resized.
        lines = view.frame(max(20, size.columns - 1), max(6, size.lines - 2), is_plain=is_plain)
        return Text("\n".join(lines), no_wrap=True, overflow="crop")

    with Live(console=console, get_renderable=picture, refresh_per_second=4, transient=False):
        yield
