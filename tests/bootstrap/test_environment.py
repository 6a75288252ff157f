"""`python3 bootstrap` makes its environment once, repairs it, and says in one sentence what is missing."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "bootstrap"


def _load(name: str) -> ModuleType:
    path = BOOTSTRAP / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"bootstrap_{name.strip('_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


environment = _load("environment")
main_module = _load("__main__")


def _fake_make(self) -> None:
    (self.folder / "bin").mkdir()
    self.python.write_text("")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the environment goes; making one is instant and installing is up to the test."""
    monkeypatch.setattr(environment.Environment, "_make", _fake_make)
    return tmp_path / "env"


class Installer:
    """Notes what it was asked to install; refuses or is interrupted where told so."""

    def __init__(self, failing: dict[str, BaseException] | None = None) -> None:
        self.installed: list[str] = []
        self.failing = failing or {}

    def __call__(self, made, extra: str) -> None:
        (made.folder / f"part-of-{extra or 'project'}").write_text("half")
        if extra in self.failing:
            raise self.failing[extra]
        self.installed.append(extra)


def _ensure(folder: Path, extras: list[str], installer: Installer, checkout: Path = ROOT) -> None:
    with environment.Environment(folder, checkout) as made:
        made.ensure(extras, installer)


def _checkout(tmp_path: Path, pyproject: str = "[project]\n") -> Path:
    checkout = tmp_path / "checkout"
    (checkout / "p2pfed" / "aggregation").mkdir(parents=True, exist_ok=True)
    for name in environment.INSTALLED_FROM:
        (checkout / name).write_text("")
    (checkout / "pyproject.toml").write_text(pyproject)
    return checkout


def test_a_second_call_installs_nothing(folder: Path) -> None:
    installer = Installer()
    _ensure(folder, [""], installer)
    _ensure(folder, [""], installer)
    assert installer.installed == [""]


def test_an_extra_is_added_to_what_is_there(folder: Path) -> None:
    installer = Installer()
    _ensure(folder, [""], installer)
    _ensure(folder, ["", "test"], installer)
    assert installer.installed == ["", "test"]
    assert (folder / "part-of-project").exists()


def test_another_pyproject_makes_another_environment(folder: Path, tmp_path: Path) -> None:
    installer = Installer()
    _ensure(folder, ["", "test"], installer, _checkout(tmp_path))
    _ensure(folder, [""], installer, _checkout(tmp_path, "[project]\nname='x'\n"))
    assert installer.installed == ["", "test", ""]
    assert not (folder / "part-of-test").exists()


def test_another_kernel_makes_another_environment(folder: Path, tmp_path: Path) -> None:
    installer = Installer()
    checkout = _checkout(tmp_path)
    _ensure(folder, [""], installer, checkout)
    (checkout / "p2pfed" / "aggregation" / "_gram.c").write_text("int changed;")
    _ensure(folder, [""], installer, checkout)
    assert installer.installed == ["", ""]


def test_another_python_platform_or_place_has_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = environment.Environment(tmp_path / "env")
    keys = {made.key, environment.Environment(tmp_path / "other").key}
    monkeypatch.setattr(environment.sys, "version", "3.99.0 of tomorrow")
    keys.add(made.key)
    monkeypatch.setattr(environment.sysconfig, "get_platform", lambda: "vax")
    keys.add(made.key)
    assert len(keys) == 4


