"""What the servers that speak Mastodon's API do differently, as data.

Measured on GoToSocial 0.20 and Takahē 0.11, read in the source of Mastodon and Pleroma.
"""

from dataclasses import dataclass
from typing import Final

from xmpprelay.core.primary import ALL_VISIBILITIES, Visibility

HOUR_S: Final = 3600.0

MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
MAX_MEDIA_BYTES: Final = 8 * 1024 * 1024

UP_TO_UNLISTED: Final = frozenset({Visibility.PUBLIC, Visibility.UNLISTED})


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in each period of a clock that begins at the epoch."""

    most: int
    period_s: float
    by: str  # whom it is counted for: "account" or "address"
    writes_only: bool
    reset: str = "iso"  # how the answer says when it is over: iso, unix, delta, or "" not at all


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server."""

    software: str  # as nodeinfo says it
    version: str
    ids: str  # what its ids look like: snowflake, flake or ulid
    key_window_s: float = 0.0  # how long a key is remembered; 0: it is ignored
    replays_errors: bool = False  # an error of its own is the answer to its key from then on
    lists: frozenset[Visibility] = ALL_VISIBILITIES  # what the account's own list has
    edits: frozenset[Visibility] = ALL_VISIBILITIES  # the others become public when edited
    bad_token: int = 401
    bad_token_body: str = '{"error":"The access token is invalid"}'
    no_parent: int = 404  # answer to a reply to nothing; 0: it becomes a post of its own
    bad_language: int = 0  # answer to a language that it does not know; 0: it is left out
    used_media: int = 422  # answer to media that another status has; 0: both have it
    source_is_html: bool = False
    backdates: bool = False  # takes the original time, and gives the status an id of that time
    instance_v2: bool = True
    max_chars: int = 500
    url_weight: int = 23
    max_media: int = 4
    limits: tuple[Limit, ...] = ()


MASTODON: Final = Profile(
    software="mastodon",
    version="4.4.3",
    ids="snowflake",
    key_window_s=HOUR_S,
    limits=(
        Limit(300, 3 * HOUR_S, by="account", writes_only=True),
        Limit(300, 300.0, by="account", writes_only=False),
    ),
)

PLEROMA: Final = Profile(
    software="pleroma",
    version="2.7.1",
    ids="flake",
    key_window_s=6 * HOUR_S,
    replays_errors=True,
    bad_token=403,
    bad_token_body='{"error":"Invalid credentials."}',
    no_parent=422,
    used_media=0,
    instance_v2=False,
    max_chars=5000,
    limits=(Limit(15, 10.0, by="account", writes_only=True, reset=""),),
)

GOTOSOCIAL: Final = Profile(
    software="gotosocial",
    version="0.20.2",
    ids="ulid",
    backdates=True,
    bad_token_body='{"error":"Unauthorized: token not found"}',
    bad_language=400,
    used_media=400,
    max_chars=5000,
    url_weight=25,
    max_media=6,
    limits=(Limit(300, 300.0, by="address", writes_only=False, reset="unix"),),
)

TAKAHE: Final = Profile(
    software="takahe",
    version="0.11.0",
    ids="snowflake",
    lists=UP_TO_UNLISTED,
    edits=frozenset({Visibility.PUBLIC}),
    bad_token=400,
    bad_token_body="Invalid token",
    no_parent=0,
    used_media=0,
    source_is_html=True,
)

PROFILES: Final = (MASTODON, PLEROMA, GOTOSOCIAL, TAKAHE)
