"""Who may ask: only programs of this machine that name it rightly, so no web page can reach a peer.

Who writes must also read the home of the peer: a write carries its token.
"""

from __future__ import annotations

import hmac

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_READS = frozenset({"GET", "HEAD"})
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class LoopbackGuard:
    """Refuse a request whose Host is not this address (DNS rebinding) or whose Origin is not its own.

    Also a write without the token. `token` None: there is nothing to write.
    """

    def __init__(self, app: ASGIApp, port: int, token: str | None) -> None:
        self._app = app
        self._authorization = None if token is None else f"Bearer {token}".encode()
        names = ("127.0.0.1", "localhost")
        self._hosts = frozenset(f"{name}:{port}".encode() for name in names)
        self._origins = frozenset(b"http://" + host for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            await PlainTextResponse("this address is not mine\n", 421)(scope, receive, send)
            return
        if any(origin not in self._origins for origin in origins):
            await PlainTextResponse("no other site may ask here\n", 403)(scope, receive, send)
            return
        if scope["method"] not in _READS and (refusal := self._refusal(headers)) is not None:
            await refusal(scope, receive, send)
            return

        async def send_guarded(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                own: list[tuple[bytes, bytes]] = message["headers"]  # type: ignore[assignment]
                has_policy = any(name == _POLICY[0] for name, _ in own)  # A page has a wider one.
                message["headers"] = [*own, *([] if has_policy else [_POLICY]), *_SECURITY_HEADERS]
            await send(message)

        await self._app(scope, receive, send_guarded)  # type: ignore[arg-type]

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> PlainTextResponse | None:
        """Return why a write is refused, None where it carries the token and no other."""
        if self._authorization is None:
            return PlainTextResponse("nothing can be written here\n", 405)
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) == 1 and hmac.compare_digest(given[0], self._authorization):
            return None
        text = "a write needs `Authorization: Bearer TOKEN`, the token of run/api.token in its home\n"
        return PlainTextResponse(text, 401, {"www-authenticate": "Bearer"})