def test_an_interrupted_installation_is_started_afresh(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _ensure(folder, ["", "test"], Installer({"test": KeyboardInterrupt()}))
    installer = Installer()
    _ensure(folder, [""], installer)
    assert installer.installed == [""]
    assert not (folder / "part-of-test").exists()


def test_an_extra_that_cannot_be_built_leaves_the_rest_usable(folder: Path) -> None:
    _ensure(folder, ["", "test"], Installer())
    with pytest.raises(environment.NotInstalled, match="no compiler"):
        _ensure(folder, ["libp2p"], Installer({"libp2p": environment.NotInstalled("no compiler")}))
    installer = Installer()
    _ensure(folder, ["", "test"], installer)
    assert installer.installed == []


def test_a_project_that_cannot_be_installed_is_tried_again(folder: Path) -> None:
    with pytest.raises(environment.NotInstalled):
        _ensure(folder, [""], Installer({"": environment.NotInstalled("no index")}))
    installer = Installer()
    _ensure(folder, [""], installer)
    assert installer.installed == [""]


def test_a_damaged_list_or_a_vanished_python_is_repaired(folder: Path) -> None:
    for damage in (
        lambda: (folder / environment.READY_NAME).write_text("{"),
        lambda: (folder / environment.READY_NAME).write_text("[]"),
        lambda: (folder / "bin" / "python").unlink(),
    ):
        _ensure(folder, [""], Installer())
        damage()
        installer = Installer()
        _ensure(folder, [""], installer)
        assert installer.installed == [""]


def test_a_folder_with_other_files_is_never_emptied(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(environment.Problem, match="holds files of others") as caught:
        _ensure(folder, [""], Installer())
    assert caught.value.exit_code == 3
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(environment.Problem, match="set P2PFED_ENV"):
        _ensure(tmp_path / "file" / "env", [""], Installer())


def test_the_environment_is_in_the_checkout_or_where_the_variable_says(tmp_path: Path) -> None:
    assert environment.folder_from({}) == ROOT / ".venv-p2pfed"
    assert environment.folder_from({"P2PFED_ENV": ""}) == ROOT / ".venv-p2pfed"
    assert environment.folder_from({"P2PFED_ENV": str(tmp_path)}) == tmp_path
    assert environment.folder_from({"P2PFED_ENV": "near"}) == Path.cwd() / "near"


def test_variables_of_other_pythons_do_not_leak_in() -> None:
    given = {
        "PYTHONPATH": "/x",
        "PYTHONHOME": "/y",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_USER": "1",
        "PIP_INDEX_URL": "https://mirror",
        "HOME": "/h",
    }
    left = environment.child_variables(given)
    assert "PYTHONPATH" not in left
    assert "PYTHONHOME" not in left
    assert "PYTHONDONTWRITEBYTECODE" not in left
    assert left["PIP_USER"] == "0"
    assert left["PIP_INDEX_URL"] == "https://mirror"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], ["-n", "4", "--dist", "loadfile"]), (["tests/unit", "-x"], ["tests/unit", "-x"])],
)
def test_the_whole_suite_runs_side_by_side_and_a_part_as_it_is_told(
    arguments: list[str], expected: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setenv("P2PFED_ENV", str(folder))
    monkeypatch.setattr(environment, "pip_install", Installer())
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(environment.os, "chdir", lambda _folder: None)
    monkeypatch.setattr(environment.os, "execve", lambda _path, command, _env: commands.append(command))
    environment.run_tests(arguments)
    assert commands == [[str(folder / "bin" / "python"), "-m", "pytest", *expected]]


DRIVER = """
import sys
sys.path.insert(0, {bootstrap!r})
import environment
from pathlib import Path
def make(self):
    (self.folder / "bin").mkdir()
    self.python.write_text("")
def install(made, extra):
    with open({journal!r}, "a") as journal:
        journal.write("begin\\n")
        journal.flush()
        for number in range(200):
            (made.folder / f"file-{{number}}").write_text("x" * 4096)
        journal.write("end\\n")
environment.Environment._make = make
with environment.Environment(Path({folder!r})) as made:
    made.ensure([""], install)
"""


def test_of_many_calls_at_once_one_installs_and_all_succeed(tmp_path: Path) -> None:
    journal, folder = tmp_path / "journal", tmp_path / "env"
    code = DRIVER.format(bootstrap=str(BOOTSTRAP), journal=str(journal), folder=str(folder))
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(6)]
    assert [child.wait(60) for child in children] == [0] * 6
    assert journal.read_text() == "begin\nend\n"


def _run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BOOTSTRAP), *arguments],
        env={**os.environ, "P2PFED_ENV": str(folder), **variables},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_arguments_streams_and_exit_code_pass_through(folder: Path) -> None:
    def install(made, extra: str) -> None:
        program = made.folder / "bin" / "p2pfed"
        program.write_text('#!/bin/sh\necho "$@ in $(pwd)"\nexit 7\n')
        program.chmod(0o755)

    with environment.Environment(folder) as made:
        made.ensure([""], install)
    done = _run(folder, "demo", "--peers", "4", "two words")
    assert done.returncode == 7
    assert done.stdout == f"demo --peers 4 two words in {folder.parent}\n"
    assert done.stderr == ""


