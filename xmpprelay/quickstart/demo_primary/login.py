"""How programs are let in: OAuth as Mastodon has it (RFC 6749, with RFC 7636).

The code is shown to whoever logs in, and he gives it to the program himself.
"""

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from xmpprelay.quickstart.demo_primary import pages
from xmpprelay.quickstart.demo_primary.asked import STORE, ApiError, form_of, login_of
from xmpprelay.quickstart.demo_primary.store import Who

OUT_OF_BAND: Final = "urn:ietf:wg:oauth:2.0:oob"

CODE_KEPT_S: Final = 600.0

_FIELDS: Final = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "code_challenge",
    "code_challenge_method",
)
_SCOPE: Final = re.compile(r"(?:read|write|profile)(?::[a-z_]+)?")

routes = web.RouteTableDef()


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody has allowed an application, and not used yet."""

    who: Who
    app: str
    scope: str
    redirect_uri: str
    challenge: str  # empty: none was given
    at: float  # monotonic


GRANTS: Final = web.AppKey("grants", dict[str, Grant])


@routes.post("/api/v1/apps")
async def _register(request: web.Request) -> web.Response:
    form = await form_of(request)
    name = str(form.get("client_name") or "")
    if not name or not form.get("redirect_uris"):
        raise ApiError(422, "Validation failed: Application name can't be blank")
    app, secret = request.app[STORE].add_app(name[:100])
    return web.json_response(
        {"id": app, "name": name, "client_id": app, "client_secret": secret,
         "redirect_uri": form["redirect_uris"]}
    )  # fmt: skip


@routes.get("/api/v1/apps/verify_credentials")
async def _verify_app(request: web.Request) -> web.Response:
    login = login_of(request, "read")
    return web.json_response({"name": request.app[STORE].app_name(login.app)})


@routes.get("/oauth/authorize")
async def _ask_in(request: web.Request) -> web.Response:
    return _authorize_page(request, request.query)


@routes.post("/oauth/authorize")
async def _let_in(request: web.Request) -> web.Response:
    form = await request.post()
    given = {name: str(value) for name, value in form.items()}
    who = request.app[STORE].logs_in(given.get("name", ""), given.get("password", ""))
    if who is None:
        return _authorize_page(request, given, "There is no such account, or another password.")
    name = _wrong_with(request, given)
    if isinstance(name, web.Response):
        return name
    grants, now = request.app[GRANTS], time.monotonic()
    for old in [each for each, grant in grants.items() if now - grant.at >= CODE_KEPT_S]:
        del grants[old]
    text = secrets.token_urlsafe(32)
    grants[text] = Grant(
        who, given["client_id"], given["scope"], given["redirect_uri"],
        given.get("code_challenge", ""), now,
    )  # fmt: skip
    return web.Response(text=pages.code(name, text), content_type="text/html")


def _authorize_page(
    request: web.Request, given: Mapping[str, str], wrong: str = ""
) -> web.Response:
    name = _wrong_with(request, given)
    if isinstance(name, web.Response):
        return name
    fields = {each: given[each] for each in _FIELDS if each in given}
    page = pages.authorize(name, given["scope"].split(), fields, wrong)
    return web.Response(text=page, content_type="text/html")


def _wrong_with(request: web.Request, given: Mapping[str, str]) -> str | web.Response:
    """The name of the program that asks, or the page that says why it cannot be let in."""
    name = request.app[STORE].app_name(given.get("client_id", ""))
    sentence = ""
    if name is None:
        sentence = "No such program is registered here: let it begin anew."
    elif given.get("response_type") != "code" or given.get("redirect_uri") != OUT_OF_BAND:
        sentence = "Only programs that take a code by hand can be let in here."
    elif given.get("code_challenge") and given.get("code_challenge_method") != "S256":
        sentence = "The program's challenge is not of the kind S256."
    elif not all(map(_SCOPE.fullmatch, given.get("scope", "").split() or [""])):
        sentence = "The program asks for something that there is not."
    if name is None or sentence:
        return web.Response(text=pages.refused(sentence), content_type="text/html", status=400)
    return name


@routes.post("/oauth/token")
async def _token(request: web.Request) -> web.Response:
    form = await form_of(request)
    store = request.app[STORE]
    client = str(form.get("client_id") or "")
    if store.app_name(client, str(form.get("client_secret") or "")) is None:
        raise ApiError(401, "invalid_client", error_description="Client authentication failed.")
    grant = request.app[GRANTS].pop(str(form.get("code")), None)
    digest = hashlib.sha256(str(form.get("code_verifier") or "").encode()).digest()
    proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if (
        grant is None
        or form.get("grant_type") != "authorization_code"
        or grant.app != client
        or grant.redirect_uri != form.get("redirect_uri")
        or (grant.challenge and grant.challenge != proof)
        or time.monotonic() - grant.at >= CODE_KEPT_S
    ):
        raise ApiError(400, "invalid_grant", error_description="The code is not valid.")
    token = store.add_token(grant.who.id, client, grant.scope)
    return web.json_response(
        {"access_token": token, "token_type": "Bearer", "scope": grant.scope,
         "created_at": int(time.time())}
    )  # fmt: skip


@routes.post("/oauth/revoke")
async def _revoke(request: web.Request) -> web.Response:
    form = await form_of(request)
    client = str(form.get("client_id") or "")
    if request.app[STORE].app_name(client, str(form.get("client_secret") or "")) is None:
        raise ApiError(403, "unauthorized_client")
    request.app[STORE].revoke(str(form.get("token")), client)
    return web.json_response({})
