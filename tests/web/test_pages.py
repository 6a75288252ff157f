"""The pages in a real browser, of a real network whose last peer lies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright", reason="needs `pip install playwright` and a Chromium, see CONTRIBUTING.md")

from e2e.support import PATIENCE_S, Network, create, p2pfed, wait_until
from playwright.sync_api import Browser, Page, expect, sync_playwright

from p2pfed.types.address import peer_id
from p2pfed.web.app import STREAMS_MAX

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium, or its path in CHROMIUM", allow_module_level=True)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
HEIGHTS = 8
expect.set_options(timeout=1000 * PATIENCE_S)
PAGES = ("overview", "peers", "blocks", "model", "events")
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Five peers, the last a liar."""
    folder = tmp_path_factory.mktemp("web") / "net"
    made = create(folder, 5, "tcp", "--byzantine", "1:sign_flip:scale=10")
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def port(net: Network) -> int:
    config = tomllib.loads(net.peers[0].home.config.read_text())
    found: int = config["http"]["port"]
    return found


@pytest.fixture(scope="module")
def status(net: Network, port: int) -> dict[str, Any]:
    """What `p2pfed status` says once two of five are gone: nothing moves any more."""
    net.wait_for_height(HEIGHTS)
    for peer in net.peers[2:4]:
        peer.kill()
    newest: list[dict[str, Any]] = []

    def is_still() -> bool:
        done = p2pfed("status", "--json", "--home", net.peers[0].home.path)
        newest.append(json.loads(done.stdout))
        return bool(newest[-1]["is_halted"] and newest[-1]["figures"])

    wait_until(is_still, "a network that stands still")
    return newest[-1]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


def show(page: Page, port: int, name: str = "overview") -> None:
    page.goto(f"http://127.0.0.1:{port}/#{name}")
    expect(page.locator("h1")).to_have_text(name.capitalize())


def box(page: Page, title: str) -> str:
    return page.locator(".numbers div", has=page.get_by_text(title, exact=True)).locator("dd").inner_text()


def test_a_page_that_was_opened_early_follows_without_being_loaded_again(
    net: Network, port: int, page: Page
) -> None:
    net.peers[0].wait("height.started", height=1)
    show(page, port)
    expect(page.locator("#link")).to_have_text("● live")
    height = page.locator(".numbers dd").first
    for least in (2, 4, HEIGHTS):
        wait_until(lambda least=least: int(height.inner_text()) >= least, f"height {least} on the page")
    expect(page.locator("svg .curve").first).to_be_visible()


def test_the_numbers_are_those_of_status(status: dict[str, Any], port: int, page: Page) -> None:
    show(page, port)
    expect(page.locator(".numbers dd").nth(1)).not_to_have_text("–")
    assert box(page, "Height") == str(status["height"])
    assert float(box(page, "acc(public)")) == pytest.approx(status["figures"]["acc(public)"], abs=0.0006)
    assert box(page, "Stake in reach") == f"{100 * status['stake_connected'] // status['stake_total']} %"
    expect(page.locator(".say")).to_contain_text("▲ Halted")
    assert box(page, "Updates") == str(status["updates_counted"])
    show(page, port, "peers")
    rows = page.locator("table tbody tr")
    assert rows.count() == len(status["peers"]) == 4
    for place, peer in enumerate(status["peers"]):
        cells = rows.nth(place).locator("td")
        assert cells.nth(0).locator("code").get_attribute("title") == peer["id"]
        assert cells.nth(1).inner_text() == ("● connected" if peer["is_connected"] else "○ away")
        assert cells.nth(6).inner_text() == str(peer["score"])


def test_an_attack_is_seen_at_once(status: dict[str, Any], net: Network, port: int, page: Page) -> None:
    liar = peer_id(net.keys[-1])
    show(page, port, "model")
    expect(page.locator("#notes")).to_contain_text(liar[-8:])
    rows = page.get_by_role("region", name="Updates").locator("tbody tr")
    sizes = {
        rows.nth(place).locator("code").get_attribute("title"): float(
            rows.nth(place).locator("td").nth(1).inner_text()
        )
        for place in range(rows.count())
    }
    assert max(sizes, key=lambda key: sizes[key]) == liar
    assert page.locator("td.cell").count() == 25
    assert page.locator("td.cell", has_text=re.compile(r"^1\.00$")).count() >= 5


