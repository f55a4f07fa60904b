"""What a scripted primary writes into its answers: statuses as JSON, texts as HTML."""

import re
from html import escape
from typing import Any, Final

from tests.primaries.faults import Op
from tests.primaries.profiles import MAX_MEDIA_BYTES, MEDIA_TYPES
from tests.primaries.world import Call, Met, Reply, Stored, World, iso
from xmpprelay.core.primary import Visibility

ERROR_PAGE: Final = (
    "<!DOCTYPE html><html><head><title>{status}</title><style>body {{ color: red }}</style></head>"
    "<body><h1>{status}</h1><p>Please try <b>later</b>.</p></body></html>"
)

_LINK: Final = re.compile(r"https?://[^\s<>\"]+")
_MENTION: Final = re.compile(r"@([A-Za-z0-9_]+)@([A-Za-z0-9.-]+)")


def content_of(met: Met, call: Call, world: World) -> str | dict[str, Any] | list[Any]:
    """The body of an answer: a text as it is, or what is to be written as JSON."""
    reply = met.reply
    if reply.html:
        return ERROR_PAGE.format(status=reply.status)
    if reply.body is not None:
        return reply.body
    if not reply.good:
        return {"error": f"the answer is {reply.status}"}
    match call.op:
        case Op.LIST:
            return [status(each, world) for each in reply.page]
        case Op.VERIFY:
            return {"id": reply.remote_id, "acct": _name(reply.remote_id, world)}
        case Op.UPLOAD:
            return {"id": reply.remote_id, "type": "image", "url": f"{world.site}/media/x.png"}
        case Op.SOURCE:
            assert reply.stored is not None
            return {"id": reply.stored.id, "text": source(reply.stored, world), "spoiler_text": ""}
    return _invented(reply, call, world) if reply.stored is None else status(reply.stored, world)


def status(stored: Stored, world: World) -> dict[str, Any]:
    """A status as the API shows it."""
    name = _name(stored.account, world)
    return {
        "id": stored.id,
        "uri": f"{world.site}/users/{name}/statuses/{stored.id}",
        "url": f"{world.site}/@{stored.account}/{stored.id}",
        "created_at": iso(stored.at),
        "edited_at": iso(stored.at) if stored.edits else None,
        "content": html(stored.text, world),
        "visibility": str(stored.visibility),
        "language": stored.language or None,
        "in_reply_to_id": stored.parent or None,
        "account": {"id": stored.account, "acct": name, "username": name},
        "media_attachments": [{"id": each, "type": "image"} for each in stored.media],
        "mentions": [
            {"acct": f"{local}@{host}", "username": local, "url": f"https://{host}/@{local}"}
            for local, host in _MENTION.findall(stored.text)
        ],
        "application": {"name": "xmpprelay"},
        "sensitive": False,
        "spoiler_text": "",
        "reblog": None,
        "emojis": [],
        "tags": [],
    }


def source(stored: Stored, world: World) -> str:
    """The text as it was typed, where the server still has it."""
    return html(stored.text, world) if world.profile.source_is_html else stored.text


def html(text: str, world: World) -> str:
    """A text as these servers show it: a long link in three pieces, a mention without its host."""
    written = _MENTION.sub(_mention, _LINK.sub(_link, escape(text, quote=False)))
    paragraphs = re.split(r"\n{2,}", written)
    return "".join(f"<p>{each.replace(chr(10), '<br />')}</p>" for each in paragraphs)


def instance(world: World, version: int) -> dict[str, Any]:
    """What the server says about itself, in either version of the API."""
    profile = world.profile
    limits = {
        "statuses": {
            "max_characters": profile.max_chars,
            "max_media_attachments": profile.max_media,
            "characters_reserved_per_url": profile.url_weight,
        },
        "media_attachments": {
            "supported_mime_types": sorted(MEDIA_TYPES),
            "image_size_limit": MAX_MEDIA_BYTES,
        },
    }
    host = world.site.partition("://")[2]
    name = {"domain": host} if version == 2 else {"uri": host, "max_toot_chars": profile.max_chars}
    return {**name, "title": "A scripted primary", "version": "4.2.0", "configuration": limits}


def nodeinfo(world: World) -> dict[str, Any]:
    """Which software it is."""
    software = {"name": world.profile.software, "version": world.profile.version}
    return {"version": "2.0", "software": software, "protocols": ["activitypub"]}


def nodeinfo_links(world: World) -> dict[str, Any]:
    """Where that is to be found."""
    rel = "http://nodeinfo.diaspora.software/ns/schema/2.0"
    return {"links": [{"rel": rel, "href": f"{world.site}/nodeinfo/2.0"}]}


def _invented(reply: Reply, call: Call, world: World) -> dict[str, Any]:
    if not reply.remote_id:
        return {}
    made = Stored(
        reply.remote_id, "0", call.text, call.text, Visibility.PUBLIC, call.parent, call.language,
        call.media, call.key, world.now(),
    )  # fmt: skip
    return status(made, world)


def _name(remote_id: str, world: World) -> str:
    return next((each.name for each in world.members.values() if each.id == remote_id), "nobody")


def _link(found: re.Match[str]) -> str:
    scheme, rest = found[0].split("://", 1)
    shown = f'<span class="ellipsis">{rest[:30]}</span><span class="invisible">{rest[30:]}</span>'
    return (
        f'<a href="{found[0]}" target="_blank" rel="nofollow noopener">'
        f'<span class="invisible">{scheme}://</span>{shown}</a>'
    )


def _mention(found: re.Match[str]) -> str:
    return (
        f'<span class="h-card" translate="no"><a href="https://{found[2]}/@{found[1]}" '
        f'class="u-url mention">@<span>{found[1]}</span></a></span>'
    )
