"""The private environment: made once for each state of the project, repaired after an interruption."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
LOCK_NAME = "bootstrap.lock"  # Also the sign that a folder is ours to empty.
READY_NAME = "bootstrap.json"  # Exists only while everything it lists is installed whole.
LOG_NAME = "bootstrap.log"
INSTALLED_FROM = ("pyproject.toml", "setup.py", "p2pfed/aggregation/_gram.c")
EXIT_FAILED = 1
EXIT_CONFIGURATION = 3
EXIT_INTERRUPTED = 130

Install = Callable[["Environment", str], None]


class Problem(Exception):
    """One sentence: what is missing and what to do about it."""

    def __init__(self, sentence: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def say(text: str) -> None:
    """Print a line of progress; stdout belongs to the command that runs afterwards."""
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def folder_from(variables: dict[str, str], checkout: Path = CHECKOUT) -> Path:
    """Return where the environment is: `P2PFED_ENV`, or `.venv-p2pfed` in the checkout."""
    named = variables.get("P2PFED_ENV")
    return Path(named).expanduser().absolute() if named else checkout / ".venv-p2pfed"


def child_variables(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables for programs inside the environment: what points to other Pythons is left out.

    Compiled modules are kept even where the caller's Python keeps none: every peer and worker is a process
    that would compile the whole package again, a third of its start.
    """
    dropped = (
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "__PYVENV_LAUNCHER__",
        "PIP_TARGET",
        "PIP_PREFIX",
    )
    kept = {name: value for name, value in variables.items() if name not in dropped}
    return {**kept, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class Environment:
    """A virtual environment under a lock: whoever installs is alone, whoever runs is in company.

    Use it as a context manager: entering waits for the lock, leaving releases it.
    """

    def __init__(self, folder: Path, checkout: Path = CHECKOUT) -> None:
        self.folder = folder
        self.checkout = checkout
        self.python = folder / "bin" / "python"
        self.log = folder / LOG_NAME
        self._lock: int | None = None

    @property
    def key(self) -> str:
        """A hash of everything that makes an environment of another time or place unfit."""
        parts = (
            *((self.checkout / name).read_bytes() for name in INSTALLED_FROM),
            f"{sys.implementation.name} {sys.version} {sys.base_prefix}".encode(),
            sysconfig.get_platform().encode(),
            f"{self.checkout}\n{self.folder}".encode(),  # An environment doesn't survive a move.
        )
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def __enter__(self) -> Environment:
        try:
            self._claim_folder()
            self._lock = os.open(self.folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Problem(
                f"{self.folder} can't be written ({error.strerror}): set P2PFED_ENV to a folder that can.",
                EXIT_CONFIGURATION,
            ) from None
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        os.close(self._lock)
        self._lock = None

    def ensure(self, extras: Sequence[str], install: Install) -> None:
        """Install the project and `extras` unless they are there already."""
        if set(extras) <= self._installed():
            return
        self._lock_alone()
        try:
            self._install_missing(extras, install)
        finally:
            assert self._lock is not None
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def replace_process(self, command: Sequence[str], folder: Path | None = None) -> int:
        """Become `command`; the lock stays held, so nobody rebuilds the environment under it."""
        assert self._lock is not None
        os.set_inheritable(self._lock, True)
        if folder is not None:
            os.chdir(folder)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(command[0], list(command), child_variables(dict(os.environ)))  # noqa: S606 - wanted

    def call(self, command: Sequence[str]) -> int:
        """Run `command` with its output in the log and return its exit code.

        It holds the lock too: should this process be killed, the next one waits until the command is gone.
        """
        assert self._lock is not None
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_variables(dict(os.environ)),
                cwd=self.checkout,
                pass_fds=(self._lock,),
            )
            try:
                return child.wait()
            except BaseException:
                child.terminate()
                child.wait()
                raise

    def _claim_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        is_ours = (self.folder / LOCK_NAME).exists() or not any(self.folder.iterdir())
        if not is_ours:
            raise Problem(
                f"{self.folder} holds files of others: set P2PFED_ENV to a new or empty folder.",
                EXIT_CONFIGURATION,
            )

    def _lock_alone(self) -> None:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another call uses {self.folder}; waiting for it")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _installed(self) -> frozenset[str]:
        """Return what is installed whole under this key: extras, with "" for the project itself."""
        try:
            ready = json.loads((self.folder / READY_NAME).read_text())
            is_fit = ready["key"] == self.key and self.python.exists()
            return frozenset(ready["installed"]) if is_fit else frozenset()
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()

    def _install_missing(self, extras: Sequence[str], install: Install) -> None:
        installed = self._installed()  # Again: another call may have done it while we waited.
        missing = [extra for extra in extras if extra not in installed]
        if not missing:
            return
        if not installed:
            self._empty()
            self._make()
        for extra in missing:
            # An installation that is cut off leaves no such file, and the next call starts afresh.
            (self.folder / READY_NAME).unlink(missing_ok=True)
            try:
                install(self, extra)
            except NotInstalled:
                self._mark(installed)  # pip installs all or nothing: what was there is still whole.
                raise
            installed |= {extra}
            self._mark(installed)

    def _mark(self, installed: frozenset[str]) -> None:
        if not installed:
            return
        temporary = self.folder / f"{READY_NAME}.new"
        temporary.write_text(json.dumps({"key": self.key, "installed": sorted(installed)}) + "\n")
        temporary.replace(self.folder / READY_NAME)

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.name == LOCK_NAME:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _make(self) -> None:
        say(f"making an environment in {self.folder} (once)")
        try:
            import ensurepip  # noqa: F401 - Debian ships venv without it
            import venv  # noqa: F401
        except ImportError:
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            raise Problem(
                f"This Python has no venv module: on Debian or Ubuntu call "
                f"`apt-get install python{version}-venv`, elsewhere install Python from python.org.",
            ) from None
        if self.call([sys.executable, "-m", "venv", str(self.folder)]) != 0:
            raise Problem(f"The environment could not be made; what Python said is in {self.log}.")


class NotInstalled(Problem):
    """pip refused; nothing was changed."""


def pip_install(environment: Environment, extra: str) -> None:
    """Install the project (editable, so that changed code counts at once) with one extra ("" for none)."""
    say("installing p2pfed and its dependencies" if not extra else f"installing the extra {extra!r}")
    started = time.monotonic()
    target = str(environment.checkout) + (f"[{extra}]" if extra else "")
    mark = environment.log.stat().st_size if environment.log.exists() else 0
    # Ready-made packages first: no compiler is needed for anything but libp2p.
    command = [str(environment.python), "-m", "pip", "install", "--prefer-binary", "--editable", target]
    if environment.call(command) != 0:
        raise NotInstalled(
            explain(environment.log.read_bytes()[mark:].decode(errors="replace"), environment.log)
        )
    say(f"done in {time.monotonic() - started:.0f} s")


def explain(output: str, log: Path) -> str:
    """Return one sentence for what pip said."""
    if "No space left on device" in output:
        return f"The disk is full: free about 500 MB, or set P2PFED_ENV to a folder elsewhere (log: {log})."
    if "CERTIFICATE_VERIFY_FAILED" in output:
        return (
            f"pip distrusts the package index's certificate: set PIP_CERT to your network's own (log: {log})."
        )
    if "gmp.h" in output or ("fastecdsa" in output and "Failed to build" in output):
        return (
            "libp2p needs fastecdsa, which is built with a C compiler and the GMP headers: on Debian or "
            f"Ubuntu `apt-get install gcc libgmp-dev`, on macOS `brew install gmp` (log: {log})."
        )
    if "No matching distribution" in output or "Could not find a version" in output:
        return (
            "pip found no package index, or not all packages in it: check the network, or set PIP_INDEX_URL "
            f"to a mirror or PIP_FIND_LINKS to a folder of wheels (log: {log})."
        )
    if "Failed to build" in output or "Failed building wheel" in output:
        return (
            f"A package has no ready-made build for this Python: try Python 3.11, 3.12 or 3.13 (log: {log})."
        )
    return f"pip could not install p2pfed; what it said is in {log}."


def _guarded(run: Callable[[Environment], int]) -> int:
    """Run with the environment; turn every expected failure into one sentence and an exit code."""
    try:
        with Environment(folder_from(dict(os.environ))) as environment:
            return run(environment)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return EXIT_INTERRUPTED


def run_demo(arguments: Sequence[str]) -> int:
    """Replace this process by `p2pfed demo` in the environment."""

    def run(environment: Environment) -> int:
        environment.ensure([""], pip_install)
        return environment.replace_process([str(environment.folder / "bin" / "p2pfed"), "demo", *arguments])

    return _guarded(run)


def whole_suite() -> list[str]:
    """Return what pytest is told where nobody names a part: files side by side, one a core.

    Tests of one file run in turn. More at once end no sooner, since networks of processes fill the cores.
    """
    return ["-n", str(os.cpu_count() or 1), "--dist", "loadfile"]


def run_tests(arguments: Sequence[str]) -> int:
    """Replace this process by pytest in the environment, on the checkout."""

    def run(environment: Environment) -> int:
        environment.ensure(["", "test"], pip_install)
        try:
            environment.ensure(["libp2p"], pip_install)
        except NotInstalled as problem:
            say(f"the tests of the libp2p transport will be skipped. {problem}")
        command = [str(environment.python), "-m", "pytest", *(arguments or whole_suite())]
        return environment.replace_process(command, environment.checkout)

    return _guarded(run)
