"""Answers that are not sent to who has them already (RFC 9110 §13).

What is served is made of bytes, and its entity tag is their hash: the same bytes have the same tag
on every relay, after every restart.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from aiohttp import web

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def tag_of(body: bytes) -> str:
    """The entity tag of an answer, without the quotes that it has in a header."""
    return hashlib.sha256(body).hexdigest()[:32]


def has_it(request: web.Request, tag: str, since: datetime | None = None) -> bool:
    """Whether who asks has the bytes of a tag, which were made at `since` (RFC 9110 §13.2.2).

    A tag counts before a time; None: the time says nothing.
    """
    wanted = request.if_none_match
    if wanted is not None:
        return any(each.value in (tag, "*") for each in wanted)
    asked = request.if_modified_since
    return since is not None and asked is not None and asked >= since


def answer(
    request: web.Request,
    body: bytes,
    content_type: str,
    cache: str,
    more: Mapping[str, str] = NOTHING,
) -> web.Response:
    """Bytes, or that they are what who asks has already; `cache` is who may keep them (§5.2.2 of
    RFC 9111), `more` other headers."""
    tag = tag_of(body)
    headers = {"ETag": f'"{tag}"', "Cache-Control": cache, **more}
    if has_it(request, tag):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if content_type.startswith("text/") else None
    return web.Response(body=body, content_type=content_type, charset=charset, headers=headers)
