"""An instance to log in at: OAuth as Mastodon has it, on a real socket of this machine.

`async with Instance() as instance`; `instance.lets_in("alice", address)` is what a person does in
her browser with the address that the relay gave her, and gives the code that she is shown. What is
wrong with a request is refused as Mastodon refuses it, PKCE (RFC 7636) above all.

`instance.fails[path] = status` answers a path with that status and a page, until it is taken away.
"""

import base64
import hashlib
import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
PAGE = 2
"""Followed accounts on one page, so that tests need few."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody has allowed an application, and not used yet."""

    account: str
    client_id: str
    scope: str
    challenge: str


class Instance:
    """One instance with accounts. As a context manager it listens."""

    def __init__(self) -> None:
        self.site = ""
        self.ids: dict[str, str] = {}  # of accounts, by name; of remote ones `bob@other.example`
        self.follows: dict[str, list[str]] = {}
        self.apps: dict[str, str] = {}  # client id -> secret
        self.tokens: dict[str, str] = {}  # token -> account
        self.revoked: list[str] = []
        self.fails: dict[str, int] = {}  # path -> status
        self.asked: list[str] = []  # paths of all requests
        self._grants: dict[str, Grant] = {}  # by code
        self._count = itertools.count(1)
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/v2/instance", self._about),
                web.post("/api/v1/apps", self._register),
                web.post("/oauth/token", self._token),
                web.post("/oauth/revoke", self._revoke),
                web.get("/api/v1/accounts/verify_credentials", self._verify),
                web.get("/api/v1/accounts/{id}/following", self._following),
            ]
        )
        app.middlewares.append(self._as_asked)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> "Instance":
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.site = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    # What people do in their browsers

    def account(self, name: str, *follows: str) -> str:
        """The id of an account, which is made if it is missing, and follows these."""
        self.follows.setdefault(name, []).extend(follows)
        for each in (name, *follows):
            self.ids.setdefault(each, f"id-{each}")
        return self.ids[name]

    def lets_in(self, name: str, address: str) -> str:
        """Somebody opens the address and says yes; the code that is shown then."""
        parts = urlsplit(address)
        assert address.startswith(f"{self.site}/oauth/authorize?")
        query = {key: value for key, [value] in parse_qs(parts.query).items()}
        assert query["response_type"] == "code"
        assert query["redirect_uri"] == OUT_OF_BAND
        assert query["client_id"] in self.apps
        assert query["code_challenge_method"] == "S256"
        self.account(name)
        code = secrets.token_urlsafe(32)
        self._grants[code] = Grant(
            name, query["client_id"], query["scope"], query["code_challenge"]
        )
        return code

    # What the relay asks

    @web.middleware
    async def _as_asked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path in self.fails:
            return web.Response(
                status=self.fails[request.path],
                text="<html><h1>Bad gateway</h1></html>",
                content_type="text/html",
            )
        return await handler(request)

    async def _register(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not form.get("client_name") or form.get("redirect_uris") != OUT_OF_BAND:
            return web.json_response({"error": "Validation failed"}, status=422)
        client_id = f"client-{next(self._count)}"
        self.apps[client_id] = secrets.token_urlsafe(32)
        return web.json_response(
            {"id": "7", "client_id": client_id, "client_secret": self.apps[client_id]}
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self._is_client(form):
            return web.json_response({"error": "invalid_client"}, status=401)
        grant = self._grants.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            grant is None
            or grant.client_id != form.get("client_id")
            or grant.challenge != challenge
            or form.get("redirect_uri") != OUT_OF_BAND
            or form.get("grant_type") != "authorization_code"
        ):
            return web.json_response(
                {"error": "invalid_grant", "error_description": "The code is not valid."},
                status=400,
            )
        token = secrets.token_urlsafe(32)
        self.tokens[token] = grant.account
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "scope": grant.scope}
        )

    async def _revoke(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self._is_client(form):
            return web.json_response({"error": "unauthorized_client"}, status=403)
        token = str(form.get("token"))
        if self.tokens.pop(token, None) is not None:
            self.revoked.append(token)
        return web.json_response({})

    async def _about(self, _request: web.Request) -> web.Response:
        return web.json_response({"domain": "127.0.0.1", "version": "4.2.0"})

    async def _verify(self, request: web.Request) -> web.Response:
        name = self._who_asks(request)
        if name is None:
            return web.json_response({"error": "The access token is invalid"}, status=401)
        return web.json_response({"id": self.ids[name], "username": name, "acct": name})

    async def _following(self, request: web.Request) -> web.Response:
        name = self._who_asks(request)
        if name is None or self.ids[name] != request.match_info["id"]:
            return web.json_response({"error": "The access token is invalid"}, status=401)
        begin = int(request.query.get("max_id", "0"))
        every = self.follows[name]
        page = every[begin : begin + PAGE]
        headers = {}
        if begin + PAGE < len(every):
            address = f"http://elsewhere.example{request.path}?limit=80&max_id={begin + PAGE}"
            headers["Link"] = f'<{address}>; rel="next", <{address}>; rel="prev"'
        found = [{"id": self.ids[each], "acct": each} for each in page]
        return web.json_response(found, headers=headers)

    def _is_client(self, form: Mapping[str, object]) -> bool:
        secret = self.apps.get(str(form.get("client_id")))
        return secret is not None and secret == form.get("client_secret")

    def _who_asks(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self.tokens.get(token) if scheme == "Bearer" else None
