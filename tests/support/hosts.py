"""Hosts on one machine: network namespaces on a switch, each with its own addresses and ports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from types import TracebackType

_NUMBERS = count()
SWITCH = "switch"


def run(*command: str) -> None:
    """Run a command; what it refuses is an OSError with its own words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def why_not() -> str:
    """Return why no host can be made here, "" where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (iproute2)"
    try:
        with Hosts(["probe"]):
            return ""
    except OSError as error:
        return f"this system makes no network namespaces: {error}"


class Hosts:
    """Hosts named `names`, joined by a switch; all of them go when the block ends.

    Host number i has the addresses 10.77.0.(i + 1) and fd77::(i + 1). What the system refuses: OSError.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._routers: list[str] = []
        self._prefix = f"p2pfed{os.getpid()}-{next(_NUMBERS)}-"

    def __enter__(self) -> Hosts:
        try:
            self._add(SWITCH)
            self._inside(SWITCH, "link", "add", "bridge", "type", "bridge")
            self._inside(SWITCH, "link", "set", "bridge", "up")
            for number, name in enumerate(self.names):
                self._add(name)
                self._inside(name, "link", "set", "lo", "up")
                self._plug_in(name, self._port(name))
                self.give(name, number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in (*self.names, *self._routers, SWITCH):
            with suppress(OSError):  # It may not have been made.
                run("ip", "netns", "del", self._prefix + name)

    def command(self, name: str) -> list[str]:
        """Return what to put before a command so that it runs on that host."""
        return ["ip", "netns", "exec", self._prefix + name]

    def address(self, name: str, version: int = 4) -> str:
        number = self.names.index(name) + 1
        return f"10.77.0.{number}" if version == 4 else f"fd77::{number}"

    def give(self, name: str, number: int) -> None:
        """Give the host the addresses of a number, and nobody else's."""
        self._inside(name, "address", "flush", "dev", "eth0", "scope", "global")
        self._inside(name, "address", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
        self._inside(name, "address", "add", f"fd77::{number + 1}/64", "dev", "eth0", "nodad")
        self._inside(name, "route", "replace", "default", "via", "10.77.0.254")

    def set_link(self, name: str, *, up: bool) -> None:
        """Pull the cable out of the switch, or put it back."""
        self._inside(SWITCH, "link", "set", self._port(name), "up" if up else "down")

    def limit(self, name: str, mbit: int) -> None:
        """Let what the host sends leave at so many Mbit/s."""
        rate = ["rate", f"{mbit}mbit", "burst", "32kbit", "latency", "400ms"]
        run(*self.command(name), "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *rate)

    def put_behind_router(self, name: str) -> None:
        """Put a host behind a router that translates addresses (nft): it can dial out and not be dialled.

        The router takes over the host's place at the switch, addresses included.
        """
        router = f"{name}-router"
        self._add(router)
        self._routers.append(router)
        self._inside(SWITCH, "link", "del", self._port(name))
        self._plug_in(router, self._port(name))
        self.give(router, self.names.index(name))
        self._lay_cable(router, "inside", name)
        for where, device, address in ((router, "inside", 1), (name, "eth0", 2)):
            self._inside(where, "address", "add", f"192.168.77.{address}/24", "dev", device)
            self._inside(where, "link", "set", device, "up")
        self._inside(name, "route", "replace", "default", "via", "192.168.77.1")
        rules = "table ip nat { chain out { type nat hook postrouting priority 100; oif eth0 masquerade; }; }"
        run(*self.command(router), "sh", "-c", f"echo 1 > /proc/sys/net/ipv4/ip_forward && nft '{rules}'")

    def _port(self, name: str) -> str:
        return f"port{self.names.index(name)}"

    def _plug_in(self, name: str, port: str) -> None:
        """Lay a cable from the switch to a host."""
        self._lay_cable(SWITCH, port, name)
        self._inside(SWITCH, "link", "set", port, "master", "bridge", "up")
        self._inside(name, "link", "set", "eth0", "up")

    def _lay_cable(self, first: str, port: str, second: str) -> None:
        """Join two namespaces: what is `port` in the first is `eth0` in the second."""
        one, other = self._prefix + first, self._prefix + second
        ends = ["netns", one, "type", "veth", "peer", "name", "eth0", "netns", other]
        run("ip", "link", "add", port, *ends)

    def _add(self, name: str) -> None:
        run("ip", "netns", "add", self._prefix + name)

    def _inside(self, name: str, *words: str) -> None:
        run("ip", "-n", self._prefix + name, *words)
