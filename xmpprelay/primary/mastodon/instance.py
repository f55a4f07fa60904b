"""What a server says about itself, as `Caps`: nodeinfo, and `/api/v2/instance` or v1.

Pure: JSON of any shape comes in, and nothing raises.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from xmpprelay.core.primary import Caps, Dedupe
from xmpprelay.core.text import clean_line
from xmpprelay.primary.mastodon.profiles import UNKNOWN, Profile, profile_of

MAX_CHARS: Final = 500
MAX_MEDIA: Final = 4
MAX_MEDIA_BYTES: Final = 8 << 20
MEDIA_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What a server takes that says nothing about it: Mastodon's limits from before it said."""

_MOST: Final = 1 << 40
_MOST_TYPES: Final = 100
_SCHEMA: Final = "http://nodeinfo.diaspora.software/ns/schema/2."
_VERSION: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_FIRST_WITH_EDITS: Final = (3, 5)


@dataclass(frozen=True, slots=True)
class Site:
    """A server, as far as it is known."""

    profile: Profile
    caps: Caps


def nodeinfo_path(links: object) -> str:
    """Where nodeinfo is, from `/.well-known/nodeinfo`; only the path of the address is taken."""
    known = links.get("links") if isinstance(links, dict) else None
    for link in known if isinstance(known, list) else ():
        if not isinstance(link, dict) or not str(link.get("rel")).startswith(_SCHEMA):
            continue
        try:
            path = urlsplit(str(link.get("href"))).path
        except ValueError:
            continue
        if re.fullmatch(r"/[A-Za-z0-9/._~-]{1,200}", path):
            return path
    return "/nodeinfo/2.0"


def software_of(nodeinfo: object) -> str:
    """The software's name in lower case; empty: it does not say."""
    software = nodeinfo.get("software") if isinstance(nodeinfo, dict) else None
    name = software.get("name") if isinstance(software, dict) else None
    return clean_line(name).lower()[:60] if isinstance(name, str) else ""


def site_of(software: str, instance: Mapping[str, Any]) -> Site:
    """What the server can do; an instance that says nothing gets what Mastodon had at first."""
    profile = profile_of(software)
    if profile is UNKNOWN and _version(instance) < _FIRST_WITH_EDITS:
        profile = replace(profile, edits=frozenset())
    configuration = _object(instance, "configuration")
    statuses = _object(configuration, "statuses")
    media = _object(configuration, "media_attachments")
    caps = Caps(
        software=software or "unknown",
        max_chars=_number(statuses, "max_characters")
        or _number(instance, "max_toot_chars")
        or MAX_CHARS,
        url_weight=_number(statuses, "characters_reserved_per_url") or profile.url_weight,
        max_media=_number(statuses, "max_media_attachments")
        or _number(instance, "max_media_attachments")
        or MAX_MEDIA,
        max_media_bytes=_number(media, "image_size_limit")
        or _number(instance, "upload_limit")
        or MAX_MEDIA_BYTES,
        media_types=_types(media.get("supported_mime_types")),
        dedupe=Dedupe.WINDOW if profile.window_s else Dedupe.NONE,
        window_s=profile.window_s,
        backdate=profile.backdate,
        edits=profile.edits,
        shows=profile.shows,
        names=True,
        account_rate=profile.account_rate,
        site_rate=profile.site_rate,
    )
    return Site(profile, caps)


def _object(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = holder.get(key)
    return found if isinstance(found, dict) else {}


def _number(holder: Mapping[str, Any], key: str) -> int | None:
    found = holder.get(key)
    return found if type(found) is int and 0 < found < _MOST else None


def _types(found: object) -> frozenset[str]:
    if not isinstance(found, list):
        return MEDIA_TYPES
    types = (each for each in found[:_MOST_TYPES] if isinstance(each, str))
    return frozenset(each for each in types if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", each))


def _version(instance: Mapping[str, Any]) -> tuple[int, int]:
    found = _VERSION.match(str(instance.get("version", ""))[:40])
    return (int(found[1]), int(found[2])) if found else (0, 0)
