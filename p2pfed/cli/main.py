"""`p2pfed`: the list of commands, loaded one by one, and what becomes of an expected failure."""

from __future__ import annotations

import os
import sys

import click

from p2pfed import __version__
from p2pfed.cli.lazy import Lazy, LazyGroup
from p2pfed.cli.text import printable
from p2pfed.errors import LocalError, P2PFedError, StorageFault

COMMANDS: Lazy = {
    "demo": ("p2pfed.cli.demo", "demo", "Run a whole network with liars on this machine and judge it."),
    "init": ("p2pfed.cli.init", "init", "Found a network for given members."),
    "run": ("p2pfed.cli.run", "run", "Run one peer."),
    "status": ("p2pfed.cli.status", "status", "Where a peer stands and whom it waits for."),
    "peers": ("p2pfed.cli.peers", "peers", "List the peers that a peer knows."),
    "blocks": ("p2pfed.cli.blocks", "blocks", "List final blocks; `blocks show H` shows one."),
    "repair": ("p2pfed.cli.repair", "repair", "Cut a damaged write-ahead log; blocks and votes stay."),
    "debug": ("p2pfed.cli.debug", "debug", "Look into a home: `debug dump`."),
    "bond": ("p2pfed.cli.stake", "bond", "Put stake behind this peer, so that it votes."),
    "unbond": ("p2pfed.cli.stake", "unbond", "Take stake home; with all of it the peer stops voting."),
    "unjail": ("p2pfed.cli.stake", "unjail", "Vote again after a jail for being away."),
    "transfer": ("p2pfed.cli.stake", "transfer", "Send stake to another key."),
    "verify": ("p2pfed.cli.verify", "verify", "Check every stored value, certificate and signature offline."),
    "audit": ("p2pfed.cli.audit", "audit", "Judge with your own learner what updates were worth."),
    "inspect": ("p2pfed.cli.inspect", "inspect", "Say what a stopped or damaged home holds."),
    "rollback": ("p2pfed.cli.rollback", "rollback", "Go back to the state after an earlier block."),
    "doctor": ("p2pfed.cli.doctor", "doctor", "Say what is wrong with a peer and how to mend it."),
    "export": ("p2pfed.cli.export", "export", "Write an agreed model to a file."),
    "light": ("p2pfed.cli.light", "light", "Follow a chain by a few headers and prove what is in it."),
    "watch": ("p2pfed.cli.watch", "watch", "Follow convergence live."),
    "view": ("p2pfed.cli.view", "view", "Show several peers side by side, and whether they agree."),
    "report": ("p2pfed.cli.report", "report", "Compare runs on one page."),
    "testnet": ("p2pfed.cli.testnet", "testnet", "Make, start and stop a network of several peers."),
    "lab": (
        "p2pfed.cli.lab",
        "lab",
        "The Byzantine laboratory: rules, agreement and networks against liars.",
    ),
    "keys": ("p2pfed.cli.keys", "keys", "Make, show, back up and restore a peer's key."),
    "completion": ("p2pfed.cli.completion", "completion", "Print the completion script of your shell."),
    "version": ("p2pfed.cli.version", "version", "Print the version and those of what it stands on."),
}


class _ReaderGone(Exception):
    """Whoever read our output has gone, as `| head` does."""


class Program(LazyGroup):
    """All of `p2pfed`."""

    def invoke(self, ctx: click.Context) -> object:
        from p2pfed.runtime.own_rules import load_own_rules  # Only a command that runs may need a rule.

        try:
            load_own_rules()
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None  # Click itself would make it a failure, exit code 1.


@click.group(cls=Program, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="p2pfed")
def cli() -> None:
    """Train one model together without a coordinator: peers agree on every aggregate by stake."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; an expected failure is one sentence on standard error."""
    # Aggregation has threads of its own; those of BLAS inside them only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not __debug__:
        _fail("python -O takes out the assertions that keep a peer from a wrong vote; start it without -O", 2)
    try:
        code = cli.main(arguments, prog_name="p2pfed", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped", 130)
    except (_ReaderGone, BrokenPipeError):
        # Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except (LocalError, StorageFault) as error:
        _fail(str(error), error.exit_code)
    except P2PFedError as error:
        _fail(str(error), 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int) -> None:
    print(f"p2pfed: {printable(sentence)}", file=sys.stderr)  # It may quote what a peer said.
    sys.exit(code)
