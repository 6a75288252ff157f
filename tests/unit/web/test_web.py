"""The local API: who may ask, what it says, and how many may listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from p2pfed.errors import LocalError
from p2pfed.primitives import codec
from p2pfed.runtime.feed import Entry, Feed
from p2pfed.storage.api_token import load_token
from p2pfed.storage.home import Home
from p2pfed.types.transaction import Bond
from p2pfed.types.vote import Prevote
from p2pfed.web import app as web_app
from p2pfed.web.app import STREAMS_MAX, make_app
from p2pfed.web.interface import WebInterface

PORT = 8400
KEY = b"\x02" + bytes(32)
TOKEN = "5a" * 32
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
BONDED = codec.encode(Bond(KEY, 5, 0, 0, bytes(64)))
STATUS = {"schema": "p2pfed.status/1", "height": 7}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(web_app, "status_of", lambda _: STATUS)
    home = Home(tmp_path / "home")
    home.create()
    return SimpleNamespace(
        feed=Feed(),
        node=SimpleNamespace(work=None, is_finished=False),
        store=SimpleNamespace(home=home),
        submit=lambda _: "",
    )


def client(host: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=make_app(host, PORT, TOKEN))
    return httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}")


HOSTS = {
    f"127.0.0.1:{PORT}": 200,
    f"localhost:{PORT}": 200,
    "127.0.0.1": 421,
    "localhost": 421,
    f"127.0.0.1:{PORT + 1}": 421,
    f"evil.example:{PORT}": 421,
    f"localhost.evil.example:{PORT}": 421,
    f"127.0.0.1:{PORT}.evil.example": 421,
    f"[::1]:{PORT}": 421,
    f"0.0.0.0:{PORT}": 421,
    f"LOCALHOST:{PORT}": 421,
    "": 421,
}
ORIGINS = {
    None: 200,
    f"http://127.0.0.1:{PORT}": 200,
    f"http://localhost:{PORT}": 200,
    "http://127.0.0.1": 403,
    f"https://127.0.0.1:{PORT}": 403,
    f"http://127.0.0.1:{PORT + 1}": 403,
    f"http://evil.example:{PORT}": 403,
    "null": 403,
    "": 403,
}


@pytest.mark.parametrize("path", ["/v1/status", "/livez", "/nothing"])
@pytest.mark.parametrize("name", HOSTS)
async def test_only_our_own_name_is_answered_to(name: str, path: str, host: Any) -> None:
    async with client(host) as asking:
        answer = await asking.get(path, headers={"host": name})
    wanted = HOSTS[name]
    assert answer.status_code == (404 if wanted == 200 and path == "/nothing" else wanted)
    assert "height" not in answer.text or wanted == 200


@pytest.mark.parametrize("origin", ORIGINS)
async def test_no_page_of_another_site_may_ask(origin: str | None, host: Any) -> None:
    async with client(host) as asking:
        answer = await asking.get("/v1/status", headers={} if origin is None else {"origin": origin})
    assert answer.status_code == ORIGINS[origin]
    assert "access-control-allow-origin" not in answer.headers


async def test_two_hosts_are_none_and_one_bad_origin_of_two_is_enough(host: Any) -> None:
    own = f"127.0.0.1:{PORT}"
    async with client(host) as asking:
        doubled = await asking.get("/v1/status", headers=[("host", own), ("host", own)])
        mixed = [("host", own), ("origin", f"http://{own}"), ("origin", "http://evil.example")]
        assert doubled.status_code == 421
        assert (await asking.get("/v1/status", headers=mixed)).status_code == 403


async def test_status_is_json_and_every_answer_forbids_what_a_page_could_do(host: Any) -> None:
    async with client(host) as asking:
        answer = await asking.get("/v1/status")
        assert answer.json() == STATUS
        for path in ("/v1/status", "/livez", "/readyz", "/nothing"):
            headers = (await asking.get(path)).headers
            assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_written(method: str, host: Any) -> None:
    async with client(host) as asking:
        for path in ("/v1/status", "/v1/events", "/livez"):
            assert (await asking.request(method, path, content=b"x")).status_code == 401
            known = await asking.request(method, path, content=b"x", headers=AUTHORIZED)
            assert known.status_code == 405


TOKENS = {
    (f"Bearer {TOKEN}",): 202,
    (): 401,
    ("",): 401,
    (TOKEN,): 401,
    ("Bearer ",): 401,
    (f"Basic {TOKEN}",): 401,
    (f"Bearer {TOKEN[:-1]}",): 401,
    (f"Bearer {TOKEN}0",): 401,
    (f"Bearer {TOKEN.upper()}",): 401,
    (f"Bearer {'00' * 32}",): 401,
    (f"Bearer {TOKEN}", "Bearer x"): 401,
    ("Bearer \xe9",): 401,
}


@pytest.mark.parametrize("origin", [None, f"http://127.0.0.1:{PORT}", "http://evil.example", "null"])
@pytest.mark.parametrize("name", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"evil.example:{PORT}", "[::1]"])
async def test_a_write_needs_the_right_name_the_right_origin_and_the_token(
    name: str, origin: str | None, host: Any
) -> None:
    taken: list[Any] = []
    host.submit = lambda transaction: taken.append(transaction) or ""
    is_allowed = (
        name in (f"127.0.0.1:{PORT}", f"localhost:{PORT}"),
        origin in (None, f"http://127.0.0.1:{PORT}"),
    )
    async with client(host) as asking:
        for given, wanted in TOKENS.items():
            headers = [
                (b"host", name.encode()),
                *((b"authorization", text.encode("latin-1")) for text in given),
            ]
            headers += [] if origin is None else [(b"origin", origin.encode())]
            answer = await asking.post("/v1/transactions", content=BONDED, headers=headers)
            assert answer.status_code == (421 if not is_allowed[0] else 403 if not is_allowed[1] else wanted)
            if answer.status_code == 401:
                assert answer.text.count("\n") == 1
                assert "run/api.token" in answer.text
                assert answer.headers["www-authenticate"] == "Bearer"
    assert len(taken) == all(is_allowed)


async def test_a_read_needs_no_token_and_a_wrong_one_does_not_matter(host: Any) -> None:
    async with client(host) as asking:
        for headers in ({}, {"authorization": "Bearer x"}, AUTHORIZED):
            assert (await asking.get("/v1/status", headers=headers)).status_code == 200


async def test_a_home_without_a_token_gets_one_and_it_is_the_one_that_counts(host: Any) -> None:
    path = host.store.home.api_token
    assert not path.exists()
    async with served(host) as port, httpx.AsyncClient() as asking:
        assert path.stat().st_mode & 0o777 == 0o600
        url, token = f"http://127.0.0.1:{port}/v1/transactions", load_token(path)
        for text, wanted in ((token, 202), (TOKEN, 401)):
            answer = await asking.post(url, content=BONDED, headers={"authorization": f"Bearer {text}"})
            assert answer.status_code == wanted


async def test_a_peer_is_ready_when_it_works_on_a_height_or_has_ended(host: Any) -> None:
    async with client(host) as asking:
        assert (await asking.get("/livez")).status_code == 200
        assert (await asking.get("/readyz")).status_code == 503
        host.node.work = object()
        assert (await asking.get("/readyz")).status_code == 200
        host.node.work, host.node.is_finished = None, True
        assert (await asking.get("/readyz")).status_code == 200


@asynccontextmanager
async def served(host: Any) -> AsyncIterator[int]:
    """A real server on a port that the system chose: streams need one."""
    interface = WebInterface(0)
    port = await interface.start(host)
    try:
        yield port
    finally:
        await interface.stop()


def entry(number: int) -> Entry:
    return Entry(1000 + number, "block.committed", {"height": number})


async def read_events(lines: AsyncIterator[str], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for line in lines:
        if line.startswith("data: "):
            found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    return found


async def test_events_are_the_history_first_and_then_what_happens(host: Any) -> None:
    for number in range(3):
        host.feed.publish(entry(number))
    async with served(host) as port, httpx.AsyncClient() as asking:
        async with asking.stream("GET", f"http://127.0.0.1:{port}/v1/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            assert [event["height"] for event in await read_events(lines, 3)] == [0, 1, 2]
            host.feed.publish(entry(3))
            (new,) = await read_events(lines, 1)
            assert new == {
                "schema": "p2pfed.event/1",
                "time_ms": 1003,
                "event": "block.committed",
                "height": 3,
            }
        resumed = {"last-event-id": "1002"}
        async with asking.stream("GET", f"http://127.0.0.1:{port}/v1/events", headers=resumed) as stream:
            assert [event["height"] for event in await read_events(stream.aiter_lines(), 1)] == [3]


@pytest.mark.parametrize("last", ["", "x", "-5", "9" * 30, "١٢"])
async def test_a_last_event_id_that_is_none_means_from_the_beginning(last: str, host: Any) -> None:
    host.feed.publish(entry(0))
    async with served(host) as port, httpx.AsyncClient() as asking:
        headers = [("last-event-id", last.encode())]
        async with asking.stream("GET", f"http://127.0.0.1:{port}/v1/events", headers=headers) as stream:
            assert len(await read_events(stream.aiter_lines(), 1)) == 1


async def test_a_hostile_text_stays_inside_its_event(host: Any) -> None:
    text = "x\n\ndata: {}\n\nid: 9\r\x1b[2J<script>"
    host.feed.publish(Entry(1, "update.refused", {"reason": text}))
    host.feed.publish(entry(1))
    async with (
        served(host) as port,
        httpx.AsyncClient() as asking,
        asking.stream("GET", f"http://127.0.0.1:{port}/v1/events") as stream,
    ):
        first, second = await read_events(stream.aiter_lines(), 2)
    assert first["reason"] == text
    assert second["height"] == 1


async def places_taken(host: Any, count: int) -> None:
    """Wait until the server has noticed that no more than `count` readers are left."""
    async with asyncio.timeout(10):
        while len(host.feed._streams) > count:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.001)


async def test_the_seventeenth_reader_is_refused_until_one_leaves(host: Any) -> None:
    host.feed.publish(entry(0))
    async with served(host) as port, httpx.AsyncClient() as asking:
        url = f"http://127.0.0.1:{port}/v1/events"
        waiting = [asking.build_request("GET", url) for _ in range(STREAMS_MAX)]
        streams = [await asking.send(request, stream=True) for request in waiting]
        assert [stream.status_code for stream in streams] == [200] * STREAMS_MAX
        refused = await asking.get(url)
        assert refused.status_code == 503
        assert f"{STREAMS_MAX} readers" in refused.text
        assert (await asking.get(f"http://127.0.0.1:{port}/v1/status")).status_code == 200
        await streams[0].aclose()
        await places_taken(host, STREAMS_MAX - 1)
        async with asking.stream("GET", url) as stream:
            assert stream.status_code == 200
        for stream in streams[1:]:
            await stream.aclose()


async def test_who_asks_for_the_head_alone_takes_no_place(host: Any) -> None:
    async with served(host) as port, httpx.AsyncClient() as asking:
        url = f"http://127.0.0.1:{port}/v1/events"
        for _ in range(STREAMS_MAX + 1):
            answer = await asking.head(url)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"].startswith("text/event-stream")
        assert not host.feed._streams


async def test_readers_that_are_cut_off_leave_their_places(host: Any) -> None:
    """A reader that goes before it read a byte must not hold its place for ever."""
    async with served(host) as port:
        for _ in range(2 * STREAMS_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            await writer.drain()
            assert b" 200 " in await reader.readline()
            writer.transport.abort()
            await places_taken(host, 0)


async def test_it_listens_on_loopback_only_and_a_taken_port_is_named(host: Any) -> None:
    async with served(host) as port:
        with pytest.raises(LocalError, match=f"127.0.0.1:{port} can't be used .*--http-port.*--no-http"):
            await WebInterface(port).start(host)
    async with served(host):
        pass
    again = WebInterface(port)
    assert await again.start(host) == port  # It was given back.
    assert again._socket is not None
    assert again._socket.getsockname() == ("127.0.0.1", port)
    await again.stop()


async def test_a_strangers_bytes_are_no_line_of_our_log(host: Any, capfd: pytest.CaptureFixture[str]) -> None:
    async with served(host) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 this is no HTTP \r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()
    assert capfd.readouterr() == ("", "")


async def test_a_signed_transaction_is_taken_and_a_refusal_is_told(host: Any) -> None:
    taken: list[Any] = []
    host.submit = lambda transaction: taken.append(transaction) or ("no money" if transaction.fee else "")
    good, bad = Bond(KEY, 5, 0, 0, bytes(64)), Bond(KEY, 5, 1, 0, bytes(64))
    vote = Prevote(1, 0, None, -1, 0, bytes(64))
    async with client(host) as asking:
        answers = [
            await asking.post("/v1/transactions", content=data, headers=AUTHORIZED)
            for data in (codec.encode(good), codec.encode(bad), codec.encode(vote), b"x", bytes(513))
        ]
        elsewhere = await asking.post(
            "/v1/transactions",
            content=codec.encode(good),
            headers={**AUTHORIZED, "origin": "http://evil.example"},
        )
    assert [answer.status_code for answer in answers] == [202, 422, 400, 400, 413]
    assert answers[1].text == "no money\n"
    assert elsewhere.status_code == 403
    assert taken == [good, bad]
