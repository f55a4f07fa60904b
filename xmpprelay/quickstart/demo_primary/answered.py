"""What an answer says: accounts, statuses and attachments as JSON."""

from typing import Any

from aiohttp import web

from xmpprelay.quickstart.demo_primary import pages
from xmpprelay.quickstart.demo_primary.asked import STORE, base
from xmpprelay.quickstart.demo_primary.store import Kept, Who


def account(request: web.Request, who: Who) -> dict[str, Any]:
    """An account."""
    return {
        "id": str(who.id),
        "username": who.name,
        "acct": who.name,
        "display_name": who.name,
        "url": f"{base(request)}/@{who.name}",
    }


def status(request: web.Request, kept: Kept) -> dict[str, Any]:
    """A status."""
    here = base(request)

    def address_of(typed: str) -> str | None:
        who = _local(request, typed)
        return None if who is None else f"{here}/@{who.name}"

    edited = kept.edited_ms
    return {
        "id": str(kept.id),
        "uri": f"{here}/users/{kept.name}/statuses/{kept.id}",
        "url": f"{here}/@{kept.name}/{kept.id}",
        "created_at": pages.iso(kept.created_ms),
        "edited_at": None if edited is None else pages.iso(edited),
        "content": pages.content(kept.text, address_of),
        "visibility": kept.visibility,
        "language": kept.language,
        "in_reply_to_id": None if kept.parent is None else str(kept.parent),
        "account": account(request, Who(kept.account, kept.name)),
        "application": None if kept.app is None else {"name": kept.app, "website": None},
        "media_attachments": [attachment(request, each) for each in kept.media],
        "mentions": [account(request, each) for each in mentions(request, kept.text)],
        "sensitive": False,
        "spoiler_text": "",
        "reblog": None,
        "poll": None,
        "emojis": [],
        "tags": [],
    }


def attachment(request: web.Request, number: int) -> dict[str, Any]:
    """An attachment."""
    address = f"{base(request)}/media/{number}"
    return {"id": str(number), "type": "image", "url": address, "preview_url": address}


def mentions(request: web.Request, text: str) -> list[Who]:
    """The accounts that a text names."""
    found = (_local(request, each) for each in pages.mentioned(text))
    return list(dict.fromkeys(each for each in found if each is not None))


def _local(request: web.Request, typed: str) -> Who | None:
    """The account of this server that a name in a text is."""
    name, _, host = typed.partition("@")
    if host and host not in (request.host, request.host.partition(":")[0]):
        return None
    return request.app[STORE].named(name.lower())