def test_nobody_rebuilds_the_environment_while_a_program_runs_in_it(folder: Path) -> None:
    gate = folder.parent / "gate"
    os.mkfifo(gate)

    def install(made, extra: str) -> None:
        program = made.folder / "bin" / "p2pfed"
        program.write_text(f"#!/bin/sh\necho running\nread line < {gate}\n")
        program.chmod(0o755)

    with environment.Environment(folder) as made:
        made.ensure([""], install)
    child = subprocess.Popen(
        [sys.executable, str(BOOTSTRAP), "demo"],
        env={**os.environ, "P2PFED_ENV": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    with (folder / environment.LOCK_NAME).open() as lock:
        try:
            environment.fcntl.flock(
                lock, environment.fcntl.LOCK_SH | environment.fcntl.LOCK_NB
            )  # Company is fine.
            with pytest.raises(BlockingIOError):
                environment.fcntl.flock(lock, environment.fcntl.LOCK_EX | environment.fcntl.LOCK_NB)
        finally:
            gate.write_text("go\n")
    assert child.wait(30) == 0


def test_without_a_package_index_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}
    done = _run(tmp_path / "env", "demo", **offline)
    assert done.returncode == 1
    assert done.stdout == ""
    *progress, sentence = done.stderr.splitlines()
    assert all(line.startswith("bootstrap: ") for line in progress)
    assert sentence.startswith("pip found no package index")
    assert "PIP_INDEX_URL" in sentence


def test_ctrl_c_in_the_middle_says_so_and_leaves_nothing_half_ready(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    child = subprocess.Popen(
        [sys.executable, str(BOOTSTRAP), "demo"],
        env={**os.environ, "P2PFED_ENV": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "installing" in line:
            break
    os.killpg(child.pid, signal.SIGINT)
    rest = child.stderr.read()
    assert child.wait(30) == 130
    assert "Interrupted" in rest
    assert "Traceback" not in rest
    assert not (folder / environment.READY_NAME).exists()
    assert (folder / environment.LOCK_NAME).exists()


def test_a_killed_bootstrap_does_not_free_the_lock_under_its_pip(tmp_path: Path) -> None:
    """The command that installs holds the lock itself, so that nobody empties the folder under it."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = (
        f"import sys; sys.path.insert(0, {str(BOOTSTRAP)!r})\n"
        "import environment, os, signal\n"
        "from pathlib import Path\n"
        f"with environment.Environment(Path({str(tmp_path / 'env')!r})) as made:\n"
        "    made._lock_alone()\n"
        f"    made.call(['/bin/sh', '-c', 'kill -9 $PPID; read line < {gate}'])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    lock = os.open(tmp_path / "env" / environment.LOCK_NAME, os.O_RDWR)
    try:
        with pytest.raises(BlockingIOError):
            environment.fcntl.flock(lock, environment.fcntl.LOCK_EX | environment.fcntl.LOCK_NB)
    finally:
        gate.write_text("go\n")
    environment.fcntl.flock(lock, environment.fcntl.LOCK_EX)  # Free as soon as the command is gone.
    os.close(lock)


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        (
            "fatal error: gmp.h: No such file\nERROR: Failed building wheel for fastecdsa",
            "apt-get install gcc libgmp-dev",
        ),
        ("error: command '/bin/false' failed\nfastecdsa\nFailed to build", "apt-get install gcc libgmp-dev"),
        ("ERROR: No matching distribution found for numpy>=1.26", "PIP_INDEX_URL"),
        ("ERROR: Failed building wheel for numpy", "Python 3.11, 3.12 or 3.13"),
        ("something else", "what it said is in"),
    ],
)
def test_what_pip_says_becomes_one_sentence_with_a_remedy(output: str, word: str) -> None:
    sentence = environment.explain(output, Path("/env/bootstrap.log"))
    assert word in sentence
    assert "/env/bootstrap.log" in sentence
    assert "\n" not in sentence


def test_an_old_python_is_told_which_one_to_call() -> None:
    have = {"python3.12": "/usr/bin/python3.12"}
    assert "call `python3.12 bootstrap` instead" in main_module.unsupported((3, 9), "linux", have.get)
    assert "install Python 3.11" in main_module.unsupported((3, 10), "linux", {}.get)
    assert main_module.unsupported((3, 11), "linux", {}.get) == ""
    assert main_module.unsupported((3, 13), "darwin", {}.get) == ""


def test_windows_is_told_of_wsl() -> None:
    assert "wsl --install" in main_module.unsupported((3, 12), "win32", {}.get)


def test_a_missing_venv_module_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with (
        pytest.raises(environment.Problem, match=r"apt-get install python3\.\d+-venv"),
        environment.Environment(tmp_path / "env") as made,
    ):
        made.ensure([""], Installer())


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    done = _run(tmp_path / "env", "dance")
    assert done.returncode == 2
    assert "'dance' is no command" in done.stderr
    assert _run(tmp_path / "env").returncode == 2
    assert _run(tmp_path / "env", "--help").returncode == 0
    assert not (tmp_path / "env").exists()


def test_no_file_of_bootstrap_hides_a_standard_module() -> None:
    for path in BOOTSTRAP.glob("*.py"):
        assert path.stem not in sys.stdlib_module_names
