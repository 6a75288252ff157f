"""The files for containers, systemd, Kubernetes and ssh: what they call exists, what can run here runs."""

from __future__ import annotations

import configparser
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from e2e.support import PORTS_FIRST, PORTS_LAST

from p2pfed.cli.main import cli
from p2pfed.runtime.demo.network import free_ports
from p2pfed.storage.home import Home

CHECKOUT = Path(__file__).parents[2]
MACHINES = CHECKOUT / "bootstrap" / "machines"
TIMEOUT_S = 60


def parse(line: str | list[str]) -> None:
    """Parse a command line of `p2pfed` as the program itself does; raises click's error where it would."""
    words = shlex.split(line) if isinstance(line, str) else list(line)
    command: click.Command = cli
    # With the program's own settings: a command remembers the first help option that it was asked for.
    context = click.Context(cli, info_name="p2pfed", **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    command.make_context(command.name, words, parent=context)


def called_in(script: str) -> Iterator[str]:
    """Yield the arguments of each call of `p2pfed` in a text of shell commands."""
    for line in script.replace("\\\n", " ").replace("#", " ").splitlines():
        for command in line.split("&&"):
            for part in command.split("||"):
                words = part.split()
                if words[:1] == ["p2pfed"]:
                    yield " ".join(words[1:])


def test_only_options_that_exist_are_parsed() -> None:
    with pytest.raises(click.exceptions.NoSuchOption):
        parse("run --no-such-option")
    with pytest.raises(AssertionError):
        parse("ruin")


def test_the_image_calls_what_exists() -> None:
    lines = (MACHINES / "Dockerfile").read_text().splitlines()

    def called(word: str) -> list[str]:
        """Return the list that a line of this word ends with."""
        (line,) = (line for line in lines if line.startswith(f"{word} "))
        found: list[str] = json.loads(line[line.index("[") :])
        return found

    assert called("ENTRYPOINT") == called("HEALTHCHECK")[:1] == ["p2pfed"]
    parse(called("CMD"))
    parse(called("HEALTHCHECK")[1:])
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    kept = [
        line[1:]
        for line in (MACHINES / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] == "!"
    ]
    of_checkout = [name for name in copied if not name.startswith(("-", "/"))]
    assert sorted(of_checkout) == sorted(kept)
    assert all((CHECKOUT / name).exists() for name in of_checkout)


def test_the_image_has_every_file_that_the_project_names() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    named = {project["readme"], *project.get("license-files", ()), "pyproject.toml", "setup.py"}
    copied = next(line for line in (MACHINES / "Dockerfile").read_text().splitlines() if "pyproject" in line)
    assert named <= set(copied.split())


def test_compose_has_a_home_for_each_peer() -> None:
    file = yaml.safe_load((MACHINES / "compose.yaml").read_text())
    services: dict[str, Any] = file["services"]
    founding = next(called_in(" ".join(services["found"]["command"])))
    parse(founding)
    hosts = founding.split("--hosts ")[1].split()[0].split(",")
    assert hosts == [name for name in services if name != "found"]
    for index, host in enumerate(hosts):
        assert services[host]["environment"]["P2PFED_HOME"] == f"/data/net/peer{index}"
        assert services[host]["depends_on"]["found"]["condition"] == "service_completed_successfully"


def unit() -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(MACHINES / "p2pfed.service")
    return {name: dict(parser[name]) for name in parser.sections()}


def test_the_unit_calls_what_exists() -> None:
    service = unit()["Service"]
    program, *arguments = service["ExecStart"].split()
    assert Path(program).name == "p2pfed"
    parse(arguments)
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (MACHINES / "p2pfed.service").read_text().replace("/opt/p2pfed/bin/p2pfed run", "/bin/true run")
    (tmp_path / "p2pfed.service").write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "p2pfed.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    complaints = [line for line in done.stderr.splitlines() if "p2pfed.service" in line]
    assert complaints == []


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MACHINES / "kubernetes.yaml").read_text()))


