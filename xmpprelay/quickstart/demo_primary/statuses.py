"""Accounts and statuses: the part of the API that the relay inserts by."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from xmpprelay.quickstart.demo_primary.answered import account, attachment, mentions, status
from xmpprelay.quickstart.demo_primary.asked import (
    MAX_CHARS,
    MAX_MEDIA,
    MAX_MEDIA_BYTES,
    MEDIA_TYPES,
    OPEN,
    STORE,
    URL_CHARS,
    VISIBILITIES,
    ApiError,
    form_of,
    login_of,
    number,
    several,
)
from xmpprelay.quickstart.demo_primary.store import Kept, MediaTaken, New

MOST: Final = 40
"""Statuses on one page of a list."""

_URL: Final = re.compile(r"https?://\S+")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")

routes = web.RouteTableDef()


# --- Accounts ------------------------------------------------------------------------------------


@routes.get("/api/v1/accounts/verify_credentials")
async def _verify(request: web.Request) -> web.Response:
    return web.json_response(account(request, login_of(request, "read:accounts").who))


@routes.get("/api/v1/accounts/{id}/following")
async def _following(request: web.Request) -> web.Response:
    login_of(request, "read:accounts")
    found = request.app[STORE].followed(number(request.match_info["id"]))
    return web.json_response([account(request, each) for each in found])


@routes.get("/api/v1/accounts/{id}/statuses")
async def _own_list(request: web.Request) -> web.Response:
    login = login_of(request, "read:statuses")
    account = number(request.match_info["id"])
    shows = VISIBILITIES if account == login.who.id else OPEN
    return _listed(request, shows, account)


@routes.get("/api/v1/timelines/public")
async def _timeline(request: web.Request) -> web.Response:
    return _listed(request, ("public",), None)


def _listed(request: web.Request, shows: tuple[str, ...], account: int | None) -> web.Response:
    query = request.query
    found = request.app[STORE].page(
        shows=shows,
        account=account,
        min_id=number(query["min_id"]) if "min_id" in query else None,
        max_id=number(query["max_id"]) if "max_id" in query else None,
        limit=min(max(number(query.get("limit", "20")), 1), MOST),
    )
    return web.json_response([status(request, each) for each in found])


# --- Statuses ------------------------------------------------------------------------------------


@routes.post("/api/v1/statuses")
async def _post(request: web.Request) -> web.Response:
    login = login_of(request, "write:statuses")
    form = await form_of(request)
    store = request.app[STORE]
    media = tuple(number(each) for each in several(form, "media_ids"))
    text = _text(request, form, media)
    visibility = form.get("visibility") or "public"
    if visibility not in VISIBILITIES:
        raise ApiError(422, "Validation failed: Visibility is not included in the list")
    parent = None
    if form.get("in_reply_to_id"):
        parent = number(form["in_reply_to_id"])
        if store.status(parent) is None:
            raise ApiError(404, "Record not found")
    key = request.headers.get("Idempotency-Key", "")
    new = New(text, str(visibility), parent, _language(form), media)
    try:
        kept = store.post(login, new, key)
    except MediaTaken:
        raise ApiError(422, "Cannot attach files that are not there, or used") from None
    return web.json_response(status(request, kept))


@routes.get("/api/v1/statuses/{id}")
async def _show(request: web.Request) -> web.Response:
    return web.json_response(status(request, _kept(request)))


@routes.get("/api/v1/statuses/{id}/source")
async def _source(request: web.Request) -> web.Response:
    kept = _own(request, "read:statuses")
    return web.json_response({"id": str(kept.id), "text": kept.text, "spoiler_text": ""})


@routes.put("/api/v1/statuses/{id}")
async def _edit(request: web.Request) -> web.Response:
    kept = _own(request, "write:statuses")
    form = await form_of(request)
    text = _text(request, form, kept.media)
    request.app[STORE].edit(kept.id, text, _language(form) or kept.language)
    return web.json_response(status(request, _kept(request)))


@routes.delete("/api/v1/statuses/{id}")
async def _delete(request: web.Request) -> web.Response:
    kept = _own(request, "write:statuses")
    request.app[STORE].delete(kept.id)
    return web.json_response(status(request, kept) | {"text": kept.text})


@routes.post("/api/v1/media")
@routes.post("/api/v2/media")
async def _upload(request: web.Request) -> web.Response:
    login = login_of(request, "write:media")
    form = await request.post()
    file = form.get("file")
    if not isinstance(file, web.FileField) or file.content_type not in MEDIA_TYPES:
        raise ApiError(422, "Validation failed: File content type is invalid")
    content = file.file.read()
    if not 0 < len(content) <= MAX_MEDIA_BYTES:
        raise ApiError(422, "Validation failed: File is empty, or too large")
    number = request.app[STORE].add_media(login.who.id, file.content_type, content)
    return web.json_response(attachment(request, number))


@routes.get("/api/v1/media/{id}")
async def _attached(request: web.Request) -> web.Response:
    login_of(request, "write:media")
    media = number(request.match_info["id"])
    if request.app[STORE].media(media) is None:
        raise ApiError(404, "Record not found")
    return web.json_response(attachment(request, media))


# --- What they are made of ------------------------------------------------------------------------


def _text(request: web.Request, form: Mapping[str, Any], media: tuple[int, ...]) -> str:
    """The text of a status, which may be one."""
    text = str(form.get("status") or "")
    if not text.strip() and not media:
        raise ApiError(422, "Validation failed: Text can't be blank")
    if len(_URL.sub("x" * URL_CHARS, text)) > MAX_CHARS:
        raise ApiError(422, f"Validation failed: Text character limit of {MAX_CHARS} exceeded")
    if len(media) > MAX_MEDIA:
        raise ApiError(422, f"Validation failed: Cannot attach more than {MAX_MEDIA} files")
    if "allowed_mentions" in form or "allowed_mentions[]" in form:
        allowed = {str(each) for each in several(form, "allowed_mentions")}
        others = [each for each in mentions(request, text) if str(each.id) not in allowed]
        if others:
            raise ApiError(
                422,
                "Status will be seen by accounts that were not meant to",
                unexpected_accounts=[account(request, each) for each in others],
            )
    return text


def _language(form: Mapping[str, Any]) -> str | None:
    given = form.get("language")
    known = isinstance(given, str) and _LANGUAGE.fullmatch(given)
    return str(given) if known else None


def _kept(request: web.Request) -> Kept:
    """The status that is asked for, if who asks may see it."""
    kept = request.app[STORE].status(number(request.match_info["id"]))
    if kept is not None and kept.visibility not in OPEN:
        kept = kept if login_of(request, "read:statuses").who.id == kept.account else None
    if kept is None:
        raise ApiError(404, "Record not found")
    return kept


def _own(request: web.Request, scope: str) -> Kept:
    login, kept = login_of(request, scope), _kept(request)
    if kept.account != login.who.id:
        raise ApiError(404, "Record not found")
    return kept
