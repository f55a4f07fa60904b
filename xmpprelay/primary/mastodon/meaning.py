"""What an answer means, as a `Result`.

An answer that says neither "done" nor "refused" beyond doubt is UNKNOWN: an error status is no
proof that nothing happened, and a success without an id is none that something did.

Pure: any status, headers and bytes come in, and nothing raises.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from xmpprelay.core.primary import (
    MENTIONS_OTHERS,
    Candidate,
    Outcome,
    Result,
    Scope,
    Status,
)
from xmpprelay.core.text import clean_line
from xmpprelay.primary.answers import (
    Answer,
    asked_to_wait_s,
    detail,
    detail_of,
    requests_left,
    retry_after_s,
)
from xmpprelay.primary.mastodon.profiles import Profile

UNCLEAR_4XX: Final = frozenset({408, 409, 421, 425, 499})
"""Time-outs, conflicts, and what a proxy says before the server has answered."""

_ID: Final = re.compile(r"[!-~]{1,200}")
_MOST_MENTIONS: Final = 100


def refusal(answer: Answer, profile: Profile, secrets: Iterable[str]) -> Result | None:
    """What it means that it was not done, or may have failed; None: it says that it is done.

    Of 400 and 403 only the credentials tell whether the post is at fault.
    """
    status, reason = answer.status, f"http_{answer.status}"
    if 200 <= status < 300:
        return None
    said = detail_of(answer, secrets)
    if status == 429:
        whole = profile.site_rate is not None
        scope = Scope.DRIVER if whole else Scope.ACCOUNT
        wait_s = retry_after_s(answer)
        left, left_for_s = requests_left(answer)
        return Result(
            Outcome.RETRY,
            retry_after_s=wait_s,
            scope=scope,
            reason="rate_limited",
            detail=said,
            left=left,
            left_for_s=left_for_s,
        )
    if status == 503 and (wait_s := asked_to_wait_s(answer)) is not None:
        return Result(
            Outcome.RETRY, retry_after_s=wait_s, scope=Scope.DRIVER, reason=reason, detail=said
        )
    if status == 401:
        return Result(Outcome.AUTH, scope=Scope.ACCOUNT, reason=reason, detail=said)
    if 400 <= status < 500 and status not in UNCLEAR_4XX:
        return Result(Outcome.REJECTED, reason=reason, detail=said)
    scope = Scope.DRIVER if status >= 500 else Scope.POST
    return Result(Outcome.UNKNOWN, scope=scope, reason=reason, detail=said)


def done(answer: Answer, meant: Status | None = None) -> Result:
    """What a successful answer with a status, or with an attachment, says about it.

    If `meant` is given, whether others are mentioned than those that it names: then the reason is
    MENTIONS_OTHERS.
    """
    found = answer.json()
    if not isinstance(found, dict):
        return no_json()
    candidate = candidate_of(found)
    if candidate is None:
        return Result(Outcome.UNKNOWN, reason="no_id", detail="The answer has no id.")
    left, left_for_s = requests_left(answer)
    others = _others(found, meant) if meant is not None else ""
    return Result(
        Outcome.INSERTED,
        candidate.remote_id,
        candidate.remote_url,
        candidate.remote_time,
        reason=MENTIONS_OTHERS if others else "",
        detail=others,
        left=left,
        left_for_s=left_for_s,
    )


def no_json() -> Result:
    """A success whose words are not of this API, such as a proxy's page."""
    return Result(
        Outcome.UNKNOWN, reason="not_json", detail="The answer is not one of Mastodon's API."
    )


def candidate_of(found: Mapping[str, Any]) -> Candidate | None:
    """A status of an answer; None: it has no id that could be asked for."""
    remote_id = id_of(found)
    if remote_id is None:
        return None
    return Candidate(
        remote_id, _address(found.get("url")) or _address(found.get("uri")), time_of(found)
    )


def id_of(found: Mapping[str, Any]) -> str | None:
    """An id is opaque; but it must be possible to write it into a path."""
    remote_id = found.get("id")
    if type(remote_id) is int:
        remote_id = str(remote_id)
    if not isinstance(remote_id, str) or _ID.fullmatch(remote_id) is None:
        return None
    return None if remote_id in (".", "..") else remote_id


def time_of(found: Mapping[str, Any]) -> datetime | None:
    """When a status was made, says its server."""
    try:
        at = datetime.fromisoformat(str(found.get("created_at")))
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _address(found: object) -> str | None:
    if not isinstance(found, str) or re.fullmatch(r"[!-~]{1,2000}", found) is None:
        return None
    try:
        parts = urlsplit(found)
    except ValueError:
        return None
    return found if parts.scheme in ("http", "https") and parts.netloc else None


def _others(found: Mapping[str, Any], meant: Status) -> str:
    """Whom it mentions there without being meant to, as a sentence; empty: nobody."""
    mentioned = found.get("mentions")
    if not isinstance(mentioned, list):
        return ""
    names = {each.lower().removeprefix("@") for each in meant.mentions}
    local = {each.partition("@")[0] for each in names}
    others = [
        acct
        for each in mentioned[:_MOST_MENTIONS]
        if isinstance(each, dict) and isinstance(acct := each.get("acct"), str)
        if acct.lower() not in (names if "@" in acct else local)
    ]
    return detail(f"It mentions {clean_line(', '.join(others))} there.") if others else ""
