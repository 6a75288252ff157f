"""`p2pfed lab`: experiments that need no network, loaded one by one."""

from __future__ import annotations

import importlib

import click

# Name -> module, attribute, one line of help.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "sim": ("p2pfed.cli.lab_sim", "sim", "Run thousands of bad schedules of the agreement protocol."),
}


class LabGroup(click.Group):
    """A group that imports an experiment when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LabGroup)
def lab() -> None:
    """Try agreement and training in virtual time, on this machine alone."""