def test_kubernetes_knows_every_field() -> None:
    kinds = [manifest["kind"] for manifest in manifests()]
    assert kinds == ["Service", "PodDisruptionBudget", "StatefulSet"]
    for manifest in manifests():
        kubernetes_validate.validate(manifest, "1.31", strict=True)
    broken = manifests()[2]
    broken["spec"]["template"]["spec"]["containers"][0]["probe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.31", strict=True)


def test_kubernetes_calls_what_exists_and_finds_its_homes() -> None:
    text = (MACHINES / "kubernetes.yaml").read_text()
    service, budget, stateful = manifests()
    pod = stateful["spec"]["template"]["spec"]
    peer = pod["containers"][0]
    parse(peer["args"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        program, *arguments = peer[probe]["exec"]["command"]
        assert program == "p2pfed"
        parse(arguments)
    founding = next(called_in(text))
    parse(founding)
    replicas = stateful["spec"]["replicas"]
    names = [f"{stateful['metadata']['name']}-{index}" for index in range(replicas)]
    assert founding.split("--hosts ")[1].split(",") == [
        f"{name}.{service['metadata']['name']}" for name in names
    ]
    sources = next(volume for volume in pod["volumes"] if volume["name"] == "homes")["projected"]["sources"]
    assert [source["secret"]["name"] for source in sources] == names
    assert 3 * budget["spec"]["maxUnavailable"] < replicas
    mounted = {
        mount["name"]
        for part in (*pod["containers"], *pod["initContainers"])
        for mount in part["volumeMounts"]
    }
    claims = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    assert mounted == claims | {volume["name"] for volume in pod["volumes"]}


def test_the_pod_unpacks_its_own_home_once(tmp_path: Path) -> None:
    made = tmp_path / "net"
    run(f"testnet create --peers 2 --hosts p2pfed-0.p2pfed,p2pfed-1.p2pfed --output {made}")
    (tmp_path / "homes" / "1").mkdir(parents=True)
    shutil.copy(made / "p2pfed-1.p2pfed.tar.gz", tmp_path / "homes" / "1" / "home.tar.gz")
    (tmp_path / "data").mkdir()
    script = manifests()[2]["spec"]["template"]["spec"]["initContainers"][0]["args"][0]
    script = script.replace("/data", str(tmp_path / "data")).replace("/homes", str(tmp_path / "homes"))
    home = tmp_path / "data" / "home"
    for _ in range(2):
        subprocess.run(
            ["sh", "-c", script], check=True, env=os.environ | {"HOSTNAME": "p2pfed-1"}, timeout=TIMEOUT_S
        )
        assert (home / "key.json").read_bytes() == (made / "peer1" / "key.json").read_bytes()
        (home / "vote_state.json").write_text("newer")  # A second start must not put an old one back.
    assert (home / "vote_state.json").read_text() == "newer"
    assert home.stat().st_mode & 0o777 == 0o700


def run(line: str) -> None:
    """Run a command line of p2pfed that has to succeed."""
    command = [sys.executable, "-m", "p2pfed", *shlex.split(line)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)


def test_a_peer_tells_systemd_that_it_is_ready_lives_and_stops(tmp_path: Path) -> None:
    run(f"testnet create --peers 1 --port 0 --http-port 0 --output {tmp_path}/net")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(TIMEOUT_S)
    variables = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    command = [sys.executable, "-m", "p2pfed", "run", "--home", str(tmp_path / "net" / "peer0")]
    process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    said = ""
    try:
        for wanted in ("READY=1", "STATUS=height 1", "WATCHDOG=1"):
            while wanted not in said:
                said += listener.recv(4096).decode() + "\n"
        process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in said:
            said += listener.recv(4096).decode() + "\n"
        assert process.wait(TIMEOUT_S) in (-signal.SIGTERM, int(unit()["Service"]["SuccessExitStatus"]))
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Two peers on two `machines`, and an ssh that runs what it is told right here."""
    port = free_ports(2, PORTS_FIRST + os.getpid() * 64 % (PORTS_LAST - PORTS_FIRST))
    run(f"testnet create --peers 2 --port {port} --http-port 0 --output {tmp_path}/net")
    ssh = tmp_path / "ssh"
    ssh.write_text(
        '#!/bin/sh\n[ "$1" = unreachable ] && { echo "no route to host" >&2; exit 255; }\nshift\nexec "$@"\n'
    )
    ssh.chmod(0o755)
    program = tmp_path / "p2pfed"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m p2pfed "$@"\n')
    program.chmod(0o755)
    peers = tmp_path / "peers"
    lines = ["# name machine folder", *(f"peer{n} machine{n} {tmp_path}/net/peer{n}" for n in range(2))]
    peers.write_text("\n".join(lines) + "\n")
    path = f"{CHECKOUT}:{os.environ.get('PYTHONPATH', '')}"
    yield peers, os.environ | {"P2PFED_SSH": str(ssh), "P2PFED": str(program), "PYTHONPATH": path}
    run(f"testnet stop {tmp_path}/net")


def fleet(peers: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(MACHINES / "fleet"), str(peers), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=variables, check=False, timeout=TIMEOUT_S
    )


def test_a_fleet_starts_says_how_it_is_and_stops(machines: tuple[Path, dict[str, str]]) -> None:
    peers, variables = machines
    started = fleet(peers, variables, "start")
    assert (started.returncode, started.stdout) == (0, "peer0: started\npeer1: started\n"), started
    assert fleet(peers, variables, "start", "peer1").stdout == "peer1: runs already\n"
    found = fleet(peers, variables, "status")
    assert found.returncode == 0
    assert [line[:6] for line in found.stdout.splitlines() if ": height " in line] == ["peer0:", "peer1:"]
    assert fleet(peers, variables, "log", "peer0").stdout.startswith('peer0: {"schema": "p2pfed.event/1"')
    stopped = fleet(peers, variables, "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "peer0: stopped\npeer1: stopped\n"), stopped
    assert fleet(peers, variables, "stop").stdout == "peer0: does not run\npeer1: does not run\n"


def test_a_peer_without_an_api_is_stopped_all_the_same(machines: tuple[Path, dict[str, str]]) -> None:
    peers, variables = machines
    home = Path(peers.read_text().split()[-1])
    config = home / "config.toml"
    config.write_text(config.read_text().replace("enabled = true", "enabled = false"))
    process = subprocess.Popen(
        [variables["P2PFED"], "run", "--home", str(home)], env=variables, stderr=subprocess.DEVNULL
    )
    try:
        while not Home(home).is_locked():
            assert process.poll() is None
        assert fleet(peers, variables, "start", "peer1").stdout == "peer1: runs already\n"
        assert fleet(peers, variables, "stop", "peer1").stdout == "peer1: stopped\n"
        assert process.wait(TIMEOUT_S) in (-signal.SIGTERM, 143)
    finally:
        process.kill()
        process.wait()


def test_a_mistyped_folder_stays_as_it_is(machines: tuple[Path, dict[str, str]]) -> None:
    peers, variables = machines
    peers.write_text(f"peer9 machine9 {peers.parent}/nowhere\n")
    for action in ("start", "stop"):
        done = fleet(peers, variables, action)
        assert (done.returncode, done.stderr) == (1, f"peer9: there is no peer in {peers.parent}/nowhere\n")
    assert not (peers.parent / "nowhere").exists()


def test_one_machine_away_does_not_keep_the_others_from_being_asked(
    machines: tuple[Path, dict[str, str]],
) -> None:
    peers, variables = machines
    peers.write_text(peers.read_text().replace("machine0", "unreachable"))
    done = fleet(peers, variables, "stop")
    assert (done.returncode, done.stdout) == (1, "peer1: does not run\n")
    assert done.stderr == "peer0: no route to host\n"


def test_a_fleet_says_what_is_wrong_with_its_list(tmp_path: Path) -> None:
    variables = dict(os.environ)
    assert "there is no list of peers" in fleet(tmp_path / "none", variables, "start").stderr
    (tmp_path / "peers").write_text("alice ops@host\n")
    assert "has no folder: alice" in fleet(tmp_path / "peers", variables, "status").stderr
    (tmp_path / "peers").write_text("# nobody\n")
    assert "no such peer" in fleet(tmp_path / "peers", variables, "status", "bob").stderr
    assert fleet(tmp_path / "peers", variables, "dance").returncode == 2