def test_a_block_shows_its_votes_and_whose_updates_it_has(
    status: dict[str, Any], net: Network, port: int, page: Page
) -> None:
    newest = status["height"]
    show(page, port, "blocks")
    expect(page.locator("button[data-height]")).to_have_count(status["height"])
    page.locator(f'[data-height="{newest}"]').click()
    expect(page.locator("#block h2").first).to_have_text(f"Block {newest}")
    shown = json.loads(
        p2pfed("blocks", "show", str(newest), "--json", "--home", net.peers[0].home.path).stdout
    )
    expect(page.locator("#block code").first).to_have_text(shown["hash"])
    votes = page.get_by_role("region", name="Votes").locator("tbody tr")
    assert votes.count() == 5
    signed = [votes.nth(place).locator("td").nth(4).inner_text() == "✓" for place in range(5)]
    signers = int.from_bytes(bytes.fromhex(shown["commit"]["signers"]), "little")
    assert signed == [bool(signers >> place & 1) for place in range(5)]
    merged = page.get_by_role("region", name="Updates").locator("tbody tr", has_text="✓ merged")
    assert merged.count() == len(shown["updates"])


def test_what_peers_say_stays_text(status: dict[str, Any], port: int, page: Page) -> None:

    def lie(route: Any) -> None:
        told = {**status, "network": HOSTILE, "waiting_for": [HOSTILE], "is_halted": False}
        told["peers"] = [{**peer, "addresses": [HOSTILE]} for peer in status["peers"]]
        route.fulfill(json=told)

    page.route("**/v1/status", lie)
    event = {"schema": "p2pfed.event/1", "time_ms": 1, "event": "peer.blamed", "reason": HOSTILE}
    page.route(
        "**/v1/events",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"retry: 60000\ndata: {json.dumps(event)}\n\n"
        ),
    )
    for name, place in (("overview", "#network"), ("peers", "table"), ("events", "td.text")):
        show(page, port, name)
        expect(page.locator(place).first).to_contain_text("onerror")
    assert "taken" not in page.title()
    assert page.locator("img, main script").count() == 0


