"""Anything that takes webhooks as primary service: a signed POST for each post, edit and deletion.

The form is that of Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature`
(`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64), with a secret `whsec_…`. The id names
what has happened to which post, and is the same however often it is sent: a receiver that keeps the
ids that it has seen has each post once. docs/webhook.md tells what a receiver gets, and what its
answers mean; examples/webhook_receiver.py is one.

After an unclear outcome the receiver is asked for the post, by a GET of its own address and the
post's id. It need not understand that; then nobody can tell.

A GET of the address tells whether somebody is there, but not whether he takes what is sent: any web
server answers it. So once a POST was refused as nobody's fault but the operator's, a wrong secret
or a wrong address, the receiver is down until it takes a POST of which nothing comes, a `ping`.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from xmpprelay.core.atom import rfc3339
from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    Candidate,
    CannotTell,
    Caps,
    Dedupe,
    File,
    Found,
    Look,
    LookFailed,
    Outcome,
    Probe,
    Reach,
    Result,
    Scope,
    Status,
)
from xmpprelay.primary.answers import Answer, Failure, detail_of, retry_after_s
from xmpprelay.primary.http import CONNECT_S, TOTAL_S, Http, uncounted

CREATED: Final = "post.created"
UPDATED: Final = "post.updated"
DELETED: Final = "post.deleted"
PING: Final = "ping"

_WRONG_SECRET: Final = (401, 403)
_WRONG_ADDRESS: Final = (301, 307, 308, 404, 405, 410)
"""Said of an address, not of a post: it is wrong, or the receiver is not there yet."""

_MAX_URL_CHARS: Final = 2_000


class WebhookPrimary:
    """A receiver of webhooks at `url`; `secret` is `whsec_` and 24 to 64 bytes in base64.

    `leaves` is called at each request. ConfigError: `ca_file` cannot be read.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        ca_file: Path | None = None,
        connect_s: float = CONNECT_S,
        total_s: float = TOTAL_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        leaves: Callable[[], None] = uncounted,
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._items = urlunsplit(parts._replace(query=""))
        self._query = dict(parse_qsl(parts.query))
        self._secret = secret
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._now = now
        self._http = Http(
            (self._url, self._items),
            ca_file=ca_file,
            connect_s=connect_s,
            total_s=total_s,
            now=now,
            leaves=leaves,
        )
        self._refuses = False  # a POST was refused, whatever was in it

    async def probe(self, account: Account | None = None) -> Probe:
        """Whether somebody is there who answers; whether he accepts the signature shows later.

        Whoever has refused that is asked whether he does by now. What else he says to a `ping`, he
        may say because he does not know it; then a GET tells, as before.
        """
        if self._refuses:
            now = self._now()
            answer = await self._post(f"ping-{int(now.timestamp() * 1000)}", PING, now, {})
            refusal = _refusal(answer)
            if refusal is not None:
                reach = Reach.AUTH if refusal.outcome is Outcome.AUTH else Reach.DOWN
                return Probe(reach, reason=refusal.reason, detail=refusal.detail)
        found = await self._is_there()
        self._refuses = self._refuses and found.reach is not Reach.UP
        return found

    async def _is_there(self) -> Probe:
        answer = await self._http.request("GET", self._url, headers=self._signed("probe", b""))
        if isinstance(answer, Failure):
            return Probe(Reach.DOWN, reason=answer.reason, detail=answer.detail)
        if (answer.status >= 500 and answer.status != 501) or answer.status == 429:
            said = detail_of(answer, self._secrets())
            wait_s = retry_after_s(answer)
            return Probe(Reach.DOWN, None, wait_s, f"http_{answer.status}", said)
        return Probe(Reach.UP, Caps("webhook", dedupe=Dedupe.NATURAL, backdate=True))

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        """Send `post.created`. The event's id does for the key."""
        event = event_id(status.id, CREATED)
        return await self._send(event, CREATED, status.published, _as_told(status), status.id)

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        """Send `post.updated` with the whole post as it is now."""
        time = status.updated or status.published
        event = event_id(remote_id, UPDATED, time)
        return await self._send(event, UPDATED, time, _as_told(status), remote_id)

    async def delete(self, account: Account, remote_id: str) -> Result:
        """Send `post.deleted`."""
        event = event_id(remote_id, DELETED)
        return await self._send(event, DELETED, self._now(), {"id": remote_id}, remote_id)

    async def upload(self, account: Account, file: File) -> Result:
        """No attachments are sent: they stay links (see `Caps.max_media`)."""
        return Result(
            Outcome.REJECTED, reason="no_media", detail="Webhooks carry text without attachments."
        )

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        """Ask the receiver whether it has the post, or has had it."""
        wanted = attempt.status.id
        answer = await self._http.request(
            "GET",
            self._items,
            f"/{quote(wanted, safe='')}",
            query=self._query,
            headers=self._signed(event_id(wanted, "look"), b""),
        )
        if isinstance(answer, Failure):
            return LookFailed(answer.result())
        match answer.status:
            case 200 | 410:
                return Found((Candidate(wanted, _address(answer)),))
            case 404:
                return Absent()
            case 429 | 500 | 502 | 503 | 504:
                wait_s = retry_after_s(answer)
                return LookFailed(self._told(Outcome.RETRY, answer, retry_after_s=wait_s))
        return CannotTell(
            f"The receiver answers a GET of a post with {answer.status}, and not with 200 or 404."
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(
        self, event: str, kind: str, time: datetime, post: Mapping[str, Any], remote_id: str
    ) -> Result:
        answer = await self._post(event, kind, time, post)
        refusal = _refusal(answer)
        if refusal is not None:
            self._refuses = True
            return refusal
        if isinstance(answer, Failure):
            return answer.result()
        result = self._result(answer, remote_id)
        if result.outcome in (Outcome.INSERTED, Outcome.DUPLICATE):
            self._refuses = False
        return result

    async def _post(
        self, event: str, kind: str, time: datetime, about: Mapping[str, Any]
    ) -> Answer | Failure:
        body = json.dumps({"type": kind, "timestamp": rfc3339(time), "data": about}).encode()
        headers = {
            **self._signed(event, body),
            "Content-Type": "application/json",
            "Idempotency-Key": event,
        }
        return await self._http.request("POST", self._url, headers=headers, body=body)

    def _result(self, answer: Answer, remote_id: str) -> Result:
        """What an answer to a POST means, but for `_refusal`; docs/webhook.md tells receivers."""
        status, wait_s = answer.status, retry_after_s(answer)
        if 200 <= status < 300:
            return Result(Outcome.INSERTED, remote_id, _address(answer))
        if status == 409:
            return Result(Outcome.DUPLICATE, remote_id, _address(answer))
        if status == 429 or (status == 503 and wait_s is not None):
            return self._told(Outcome.RETRY, answer, retry_after_s=wait_s)
        if 400 <= status < 500 and status != 408:
            return self._told(Outcome.REJECTED, answer, scope=Scope.POST)
        return self._told(Outcome.UNKNOWN, answer)

    def _told(
        self,
        outcome: Outcome,
        answer: Answer,
        *,
        scope: Scope = Scope.DRIVER,
        retry_after_s: float | None = None,
    ) -> Result:
        """A result in the receiver's own words."""
        return Result(
            outcome,
            scope=scope,
            retry_after_s=retry_after_s,
            reason=f"http_{answer.status}",
            detail=detail_of(answer, self._secrets()),
        )

    def _signed(self, event: str, body: bytes) -> dict[str, str]:
        """The headers by which a receiver knows us."""
        timestamp = int(self._now().timestamp())
        return {
            "webhook-id": event,
            "webhook-timestamp": f"{timestamp}",
            "webhook-signature": signature(self._key, event, timestamp, body),
        }

    def _secrets(self) -> tuple[str, ...]:
        return (self._secret, self._url, *self._query.values())


def event_id(post: str, what: str, time: datetime | None = None) -> str:
    """What names an event: `k3f.ab12cd` is `k3f-ab12cd-created`. An edit has its time in it.

    No full stop may be in it, since it is signed with full stops around it.
    """
    name = f"{post.replace('.', '-')}-{what.rpartition('.')[2]}"
    return name if time is None else f"{name}-{int(time.timestamp() * 1000)}"


def signature(key: bytes, event: str, timestamp: int, body: bytes) -> str:
    """Standard Webhooks, "Signature scheme"."""
    signed = b".".join((event.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _refusal(answer: Answer | Failure) -> Result | None:
    """That all is refused, whatever is sent; None: it is about this post, or about the moment."""
    status = answer.status if isinstance(answer, Answer) else 0
    if status in _WRONG_SECRET:
        said = (
            f"The receiver refuses the signature ({status}): give both the same secret, and look "
            "at both clocks."
        )
        return Result(Outcome.AUTH, scope=Scope.DRIVER, reason=f"http_{status}", detail=said)
    if status in _WRONG_ADDRESS:
        said = f"The receiver has nothing at this address ({status}): correct its URL."
        return Result(Outcome.RETRY, scope=Scope.DRIVER, reason=f"http_{status}", detail=said)
    return None


def _as_told(status: Status) -> dict[str, Any]:
    """A post as receivers get it."""
    return {
        "id": status.id,
        "atom_id": status.atom_id,
        "author": status.author,
        "handle": status.handle,
        "text": status.text,
        "language": status.language,
        "visibility": status.visibility.value,
        "in_reply_to": status.in_reply_to,
        "published": rfc3339(status.published),
        "updated": None if status.updated is None else rfc3339(status.updated),
    }


def _address(answer: Answer) -> str | None:
    """Where people see the post, if the receiver says so: `{"url": "https://…"}`."""
    said = answer.json()
    url = said.get("url") if isinstance(said, dict) else None
    if not isinstance(url, str) or len(url) > _MAX_URL_CHARS or not url.isprintable():
        return None
    return url if url.startswith(("https://", "http://")) else None
