"""The options that say what a new network is: model, data, rules, end. Shared by init, testnet and demo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from p2pfed.chain.form import parse_codec
from p2pfed.errors import UsageError
from p2pfed.learning.apps import FLOWER
from p2pfed.runtime.config import LearnerConfig
from p2pfed.types.genesis import Params
from p2pfed.types.params import (
    EMISSION_MAX,
    GATE_PATIENCE_MAX,
    HEIGHT_FIRST_MAX,
    NESTEROV,
    OUTER_ONE,
    OUTER_RATE_MAX,
    UNBONDING_HEIGHTS,
    UPDATE_LAG_MAX,
)
from p2pfed.types.quality import QUALITY_ONE

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_RULES = "clip_nnm_trimmed_mean"


def founding_options(preset: str, app: str) -> Callable[[F], F]:
    """Add the options of a founder; `preset` and `app` are the defaults."""
    options = (
        click.option("--app", default=app, show_default=True, help="Learner: digits:mlp, my_file.py:name."),
        click.option("--flower", default="", metavar="MODULE:APP",
                     help="An unmodified Flower ClientApp in place of --app: my_app.client_app:app."),
        click.option("--data-dir", default="", help="Folder of a data set that does not ship, e.g. MNIST."),
        click.option("--partition", default="iid", show_default=True,
                     help="How shipped data is split: iid, dirichlet:1.0, label:2, gamma:0.5."),
        click.option("--param", "learner_params", multiple=True, metavar="KEY=VALUE",
                     help="A setting of the learner, e.g. lr=0.2."),
        click.option("--rules", default=DEFAULT_RULES, show_default=True,
                     help="Aggregation rules, tried in this order, separated by commas."),
        click.option("--preset", type=click.Choice(["local", "lan", "wan"]), default=preset,
                     show_default=True, help="Timeouts."),
        click.option("--transport", type=click.Choice(["tcp", "libp2p"]), default="tcp", show_default=True),
        click.option("--updates-min", type=click.IntRange(1), default=1, show_default=True,
                     help="Fewer updates than this: the height carries no new model."),
        click.option("--update-lag", type=click.IntRange(1, UPDATE_LAG_MAX), default=1, show_default=True,
                     help="An update may be from the model of up to so many heights before its block."),
        click.option("--codec", default="int16", show_default=True, metavar="CODEC[:N]",
                     help="How updates are spelled: int16, int8, int4, sign, rand_k:N, top_k:N."),
        click.option("--outer", default="nesterov", show_default=True, metavar="OFF|MOMENTUM,RATE",
                     help="Momentum over heights; nesterov: 0.8,0.7."),
        click.option("--emission", type=click.IntRange(0, EMISSION_MAX), default=0, show_default=True,
                     help="The most new stake that a block pays for work; 0: nobody is paid."),
        click.option("--gate", default="off", show_default=True, metavar="OFF|DROP[,CLASS[,PATIENCE]]",
                     help="Go back from a model that loses so much of the best score, or of one class."),
        click.option("--unbonding", default="7d", show_default=True, metavar="TIME",
                     help="Stake taken home can be lost for so long after its last vote: 90s, 30m, 12h, 7d."),
        click.option("--unbonding-heights", type=click.IntRange(4, 1 << 32), default=UNBONDING_HEIGHTS,
                     show_default=True, help="And for so many heights."),
        click.option("--bond-min", type=click.IntRange(1), default=1, show_default=True,
                     help="Less stake than this neither votes nor trains."),
        click.option("--first-height", type=click.IntRange(1, HEIGHT_FIRST_MAX), default=1, show_default=True,
                     help="Of the first block, where the numbers of an older network go on."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                     help="Dice of data split, initial weights and training."),
    )  # fmt: skip

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def founding_defaults(preset: str, app: str) -> dict[str, Any]:
    """Return what the founding options stand for where nobody names them."""

    def founder(**_: Any) -> None:
        """Carries the options."""

    command = click.command(founding_options(preset, app)(founder))
    return dict(command.make_context("", []).params)


def learner_config(given: dict[str, Any], peers: int) -> LearnerConfig:
    """Return the learner that the founding options name."""
    params = {}
    for text in given["learner_params"]:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UsageError(f"--param takes KEY=VALUE, not {text!r}")
        params[key] = value
    return LearnerConfig(
        app=f"{FLOWER}{given['flower']}" if given["flower"] else given["app"],
        peers=peers,
        partition=given["partition"],
        seed=given["seed"],
        data_dir=given["data_dir"],
        params=params,
    )


def network_params(given: dict[str, Any], height_final: int) -> Params:
    """Return the parameters of genesis that the founding options name."""
    codec, one_in = parse_codec(given["codec"])
    gate_drop, gate_class_drop, gate_patience = parse_gate(given["gate"])
    return Params(
        preset=given["preset"],
        rules=tuple(rule.strip() for rule in given["rules"].split(",") if rule.strip()),
        updates_min=given["updates_min"],
        update_bits=12,
        examples_cap=4,
        height_final=height_final,
        unbonding_ms=parse_period_ms(given["unbonding"]),
        unbonding_heights=given["unbonding_heights"],
        bond_min=given["bond_min"],
        update_lag=given["update_lag"],
        outer_momentum=parse_outer(given["outer"])[0],
        outer_rate=parse_outer(given["outer"])[1],
        emission=given["emission"],
        codec=codec,
        codec_one_in=one_in,
        height_first=given["first_height"],
        gate_drop=gate_drop,
        gate_class_drop=gate_class_drop,
        gate_patience=gate_patience,
    )


def parse_outer(text: str) -> tuple[int, int]:
    """Return momentum and rate of the outer step, in units of 2^-16.

    Raises:
        UsageError: Neither `off`, `nesterov` nor two numbers in range.
    """
    named = {"off": (0, OUTER_ONE), "nesterov": NESTEROV}
    if text in named:
        return named[text]
    try:
        momentum, rate = (round(float(part) * OUTER_ONE) for part in text.split(","))
    except (ValueError, OverflowError):
        momentum = rate = -1
    if not (0 <= momentum < OUTER_ONE and 1 <= rate <= OUTER_RATE_MAX):
        raise UsageError(
            f"--outer takes off, nesterov, or MOMENTUM,RATE like 0.8,0.7 (momentum below 1, rate above 0 and "
            f"at most {OUTER_RATE_MAX // OUTER_ONE}), not {text!r}"
        )
    return momentum, rate


def parse_gate(text: str) -> tuple[int, int, int]:
    """Return drop, class drop (units of 2^-16) and patience of the quality gate; `off` is 0, 0, 1.

    Raises:
        UsageError: Neither `off` nor up to three numbers in range.
    """
    if text == "off":
        return 0, 0, 1
    parts = text.split(",")
    try:
        drop, class_drop = (round(float(part) * QUALITY_ONE) for part in [*parts, "0"][:2])
        patience = int(parts[2]) if len(parts) == 3 else 1
    except (ValueError, OverflowError):
        drop = class_drop = patience = 0
    is_right = 0 < drop < QUALITY_ONE and 0 <= class_drop < QUALITY_ONE and 1 <= patience <= GATE_PATIENCE_MAX
    if not is_right or len(parts) > 3:
        raise UsageError(
            "--gate takes off, or DROP[,CLASS[,PATIENCE]] like 0.1,0.3 (drops between 0 and 1, "
            f"patience from 1 to {GATE_PATIENCE_MAX}), not {text!r}"
        )
    return drop, class_drop, patience


def parse_period_ms(text: str) -> int:
    """Return the ms that `text` spells: `90s`, `30m`, `12h`, `7d`.

    Raises:
        UsageError: It spells none, or more than a year.
    """
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:], 0)
    number = text[:-1]
    if not (seconds and number.isascii() and number.isdigit() and int(number) * seconds <= 366 * 86_400):
        raise UsageError(f"--unbonding takes a time of at most a year like 90s, 30m, 12h or 7d, not {text!r}")
    return int(number) * seconds * 1000


def parse_stakes(text: str | None, peers: int) -> tuple[int, ...]:
    """Return one stake a peer: `20,20,0`, or 10 each where nothing is given; 0 has an account and no vote.

    Raises:
        UsageError: Not numbers, or not one for each peer.
    """
    if text is None:
        return (10,) * peers
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--stake takes whole numbers, separated by commas, not {text!r}")
    if len(parts) != peers:
        raise UsageError(f"--stake names {len(parts)} stakes for {peers} peers")
    return tuple(int(part) for part in parts)


def parse_byzantine(texts: tuple[str, ...], peers: int) -> tuple[str, ...]:
    """Return the kinds of the last peers, in order, from COUNT:KIND[:key=value,…].

    Raises:
        UsageError: A count or kind that makes no sense, or more liars than peers.
    """
    from p2pfed.adversary.registry import verify_spec

    kinds: list[str] = []
    for text in texts:
        count, colon, spec = text.partition(":")
        if not (colon and count.isascii() and count.isdigit() and int(count) > 0):
            raise UsageError(f"--byzantine takes COUNT:KIND[:key=value,…], not {text!r}")
        verify_spec(spec)
        kinds.extend([spec] * int(count))
    if len(kinds) >= peers and kinds:
        raise UsageError(f"{len(kinds)} of {peers} peers would be Byzantine; somebody must be honest")
    return tuple(kinds)
