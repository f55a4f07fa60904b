"""What came of an HTTP request, and what all services write into their answers alike.

Pure: the requests are made in `http.py`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from xmpprelay.core.html import html_to_text
from xmpprelay.core.primary import Outcome, Result, Scope
from xmpprelay.core.text import clean_line

MIN_WAIT_S: Final = 1.0
MAX_WAIT_S: Final = 6 * 3600.0
"""Whatever a service asks for, it is left alone for as long as this at most."""

MAX_DETAIL_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """The service has answered."""

    status: int
    headers: Mapping[str, str] = field(repr=False)  # names in lower case; of several, the first
    body: bytes = field(repr=False)  # cut where it is too long
    received_at: datetime  # aware, UTC

    def json(self) -> Any:
        """What the body says, or None: it is not JSON, or was cut."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer came, or only a part of one."""

    sent: bool  # whether a byte of the request may have left
    reason: str  # short stable code: dns, refused, unreachable, tls, timeout, reset, bad_answer
    detail: str  # for people

    def result(self) -> Result:
        """RETRY if the service has certainly got nothing, else UNKNOWN."""
        outcome = Outcome.UNKNOWN if self.sent else Outcome.RETRY
        return Result(outcome, scope=Scope.DRIVER, reason=self.reason, detail=self.detail)


# --- Headers -------------------------------------------------------------------------------------


def served_at(answer: Answer) -> datetime:
    """When the service's clock says that it has answered; ours, if it does not say."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        return answer.received_at


def skew_s(answer: Answer) -> float:
    """How many seconds the service's clock is ahead of ours; negative: behind.

    Too low by up to a second, since the header has whole seconds, and by the answer's way.
    """
    return (served_at(answer) - answer.received_at).total_seconds()


def asked_to_wait_s(answer: Answer) -> float | None:
    """What `Retry-After` says, from 1 s to 6 h (RFC 9110 §10.2.3: seconds or a date)."""
    return _wait_s(answer, "retry-after")


def retry_after_s(answer: Answer) -> float | None:
    """How long the service asks to be left alone, from 1 s to 6 h; None: it does not say.

    `Retry-After` goes before `X-RateLimit-Reset`.
    """
    asked_s = asked_to_wait_s(answer)
    return _wait_s(answer, "x-ratelimit-reset") if asked_s is None else asked_s


def requests_left(answer: Answer) -> tuple[int | None, float | None]:
    """How many more requests are allowed, and until in how many seconds; None: it does not say."""
    left = re.fullmatch(r"\s*([0-9]{1,9})\s*", answer.headers.get("x-ratelimit-remaining", ""))
    if left is None:
        return None, None
    return int(left[1]), _wait_s(answer, "x-ratelimit-reset")


_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_UNIX_S: Final = 1e9  # more seconds than anybody would have us wait: since 1970
_UNIX_MS: Final = 1e11


def _wait_s(answer: Answer, name: str) -> float | None:
    wait_s = _seconds(answer, answer.headers.get(name, "").strip())
    return None if wait_s is None else min(max(wait_s, MIN_WAIT_S), MAX_WAIT_S)


def _seconds(answer: Answer, value: str) -> float | None:
    """From now: given as such, as Unix time, as ISO 8601, or as an HTTP date."""
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number < _UNIX_S:
            return number
        return (number / 1000 if number > _UNIX_MS else number) - served_at(answer).timestamp()
    try:
        return (_time(value) - served_at(answer)).total_seconds()
    except (ValueError, OverflowError):
        return None


def _time(value: str) -> datetime:
    iso = value[:4].isdigit()
    at = datetime.fromisoformat(value) if iso else parsedate_to_datetime(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# --- Words ---------------------------------------------------------------------------------------

_SECRET: Final = re.compile(r"(?i:(bearer\s+)\S+)|[A-Za-z0-9_+=-]{30,}")
_LOOKED_AT_CHARS: Final = 4_000  # of a text from which a detail is made


def detail(text: str, secrets: Iterable[str] = ()) -> str:
    """The text on one line of at most 200 characters: no HTML, no secrets, nothing like a token."""
    hidden = [secret for secret in secrets if secret]
    text = _without(text, hidden)[:_LOOKED_AT_CHARS]
    if "<" in text:
        text = html_to_text(text)
    # Once more: a tag or a control character within a secret is gone by now.
    text = clean_line(_SECRET.sub(r"\1…", _without(clean_line(text), hidden)))
    return text if len(text) <= MAX_DETAIL_CHARS else text[: MAX_DETAIL_CHARS - 1] + "…"


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def detail_of(answer: Answer, secrets: Iterable[str] = ()) -> str:
    """What the service says about it: the `error` of its JSON, or the text of its page."""
    said = answer.json()
    if isinstance(said, dict):
        parts = [said.get(key) for key in ("error", "error_description", "message", "detail")]
        text = ": ".join(dict.fromkeys(part for part in parts if isinstance(part, str) and part))
    elif said is None:
        text = answer.body.decode("utf-8", "replace")
    else:
        text = said if isinstance(said, str) else ""
    return detail(text, secrets) or f"HTTP status {answer.status}"
