"""Load of py-libp2p what we use: its packages' own `__init__` would load all of it, 28 MB and half a second.

They import the host, QUIC, websockets, kad-dht, DNS, mDNS and HTTP clients. A package that is put into place
without being run lets its modules be imported one by one; it is run after all when somebody asks for a name.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_PACKAGES = (
    "libp2p",
    "libp2p.transport",
    "libp2p.host",
    "libp2p.identity",
    "libp2p.identity.identify",
)


def load_lightly() -> None:
    """Put the packages into place; where the library is loaded already, or missing, this does nothing."""
    if "libp2p" in sys.modules or find_spec("libp2p") is None:
        return
    for name in _PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        module = sys.modules[name] = module_from_spec(spec)
        _run_when_asked(module)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)


def _run_when_asked(module: ModuleType) -> None:
    def ask(name: str) -> Any:
        module.__dict__.pop("__getattr__", None)
        assert module.__spec__ is not None
        assert module.__spec__.loader is not None
        module.__spec__.loader.exec_module(module)
        return getattr(module, name)

    module.__dict__["__getattr__"] = ask
