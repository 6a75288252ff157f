"""A group of commands whose modules are imported when one is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

# Name -> module, attribute, one line of help: `--help` needs no import of a command.
Lazy = Mapping[str, tuple[str, str, str]]


class LazyGroup(click.Group):
    """A group of the commands in `lazy`, in that order."""

    def __init__(self, *arguments: Any, lazy: Lazy, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._lazy:
            return None
        module, attribute, _ = self._lazy[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._lazy.items()])
