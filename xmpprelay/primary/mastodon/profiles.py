"""What the servers with Mastodon's API do differently, by the name of their software.

Measured on GoToSocial 0.20 and Takahē 0.11, read in the source of Mastodon and Pleroma. Of what
nobody has looked at, the least is assumed.
"""

from dataclasses import dataclass
from typing import Final

from xmpprelay.core.pacing import Rate
from xmpprelay.core.primary import ALL_VISIBILITIES, Visibility

_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server."""

    window_s: float = 0.0  # how long an Idempotency-Key is remembered; 0: it is ignored
    backdate: bool = False  # `scheduled_at` in the past is the original time
    edits: frozenset[Visibility] = ALL_VISIBILITIES  # which are still the same after an edit
    shows: frozenset[Visibility] = ALL_VISIBILITIES  # which the account's own list has
    keeps_parents: bool = True  # a reply to nothing is refused, not made a post of its own
    source_is_html: bool = False  # the text of `/source`
    content_type: bool = False  # takes `content_type`, else what the account has set
    checks_mentions: bool = False  # refuses whom `allowed_mentions` does not name
    url_weight: int | None = 23  # where it does not say
    account_rate: Rate | None = None
    site_rate: Rate | None = None  # its limit is for the address from which requests come


_PLEROMA: Final = Profile(
    window_s=6 * _HOUR_S, content_type=True, url_weight=None, account_rate=Rate.share(15, 10.0)
)

_PROFILES: Final = {
    "mastodon": Profile(
        window_s=_HOUR_S, checks_mentions=True, account_rate=Rate.share(300, 3 * _HOUR_S)
    ),
    "pleroma": _PLEROMA,
    "akkoma": _PLEROMA,
    "gotosocial": Profile(backdate=True, content_type=True, site_rate=Rate.share(300, 300.0)),
    "takahe": Profile(
        edits=frozenset({Visibility.PUBLIC}),
        shows=frozenset({Visibility.PUBLIC, Visibility.UNLISTED}),
        keeps_parents=False,
        source_is_html=True,
    ),
}

UNKNOWN: Final = Profile(
    edits=frozenset({Visibility.PUBLIC}), keeps_parents=False, site_rate=Rate.share(300, 300.0)
)
"""Of software that nobody has looked at, or of a server that was not asked yet. It edits nothing
that an edit could show to more people."""


def profile_of(software: str) -> Profile:
    """What is known of it; `software` is in lower case, as nodeinfo has it."""
    return _PROFILES.get(software, UNKNOWN)
