"""What a request says: who asks, and what for."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from xmpprelay.quickstart.demo_primary.store import DemoStore, Login

MAX_CHARS: Final = 500
URL_CHARS: Final = 23  # what an address counts for, however long it is
MAX_MEDIA: Final = 4
MAX_MEDIA_BYTES: Final = 8 << 20
MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")

VISIBILITIES: Final = ("public", "unlisted", "private", "direct")
OPEN: Final = ("public", "unlisted")
"""What everybody may see."""

STORE: Final = web.AppKey("store", DemoStore)


class ApiError(Exception):
    """An error as the API answers it."""

    def __init__(self, status: int, error: str, **more: object) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error} | more


def base(request: web.Request) -> str:
    """The address of this server, as who asks knows it."""
    return f"http://{request.host}"


def login_of(request: web.Request, scope: str) -> Login:
    """Who asks, and may."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    login = request.app[STORE].login(token) if scheme == "Bearer" else None
    if login is None:
        raise ApiError(401, "The access token is invalid")
    if not login.allows(scope) and scope != "read":
        raise ApiError(403, "This action is outside the authorized scopes")
    return login


async def form_of(request: web.Request) -> Mapping[str, Any]:
    """What it gives, as JSON or as a form."""
    if request.content_type == "application/json":
        try:
            given = await request.json()
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise ApiError(400, "Error occurred while parsing request parameters")
        return given
    posted = await request.post()
    return {name: posted.getall(name) if name.endswith("[]") else posted[name] for name in posted}


def several(form: Mapping[str, Any], name: str) -> list[object]:
    """A list, in either of the ways in which it may be given."""
    given = form.get(name, form.get(f"{name}[]", ()))
    return list(given) if isinstance(given, list | tuple) else [given]


def number(text: object) -> int:
    """An id; nothing has the number 0."""
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,19}", text) else 0
