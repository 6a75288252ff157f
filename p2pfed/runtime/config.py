"""config.toml of a peer: what an operator chooses, with flags and environment variables above the file."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from p2pfed.errors import LocalError

ENVIRONMENT_PREFIX = "P2PFED_"  # P2PFED_NETWORK__PORT=7401 overrides [network] port.
CONFIG_BYTES_MAX = 1 << 20

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class NetworkConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where this peer listens and whom it asks first."""

    listen: str = "127.0.0.1"
    port: Port = 7400
    announce: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    exchange: bool = True


class LearnerConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The learner and its share of the data; an empty app: this peer votes and does not train."""

    app: str = ""
    index: Annotated[int, msgspec.Meta(ge=0, le=511)] = 0
    peers: Annotated[int, msgspec.Meta(ge=1, le=512)] = 1
    partition: str = "iid"
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    data_dir: str = ""
    params: dict[str, str] = msgspec.field(default_factory=dict)
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=604_800)] = 600
    memory_mb: Annotated[int, msgspec.Meta(ge=0, le=1 << 30)] = 0


class HttpConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The local HTTP API; it listens on loopback only."""

    enabled: bool = True
    port: Port = 8400


class LogConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the log says and how; auto is text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class TrackingConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where figures of heights go besides the log: KIND:TARGET of jsonl, tensorboard or mlflow."""

    sinks: tuple[str, ...] = ()


class RunConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a run ends: how long a peer that is done still serves the others."""

    linger_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 30


class LaboratoryConfig(_Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Turns this peer into a liar, to watch a network withstand it. Never set it in a network you need."""

    byzantine: str = ""
    colluders: tuple[str, ...] = ()
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    network: NetworkConfig = NetworkConfig()
    learner: LearnerConfig = LearnerConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
    tracking: TrackingConfig = TrackingConfig()
    run: RunConfig = RunConfig()
    laboratory: LaboratoryConfig = LaboratoryConfig()


def load_config(path: Path, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """Return the settings: flags over environment over file over defaults.

    Args:
        path: config.toml; a missing file means defaults.
        environment: Variables; those called P2PFED_SECTION__KEY count.
        flags: "section.key" -> value; None means not given.

    Raises:
        LocalError: Not TOML, an unknown section or key (the nearest one is named), or a value out of range.
    """
    settings: dict[str, dict[str, Any]] = _read(path)
    for name, text in sorted(environment.items()):
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and separator:
            kind = _key_type(section, key, f"environment variable {name}")
            settings.setdefault(section, {})[key] = _from_text(kind, text, name)
    for place, value in flags.items():
        section, _, key = place.partition(".")
        _key_type(section, key, f"setting {place}")
        if value is not None:
            settings.setdefault(section, {})[key] = value
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise LocalError(f"{path}: {error}") from None


def dump_config(config: Config) -> str:
    """Return config.toml of `config`, each section with its purpose; `load_config` reads it back."""
    lines = [
        "# Settings of one p2pfed peer. Flags of `p2pfed run` and P2PFED_SECTION__KEY win over this file.",
    ]
    for section in msgspec.structs.fields(Config):
        table = getattr(config, section.name)
        purpose = (type(table).__doc__ or "").splitlines()[0]
        lines += ["", f"# {purpose}", f"[{section.name}]"]
        for field in msgspec.structs.fields(table):
            lines.append(f"{field.name} = {_as_toml(getattr(table, field.name))}")
    return "\n".join(lines) + "\n"


def _as_toml(value: object) -> str:
    """Return a value as TOML, whose texts, numbers, truths and arrays are those of JSON."""
    if isinstance(value, dict):
        pairs = (f"{_as_toml(key)} = {_as_toml(item)}" for key, item in sorted(value.items()))
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    return msgspec.json.encode(value).decode()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalError(f"can't read {path}: {error.strerror}") from None
    if len(data) > CONFIG_BYTES_MAX:
        raise LocalError(f"{path} has {len(data)} bytes; a configuration has at most {CONFIG_BYTES_MAX}")
    try:
        settings: dict[str, dict[str, Any]] = msgspec.toml.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LocalError(f"{path} is not TOML: {error}") from None
    for section, table in settings.items():
        if not isinstance(table, dict):
            _section_type(section, str(path))
            raise LocalError(f"{path}: [{section}] must be a table")
        for key in table:
            _key_type(section, key, str(path))
    return settings


def _section_type(section: str, where: str) -> type[msgspec.Struct]:
    types = {field.name: field.type for field in msgspec.structs.fields(Config)}
    if section not in types:
        raise LocalError(f"{where}: there is no section [{section}]; {_nearest(section, list(types))}")
    found: type[msgspec.Struct] = types[section]
    return found


def _key_type(section: str, key: str, where: str) -> Any:
    types = {field.name: field.type for field in msgspec.structs.fields(_section_type(section, where))}
    if key not in types:
        raise LocalError(f"{where}: [{section}] has no key {key!r}; {_nearest(key, list(types))}")
    return types[key]


def _nearest(name: str, known: list[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(known)}"


def _from_text(kind: Any, text: str, name: str) -> Any:
    """Return the value that an environment variable spells; lists are separated by commas."""
    if kind == tuple[str, ...]:
        return [item for item in text.split(",") if item]
    if kind == dict[str, str]:
        pairs = [item.partition("=") for item in text.split(",") if item]
        return {key: value for key, _, value in pairs}
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise LocalError(f"environment variable {name}={text}: {error}") from None
