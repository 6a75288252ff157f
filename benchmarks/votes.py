"""What a vote costs, from its bytes to the tally, and how long it takes to 32 peers in one process.

    python benchmarks/votes.py [--validators 100] [--runs 5] [--json]

Cost: a node of that many validators is told votes of all, in bytes, as the inbox is told them: decoding,
the check of its spelling, SHA-256, limits, place, signature, tally, and what follows from them.
The parts are measured beside it, each alone. Gossip: 33 nodes in one process with the queues and pipes of the
product (`memory`); one sends a vote to the 32 others, and it is over when the last has counted it. Times are
those of the processor for the cost, of a clock for gossip.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.chain import World
from support.lab import Lab

from p2pfed.consensus.vote_keeper import VoteKeeper
from p2pfed.net.memory import MemoryNetwork
from p2pfed.node.effects import Send
from p2pfed.node.events import MessageReceived
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.keys import has_valid_signature
from p2pfed.runtime.inbox import Inbox
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import ROUNDS_AHEAD_MAX
from p2pfed.types.vote import Precommit, Prevote, Vote
from p2pfed.types.wire import decode_control

GOSSIP_PEERS = 33
VOTE_US_MAX, GOSSIP_MS_MAX = 40, 10


def votes_of(world: World) -> list[Vote]:
    """Return a nil prevote and precommit of every validator for each round that is kept."""
    made: list[Vote] = []
    height, validators = world.state.next_height, world.state.validators.validators
    for round_ in range(ROUNDS_AHEAD_MAX):
        for kind in (Prevote, Precommit):
            for index, validator in enumerate(validators):
                place = (height, round_, None, -1) if kind is Prevote else (height, round_, None)
                made.append(world.sign(kind(*place, index, bytes(64)), world.keys[validator.key]))
    return made


def cost_us(world: World, votes: list[Vote]) -> float:
    """Return the processor time of a vote in a fresh node."""
    lab = Lab(world=world)
    lab.start(connected=len(world.publics) - 1)
    keys = [validator.key for validator in world.state.validators.validators]
    others = [(keys[vote.validator_index], codec.encode(vote)) for vote in votes]
    told = [(peer, data) for peer, data in others if peer != lab.key.public]
    assert lab.node.work is not None
    before, node, now_ms = lab.node.work.engine.votes_held, lab.node, lab.now_ms
    began = time.process_time()
    for peer, data in told:
        node.step(MessageReceived(peer, decode_control(data), len(data), sha256(data)), now_ms)
    took = time.process_time() - began
    assert lab.node.work.engine.votes_held - before >= len(told)
    return took * 1e6 / len(told)


def parts_us(world: World, votes: list[Vote]) -> dict[str, float]:
    """Return what the parts of it cost alone, in us."""
    chain_id, validators = world.genesis.chain_id, world.state.validators
    data = [codec.encode(vote) for vote in votes]
    keys = [validators.validators[vote.validator_index].key for vote in votes]
    digests = [vote.digest(chain_id) for vote in votes]
    keeper = VoteKeeper(validators)

    def alone(work: Callable[[int], object]) -> float:
        began = time.process_time()
        for place in range(len(votes)):
            work(place)
        return round((time.process_time() - began) * 1e6 / len(votes), 1)

    return {
        "decode_us": alone(lambda place: decode_control(data[place])),
        "id_us": alone(lambda place: sha256(data[place])),
        "digest_us": alone(lambda place: votes[place].digest(chain_id)),
        "verify_us": alone(
            lambda place: has_valid_signature(keys[place], digests[place], votes[place].signature)
        ),
        "tally_us": alone(lambda place: keeper.add(votes[place])),
    }


async def gossip_ms(count: int) -> list[float]:
    """Return how long each of some votes took from its author to all the others."""
    world, network = World((10,) * count), MemoryNetwork()
    labs = [Lab(own=index, world=world) for index in range(count)]
    inboxes = [Inbox() for _ in labs]
    transports = [
        network.transport(key=lab.key, chain_id=world.genesis.chain_id, handler=inbox)
        for lab, inbox in zip(labs, inboxes, strict=True)
    ]
    ports = [await transport.listen("127.0.0.1", 0) for transport in transports]
    changed = asyncio.Event()

    async def work(place: int) -> None:
        while True:
            event = await inboxes[place].get()
            for effect in labs[place].node.step(event, labs[place].now_ms):
                if isinstance(effect, Send):
                    for peer in effect.peers:
                        transports[place].send(peer, codec.encode(effect.message))
            changed.set()

    def held() -> list[int]:
        return [lab.node.work.engine.votes_held if lab.node.work else 0 for lab in labs]

    for lab in labs:
        lab.start(connected=0)
    tasks = [asyncio.create_task(work(place)) for place in range(count)]
    for first in range(count):
        for second in range(first):
            await transports[first].dial(Multiaddr("127.0.0.1", ports[second]), timeout_ms=5_000)
    while not all(len(lab.node.neighbours.table.connected_peers()) == count - 1 for lab in labs):
        changed.clear()
        await changed.wait()
    await asyncio.sleep(1)  # What everybody is greeted with has been said.
    took = []
    validators = world.state.validators.validators
    by_key = {lab.key.public: place for place, lab in enumerate(labs)}
    # Less than a third of them, so that nobody leaves its round and speaks itself.
    for vote in [vote for vote in votes_of(world) if vote.round == 0 and vote.validator_index < count // 3]:
        author = by_key[validators[vote.validator_index].key]
        before = held()
        data = codec.encode(vote)
        began = time.perf_counter()
        for place, lab in enumerate(labs):
            if place != author:
                transports[author].send(lab.key.public, data)
        while any(
            now == then for p, (now, then) in enumerate(zip(held(), before, strict=True)) if p != author
        ):
            changed.clear()
            await changed.wait()
        took.append((time.perf_counter() - began) * 1000)
    for task in tasks:
        task.cancel()
    for transport in transports:
        await transport.close()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--validators", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    world = World((10,) * args.validators)
    votes = votes_of(world)
    costs = [cost_us(world, votes) for _ in range(args.runs)]
    row: dict[str, Any] = {"validators": args.validators, "votes": len(votes), "runs": args.runs}
    row |= {"vote_us": round(statistics.median(costs), 1), "vote_us_max": round(max(costs), 1)}
    row |= parts_us(world, votes)
    took = asyncio.run(gossip_ms(GOSSIP_PEERS))
    row |= {"gossip_votes": len(took), "gossip_median_ms": round(statistics.median(took), 2)}
    row |= {"gossip_max_ms": round(max(took), 2)} | machine()
    print(json.dumps({"schema": "p2pfed.votes/1", **row}) if args.json else row)
    return 0 if row["vote_us"] <= VOTE_US_MAX and row["gossip_median_ms"] <= GOSSIP_MS_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
