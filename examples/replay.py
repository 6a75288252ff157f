"""For whoever must explain an incident: what was refused, when and why, and what became of the model.

Reads the home of one peer and asks nobody: its log names each refusal and the conviction, its blocks what was
merged by which rule, its disk the models. The peer may be long gone. Writes replay.svg: the score of every
model that is kept, computed anew. Expect each to equal what the peer's log said in its day.

python examples/processes.py && python examples/replay.py processes-net/peer0
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from smart_home import learner

import p2pfed

TOLD = ("update.refused", "peer.equivocated", "peer.slashed")


def log(home: Path) -> list[dict[str, Any]]:
    """Return the events of a peer's log, oldest first."""
    with open(home / "logs" / "peer.log", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def scores(chain: p2pfed.Chain) -> dict[int, float]:
    """Return the error of each model that the disk still has, by height; genesis is height 0."""
    judge, found = learner(p2pfed.AppContext()), {}
    for height in range(chain.height + 1):
        try:
            model = chain.model(height)
        except p2pfed.P2PFedError:
            continue  # Pruned: a peer keeps the newest eight and the first.
        found[height] = judge.evaluate([*model.values()], p2pfed.TrainContext(height, 0, 0))["error"]
    return found


def main(home: Path) -> None:
    """Tell the story of a home, height by height, and draw it."""
    chain, events = p2pfed.open(home), log(home)
    error, logged = scores(chain), {e["height"]: e for e in events if e["event"] == "block.evaluated"}
    print(f"height  0: error {error[0]:.3f}")
    for block in chain.blocks():
        for event in (e for e in events if e["event"] in TOLD and e["height"] == block.height):
            who = event.get("trainer") or event.get("culprit")
            why = event.get("reason") or event["kind"]
            print(f"height {block.height:>2}: {event['event']} …{who[-4:]}: {why}")
        merged = f"{block.updates} updates by {block.rule}" if block.rule else "no new model"
        score = f"error {error[block.height]:.3f}" if block.height in error else "model pruned"
        print(f"height {block.height:>2}: {merged}, {score}, hash {block.hash[:8]}")
    if any(error[height] != logged[height]["error"] for height in error.keys() & logged.keys()):
        sys.exit("replay.py: a model on this disk is not what the log says that it was")
    first = min(height for height in error if error.keys() >= {*range(height, chain.height + 1)})
    curves = {"error of the model on the disk": [error[height] for height in range(first, chain.height + 1)]}
    picture = p2pfed.chart(
        curves, "An incident, from one disk", axis="error in degrees", top=2.5, first=first
    )
    Path("replay.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "processes-net/peer0"))
    except p2pfed.P2PFedError as error:
        sys.exit(f"replay.py: {error}")
