"""docs/guide/commands.md names what the program has, all of it, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from msgspec.structs import fields
from support.pages import GUIDES, ROOT, first_cells, guide, section

from p2pfed import errors
from p2pfed.adversary.registry import KINDS
from p2pfed.cli.main import cli
from p2pfed.runtime.config import Config, dump_config
from p2pfed.runtime.feed import _NAMES

PAGE = guide("commands.md").read_text(encoding="utf-8")
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "p2pfed").rglob("*.py"))}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def commands(command: click.Command = cli, path: str = "p2pfed") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its full name."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands(found, f"{path} {name}")
        if not command.invoke_without_command:
            return
    yield path, command


COMMANDS = dict(commands())


def options(command: click.Command) -> set[str]:
    return {
        name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts
    }


def told(name: str) -> str:
    """Return a command's section and the sections that it refers to."""
    own = section(PAGE, f"### `{name}`")
    linked = "\n".join(
        section(PAGE, "## What a founder chooses") for _ in re.findall(r"\(#what-a-founder", own)
    )
    return own + linked


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_in_its_section(name: str) -> None:
    text = told(name)
    missing = [option for option in options(COMMANDS[name]) if not re.search(rf"{option}(?![\w-])", text)]
    assert missing == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_default_that_a_table_tells_is_the_one_of_the_program(name: str) -> None:
    for parameter in COMMANDS[name].params:
        row = re.search(rf"^\| `{parameter.opts[-1]}`[^|]*\|([^|]*)\|[^|]+\|$", told(name), re.M)
        wanted = parameter.default
        if row is None or not isinstance(wanted, str | int) or wanted in ("", False):
            continue
        assert str(wanted) in re.findall(r"[\w.:-]+", row[1]), parameter.opts


def test_the_page_has_no_command_that_is_not_there() -> None:
    assert set(re.findall(r"^### `(p2pfed [^`]*)`$", PAGE, re.M)) == set(COMMANDS)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_no_guide_names_an_option_that_is_not_there(path: Path) -> None:
    known = {"--help", "--version"} | {option for command in COMMANDS.values() for option in options(command)}
    assert set(OPTION.findall(path.read_text(encoding="utf-8"))) <= known


def test_every_exit_code_is_told() -> None:
    raised = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    by_hand = {
        int(code) for text in SOURCES.values() for code in re.findall(r"Ending\([^()]*, (\d+)\)", text)
    }
    main = SOURCES[ROOT / "p2pfed" / "cli" / "main.py"]
    by_hand |= {
        int(code) for code in re.findall(r"code = (\d+)|_fail\(.*, (\d+)\)", main) for code in code if code
    }
    by_signal = {int(code) for code in re.findall(r"signal\.SIG\w+, (\d+)", "".join(SOURCES.values()))}
    table = section(PAGE, "## Exit codes")
    assert {
        int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)
    } == raised | by_hand | by_signal | {0, 1}
    assert {2, 3, 4, 5, 6, 7, 8, 130, 141, 143} <= raised | by_hand | by_signal


def test_every_setting_is_told_with_its_default() -> None:
    table = section(PAGE, "## Settings")
    settings = {}
    for name, keys in msgspec.toml.decode(dump_config(Config())).items():
        settings |= {f"{name}.{key}": value for key, value in keys.items()}
    assert first_cells(table) == set(settings)
    for name, value in settings.items():
        shown = msgspec.json.encode(value).decode()
        assert re.search(rf"^\| `{re.escape(name)}` \| `?{re.escape(shown)}`? \|", table, re.M), name


def test_every_variable_that_the_program_reads_is_told() -> None:
    texts = [*SOURCES.values(), *(path.read_text() for path in (ROOT / "bootstrap").glob("*.py"))]
    read = {name for text in texts for name in re.findall(r'environ(?:ment)?\.get\("(P2PFED_\w+)"', text)}
    read |= {name for text in texts for name in re.findall(r'variables\.get\("(P2PFED_\w+)"', text)}
    assert {"P2PFED_HOME", "P2PFED_ENV"} <= read
    assert [name for name in sorted(read) if f"`{name}`" not in PAGE] == []


def test_every_event_is_told_with_its_keys() -> None:
    table = section(PAGE, "## Events")
    word = re.compile(r'(?:\.say\(\s*|\bEntry\([^"\n]*)"([a-z_]+\.[a-z_]+)"')
    said = {name for text in SOURCES.values() for name in word.findall(text)}
    assert {"peer.started", "adversary.acted"} <= said
    assert first_cells(table) == set(_NAMES.values()) | said
    shared = {"peer.left": "peer.joined", "peer.slashed": "peer.equivocated"}  # "the same keys"
    for fact, name in _NAMES.items():
        row = re.search(rf"^\| `{shared.get(name, name)}` .*$", table, re.M)
        assert row is not None
        assert [field.name for field in fields(fact) if f"`{field.name}`" not in row[0]] == [], name


def test_every_schema_is_told() -> None:
    used = {name for text in SOURCES.values() for name in re.findall(r'"(p2pfed\.[^/"]+/\d+)"', text)}
    assert first_cells(section(PAGE, "## JSON")) == used


def test_every_way_to_lie_is_told_with_its_settings() -> None:
    table = {name.partition(":")[0]: name for name in first_cells(guide("byzantine.md").read_text())}
    for name, kind in KINDS.items():
        assert name in table
        for key, value in kind.settings.items():
            assert f"{key}={value:g}" in table[name]