def test_a_page_of_another_site_learns_nothing(
    status: dict[str, Any], port: int, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<title>evil</title>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        ask = "async (url) => { try { return (await fetch(url)).status } catch { return 'refused' } }"
        assert page.evaluate(ask, f"http://127.0.0.1:{port}/v1/status") == "refused"
    finally:
        server.shutdown()
    framed = httpx.get(f"http://127.0.0.1:{port}/")
    assert "frame-ancestors 'none'" in framed.headers["content-security-policy"]
    assert "script-src 'self'" in framed.headers["content-security-policy"]
    assert httpx.get(f"http://127.0.0.1:{port}/", headers={"host": "evil.example"}).status_code == 421


def test_everything_is_reached_by_keys(status: dict[str, Any], port: int, page: Page) -> None:
    newest = status["height"]
    show(page, port)
    expect(page.locator("#link")).to_have_text("● live")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Blocks")
    for _ in range(20):
        if page.evaluate("document.activeElement.dataset.height"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#block h2").first).to_have_text(f"Block {newest}")
    expect(page.locator(f'[data-height="{newest}"]')).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_scrolling_sideways(
    status: dict[str, Any], port: int, browser: Browser, scheme: Any
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 400, "height": 800})
    page = context.new_page()
    for name in PAGES:
        show(page, port, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
    context.close()


def test_without_modules_it_says_what_to_do(status: dict[str, Any], port: int, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#start")).to_contain_text("p2pfed status")
    context.close()


def test_eight_readers_are_served_at_once(status: dict[str, Any], port: int) -> None:
    with httpx.Client(timeout=PATIENCE_S, limits=httpx.Limits(max_connections=9)) as client:
        streams = [client.stream("GET", f"http://127.0.0.1:{port}/v1/events") for _ in range(8)]
        try:
            for stream in streams:
                lines = stream.__enter__().iter_lines()
                assert next(line for line in lines if line.startswith("data: "))
            assert client.get(f"http://127.0.0.1:{port}/v1/status").json()["height"] == status["height"]
        finally:
            for stream in streams:
                stream.__exit__(None, None, None)


def test_a_page_without_a_place_says_so_and_is_live_when_one_is_free(
    status: dict[str, Any], port: int, page: Page
) -> None:
    with httpx.Client(timeout=PATIENCE_S) as client, ExitStack() as readers:
        streams = [
            readers.enter_context(client.stream("GET", f"http://127.0.0.1:{port}/v1/events"))
            for _ in range(STREAMS_MAX)
        ]
        assert {stream.status_code for stream in streams} == {200}
        show(page, port, "events")
        expect(page.locator("#link")).to_contain_text(
            f"{STREAMS_MAX} readers are connected already; trying again"
        )
        assert page.locator("table tbody tr").count() == 0
        streams[0].close()
        expect(page.locator("#link")).to_have_text("● live")
        expect(page.locator("table tbody tr", has_text="peer.started")).to_have_count(1)


def test_a_refused_stream_is_asked_for_ever_more_rarely(
    status: dict[str, Any], port: int, page: Page
) -> None:
    answers: list[str] = []  # What the next streams tell; without one, or asked why, the peer refuses.
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.resource_type)
        if answers and asked[-1] == "eventsource":
            route.fulfill(content_type="text/event-stream", body=answers.pop(0))
        else:
            route.fulfill(status=503, body="no place\n")

    def streams() -> int:
        return asked.count("eventsource")

    page.clock.install()
    page.route("**/v1/events", answer)
    show(page, port, "events")
    link = page.locator("#link")
    for tried, seconds in enumerate((1, 2, 4, 8, 16, 30, 30), 1):
        expect(link).to_have_text(f"○ no place; trying again in {seconds} s")
        assert streams() == tried
        page.clock.run_for(1000 * seconds - 1)
        assert streams() == tried
        page.clock.run_for(1)
    expect(link).to_have_text("○ no place; trying again in 30 s")
    first, second = (
        f'retry: 1\ndata: {{"schema": "p2pfed.event/1", "time_ms": {time}, "event": "peer.joined"}}\n\n'
        for time in (1, 2)
    )
    answers.append(first)
    page.clock.run_for(30_000)
    expect(link).to_have_text("○ no place; trying again in 1 s")  # It was live, so the wait begins anew.
    answers.append(first + second)
    page.clock.resume()
    expect(page.locator("table tbody tr")).to_have_count(2)  # A new stream tells the history once more.


@pytest.fixture
def view(net: Network, status: dict[str, Any]) -> Iterator[str]:
    """The address of a view of the five peers, of whom two are gone."""
    command = [sys.executable, "-m", "p2pfed", "view", str(net.folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("5 peers side by side: ")
            yield re.findall(r"http://\S+", line)[0]
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130
        finally:
            process.kill()


def test_several_peers_in_one_view(net: Network, view: str, page: Page) -> None:
    page.goto(view)
    expect(page.locator("#link")).to_have_text("● live")
    expect(page.locator("#agreement")).to_contain_text("All 5 have the same block and model")
    told = [json.loads(line) for line in p2pfed("view", "--json", net.folder).stdout.splitlines()]
    rows = page.locator("table tbody tr")
    assert rows.count() == len(told) == 5
    for place, (peer, row) in enumerate(zip(net.peers, told, strict=True)):
        own = json.loads(p2pfed("status", "--json", "--home", peer.home.path).stdout)
        assert row["name"] == peer.name
        assert {key: row[key] for key in ("id", "height")} == {key: own[key] for key in ("id", "height")}
        cells = rows.nth(place).locator("td")
        assert cells.nth(0).locator("code").get_attribute("title") == own["id"]
        assert cells.nth(1).inner_text() == ("○ stopped" if own["step"] == "stopped" else "▲ halted")
        assert cells.nth(2).inner_text() == str(own["height"])
        assert cells.nth(4).inner_text() == row["model_root"][:12]
    (common,) = {row["common_height"] for row in told}
    assert common == min(row["height"] for row in told)
    shown = p2pfed("blocks", "show", str(common), "--json", "--home", net.peers[2].home.path).stdout
    assert {row["model_root"] for row in told} == {json.loads(shown)["model_root"]}
    rows.nth(0).locator("a").click()
    expect(page.locator("h1")).to_have_text("Overview")


def test_the_view_marks_who_disagrees_lags_or_is_silent(net: Network, view: str, page: Page) -> None:
    told = [json.loads(line) for line in p2pfed("view", "--json", net.folder).stdout.splitlines()]
    told[1] |= {"agrees": False, "model_root": "f" * 64}
    told[2] |= {"height": 1, "is_deaf": True}
    told[3] |= {"error": HOSTILE}
    page.route("**/v1/peers", lambda route: route.fulfill(json={"schema": "p2pfed.views/1", "peers": told}))
    page.goto(view)
    expect(page.locator("#agreement")).to_have_text(
        f"▲ Another block at height {told[0]['common_height']}: peer1."
    )
    rows = page.locator("table tbody tr")
    expect(rows.nth(1).locator("td").nth(4)).to_have_text("▲ ffffffffffff")
    expect(rows.nth(2).locator("td").nth(1)).to_have_text("▲ no answer")
    expect(rows.nth(2).locator("td").nth(3)).to_have_text(str(max(row["height"] for row in told) - 1))
    expect(rows.nth(3)).to_contain_text("onerror")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.unroute("**/v1/peers")
    expect(page.locator("#agreement")).to_contain_text("All 5")


def test_the_view_is_for_this_machine_alone(view: str) -> None:
    assert httpx.get(view, headers={"host": "evil.example"}).status_code == 421
    assert httpx.get(f"{view}v1/peers", headers={"origin": "http://evil.example"}).status_code == 403
    assert "script-src 'self'" in httpx.get(view).headers["content-security-policy"]
