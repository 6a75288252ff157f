"""Networks drawn from a seed that real processes can play as well as virtual time."""

from __future__ import annotations

from random import Random

from p2pfed.sim.expect import Expect
from p2pfed.sim.faults import Fault, FaultKind
from p2pfed.sim.scenario import Handed, Scenario

# By signals and forwarders; a kill that ends soon is a restart.
_PERTURBATIONS: tuple[FaultKind, ...] = ("kill", "kill", "pause", "disconnect")
_LIARS = ("", "", "silent", "nil_voter", "sign_flip", "double_vote")
_ROLES = ((), (), ("1:validator",), ("1:trainer",))


def generated_network(seed: int) -> Scenario:
    """Return a network with a topology, stakes, roles and a first height; with liars, lies and perturbations.

    Less than a third of the votes is faulty, and all perturbations end: so it must reach its last height
    without a fork, and convict exactly who voted twice.
    """
    dice = Random(seed)
    peers, liar = dice.randint(4, 7), dice.choice(_LIARS)
    roles = dice.choice(_ROLES) if peers > 4 else ()
    culprits = [peers - 1] if liar == "double_vote" else []
    evidence: tuple[Handed, ...] = ()
    if dice.random() < 0.4 and (not liar or (peers == 7 and not roles)):
        culprits.append(dice.randrange(1, peers - 1))
        evidence = (Handed(culprits[-1], 0, dice.randint(0, 600)),)
    return Scenario(
        about=f"Drawn from seed {seed}.",
        peers=peers,
        heights=dice.randint(30, 50),
        height_first=dice.choice((1, dice.randint(2, 1_000_000))),
        byzantine=(liar,) if liar else (),
        stakes=tuple(dice.randint(20, 24) for _ in range(peers)),
        roles=roles,
        # Who votes twice tells one half of its peers one vote: with few pipes it might have one half only.
        topology=() if liar == "double_vote" else _topology(dice, peers),
        faults=tuple(_perturbation(dice, peers) for _ in range(dice.randint(1, 3))),
        evidence=evidence,
        expect=Expect(convicted=tuple(sorted(culprits))),
        seed=seed,
    )


def _perturbation(dice: Random, peers: int) -> Fault:
    from_ms = dice.randint(300, 3_000)
    return Fault(
        dice.choice(_PERTURBATIONS), from_ms, from_ms + dice.randint(200, 2_500), (dice.randrange(peers),)
    )


def _topology(dice: Random, peers: int) -> tuple[tuple[int, int], ...]:
    """Return who dials whom: nobody in particular, a ring, or a tree with a few pipes more."""
    shape = dice.choice(("all", "all", "ring", "tree"))
    if shape == "all":
        return ()
    if shape == "ring":
        return tuple((peer, (peer + 1) % peers) for peer in range(peers))
    tree = [(peer, dice.randrange(peer)) for peer in range(1, peers)]
    others = [(one, other) for one in range(peers) for other in range(one) if (one, other) not in tree]
    return tuple(sorted(tree + dice.sample(others, min(2, len(others)))))
